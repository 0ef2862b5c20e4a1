//! The checks of rules about signatures.

use std::path::Path;

use crate::config::router::RouterConfig;
use sglang_router_rs::config::{Fault, Require, TrustRule};
use sglang_router_rs::types::shown_path;

/// Adds the faults of all rules. Whether the keys are keys is seen when they are read.
pub(crate) fn check_trust(config: &RouterConfig, faults: &mut Vec<Fault>) {
    for (position, rule) in config.trust.iter().enumerate() {
        let path = format!("trust[{position}]");
        let mut fault = |key: &str, found: String, allowed: &str| {
            faults.push(Fault::value(format!("{path}.{key}"), found, allowed));
        };
        if let Some(dir) = rule.dir.as_ref().filter(|dir| !dir.is_dir()) {
            // A rule for a directory that is spelled wrong would bind nothing.
            fault(
                "dir",
                format!("{:?}", dir.display().to_string()),
                "a directory that is there, or leave it out",
            );
        }
        if rule.dir.is_some() && rule.registry.is_some() {
            fault("registry", "one beside a directory".to_owned(), "a rule for each");
        }
        if rule.registry.as_ref().is_some_and(|name| name.is_empty() || name.contains("://")) {
            let found = format!("{:?}", rule.registry.as_deref().unwrap_or_default());
            fault("registry", found, "HOST or HOST/REPOSITORY, as references have it without oci://");
        }
        let same = |other: &TrustRule| {
            other.registry == rule.registry && other.dir.as_deref().map(real) == rule.dir.as_deref().map(real)
        };
        if config.trust.iter().take(position).any(same) {
            fault(
                "dir",
                "one that an earlier rule is about".to_owned(),
                "one rule for each directory and registry",
            );
        }
        if rule.keys.is_empty() && rule.require != Require::Nothing {
            fault("keys", "none".to_owned(), "at least one public key, or require = \"none\"");
        }
        for (item, key) in rule.keys.iter().enumerate().filter(|(_, key)| !key.contains("-----BEGIN")) {
            if let Some(dir) = writable_by_bound(config, Path::new(key)) {
                let allowed = "a key outside of the directories that modules come from and of the state directory: \
                               who writes there must not choose who is trusted";
                fault(&format!("keys[{item}]"), format!("{key:?} in {dir}"), allowed);
            }
        }
    }
}

/// The directory in which the key lies though those that a rule binds can write there.
fn writable_by_bound(config: &RouterConfig, key: &Path) -> Option<String> {
    let bound = config.trust.iter().filter_map(|rule| rule.dir.as_ref());
    let mut dirs = bound.chain(&config.plugin_dir).chain(&config.state_dir).chain(&config.registry.cache);
    dirs.find(|dir| real(key).starts_with(real(dir))).map(|dir| shown_path(dir))
}

/// With links resolved, where there is something.
fn real(path: &Path) -> std::path::PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml_text::read;

    fn faults(text: &str) -> Vec<String> {
        let (config, read) = read::<RouterConfig>(text);
        assert!(read.is_empty(), "{read:?}");
        let mut faults = Vec::new();
        check_trust(&config, &mut faults);
        faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn rule_without_keys_or_directory_or_beside_another_is_a_fault() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().display();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        let link = link.display();
        let text = format!(
            "[[trust]]\ndir = \"{dir}\"\n[[trust]]\ndir = \"{link}\"\nkeys = [\"/k.pub\"]\n\
             [[trust]]\ndir = \"{dir}/plugs\"\nrequire = \"none\"\n[[trust]]\nkeys = [\"/k.pub\"]\n"
        );
        let found = faults(&text);
        for (fault, expected) in found.iter().zip([
            "trust[0].keys: found none",
            "trust[1].dir: found one that",
            "trust[2].dir: found",
        ]) {
            assert!(fault.starts_with(expected), "{found:#?}");
        }
        assert_eq!(found.len(), 3, "{found:#?}");
    }

    #[test]
    fn key_where_modules_come_from_is_a_fault() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().display();
        std::fs::create_dir(root.path().join("plugins")).unwrap();
        std::os::unix::fs::symlink(root.path().join("plugins"), root.path().join("keys")).unwrap();
        let text = format!(
            "plugin_dir = \"{dir}/plugins\"\nstate_dir = \"{dir}/state\"\n[[trust]]\n\
             keys = [\"{dir}/plugins/a.pub\", \"{dir}/state/b.pub\", \"{dir}/keys\", \"{dir}/own/c.pub\"]\n"
        );
        let found = faults(&text);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[2].starts_with("trust[0].keys[2]"), "{found:#?}");
    }
}
