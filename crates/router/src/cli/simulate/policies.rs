//! From `--policy` and `--policy-config` to policies.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::registry_reading::UnreadModule;
use crate::cli::setting::setting;
use crate::cli::simulate::args::SimulateArgs;
use crate::cli::simulate::error::SimulateError;
use crate::config::embedded_path::embedded_name;
use sgl_oci::ModuleReference;
use sgl_simulate::fleet::{PolicyModule, PolicySource};
use sgl_simulate::rivals::RIVALS;
use sglang_router_rs::policies::{ModuleBytes, NativePolicy};
use sglang_router_rs::types::{shown, shown_path};

/// The policies that the flags ask for.
///
/// # Errors
///
/// [`SimulateError::Usage`]; [`SimulateError::Unread`] of a module in a registry.
pub(crate) fn policies(args: &SimulateArgs) -> Result<Vec<PolicySource>, SimulateError> {
    let read = |reference: &ModuleReference| args.registry.read(reference, &args.ca_cert_paths);
    let mut sources = policies_of(&args.policy, &args.policy_config, &args.allow_syscalls, &read)?;
    for source in &mut sources {
        source.max_memory_bytes = args.plugin_memory_mib.map(|mib| (mib as usize) << 20);
    }
    Ok(sources)
}

/// Reads a module of a registry.
type ReadModule<'a> = &'a dyn Fn(&ModuleReference) -> Result<ModuleBytes, UnreadModule>;

/// The policies of these names, with these settings.
///
/// # Errors
///
/// [`SimulateError::Usage`]; [`SimulateError::Unread`] of a module in a registry.
pub(crate) fn policies_of(
    names: &[String],
    settings: &[String],
    syscalls: &[String],
    read: ReadModule<'_>,
) -> Result<Vec<PolicySource>, SimulateError> {
    let mut sources: Vec<PolicySource> = Vec::new();
    for text in names {
        let source = PolicySource { allowed_syscalls: syscalls.to_vec(), ..source(text, read)? };
        if sources.iter().any(|other| other.name == source.name) {
            return Err(usage(format!("--policy: {} twice{}", shown(text), other_name(text, &source))));
        }
        sources.push(source);
    }
    for text in settings {
        let (name, key, value) = setting_of(text).ok_or_else(|| {
            usage(format!("--policy-config: found {}; allowed: POLICY:KEY=VALUE", shown(text)))
        })?;
        let plugins = sources.iter_mut().filter(|source| source.module.is_some());
        let known = plugins.into_iter().find(|source| source.name == name);
        let source = known.ok_or_else(|| {
            usage(format!("--policy-config: no --policy is a plugin named {}", shown(name)))
        })?;
        source.config.insert(key.to_owned(), value);
    }
    Ok(sources)
}

/// How a policy that is given twice is told apart; a built-in one has no settings to be told apart by.
fn other_name(text: &str, source: &PolicySource) -> String {
    match &source.module {
        None => String::new(),
        Some(PolicyModule::File(file)) => {
            format!("; give one another name: other={}", shown_path(file))
        }
        Some(PolicyModule::Bytes(_)) if ModuleReference::is_one(text) => {
            format!("; give one another name: other={}", shown(text))
        }
        Some(PolicyModule::Bytes(_)) => {
            format!("; give one another name: other=embedded:{}", shown(&source.name))
        }
    }
}

fn usage(text: String) -> SimulateError {
    SimulateError::Usage(text)
}

/// A built-in policy, an embedded one, a model of another router's, or a module under its own name or another.
fn source(text: &str, read: ReadModule<'_>) -> Result<PolicySource, SimulateError> {
    let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
    let is_module = |path: &str| Path::new(path).extension().is_some_and(|end| end == "wasm");
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (name, module) = match named {
        Some((name, path)) => (name.to_owned(), Some(module(path, read)?)),
        None if ModuleReference::is_one(text) => {
            (reference(text)?.stem().to_owned(), Some(module(text, read)?))
        }
        None if is_module(text) => (stem(text).unwrap_or_default(), Some(module(text, read)?)),
        None if NativePolicy::NAMES.contains(&text) || RIVALS.contains(&text) => (text.to_owned(), None),
        None => {
            let name = embedded_name(text).unwrap_or(text);
            (name.to_owned(), Some(embedded(name)?))
        }
    };
    Ok(PolicySource { module, ..PolicySource::native(name) })
}

fn module(path: &str, read: ReadModule<'_>) -> Result<PolicyModule, SimulateError> {
    if ModuleReference::is_one(path) {
        let reference = reference(path)?;
        let unread = |source| SimulateError::Unread { reference: reference.to_string(), source };
        return read(&reference).map(|module| PolicyModule::Bytes(module.wasm)).map_err(unread);
    }
    embedded_name(path).map_or_else(|| Ok(PolicyModule::File(PathBuf::from(path))), embedded)
}

fn reference(text: &str) -> Result<ModuleReference, SimulateError> {
    ModuleReference::parse(text).map_err(|error| usage(format!("--policy: {error}")))
}

fn embedded(name: &str) -> Result<PolicyModule, SimulateError> {
    let known = || {
        let embedded = match sgl_shipped::names().join(", ") {
            none if none.is_empty() => "none".to_owned(),
            names => names,
        };
        let (name, built_in) = (shown(name), NativePolicy::NAMES.join(", "));
        let models = RIVALS.join(", ");
        usage(format!(
            "--policy: there is no policy {name}, and it is no file that ends in .wasm; built in: {built_in}; \
             embedded: {embedded}; models of other routers': {models}"
        ))
    };
    sgl_shipped::module(name).map(|module| PolicyModule::Bytes(module.wasm.to_vec())).ok_or_else(known)
}

/// The parts of `POLICY:KEY=VALUE`.
fn setting_of(text: &str) -> Option<(&str, &str, Value)> {
    let (whose, value) = setting(text)?;
    let (name, key) = whose.split_once(':')?;
    (!key.is_empty()).then_some((name, key, value))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parsed(flags: &[&str]) -> Result<Vec<PolicySource>, String> {
        let flags = ["simulate", "--trace", "t"].iter().chain(flags);
        policies(&Command::parse_from(flags).args).map_err(|error| error.to_string())
    }

    #[test]
    fn policies_are_built_in_ones_modules_and_modules_under_other_names() {
        let found = parsed(&[
            "--policy=least_load",
            "--policy=a/toll.wasm",
            "--policy=k4=a/toll.wasm",
            "--policy-config=k4:kappa=4",
            "--policy-config=k4:label=a=b",
            "--policy=smg:cache_aware",
        ])
        .unwrap();
        let named: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.module.clone())).collect();
        let module = Some(PolicyModule::File("a/toll.wasm".into()));
        assert_eq!(
            named,
            [("least_load", None), ("toll", module.clone()), ("k4", module), ("smg:cache_aware", None)]
        );
        assert!(found[1].config.is_empty());
        assert_eq!((&found[2].config["kappa"], &found[2].config["label"]), (&json!(4), &json!("a=b")));
    }

    #[test]
    fn embedded_policies_need_no_file() {
        for module in sgl_shipped::MODULES {
            let twice = format!("--policy={}", module.name);
            let error = parsed(&[&twice, &twice]).unwrap_err();
            let hint = format!("twice; give one another name: other=embedded:{}", module.name);
            assert!(error.ends_with(&hint), "{error}");
            let flags = [
                module.name.to_owned(),
                format!("embedded:{}", module.name),
                format!("x=embedded:{}", module.name),
            ];
            for (flag, name) in flags.iter().zip([module.name, module.name, "x"]) {
                let found = parsed(&[&format!("--policy={flag}")]).unwrap();
                let bytes = Some(PolicyModule::Bytes(module.wasm.to_vec()));
                assert_eq!((found[0].name.as_str(), &found[0].module), (name, &bytes));
            }
        }
    }

    #[test]
    fn faults_of_flags_are_named() {
        for (flags, message) in [
            (&["--policy=random", "--policy=random"][..], "--policy: random twice"),
            (
                &["--policy=a/toll.wasm", "--policy=b/toll.wasm"],
                "--policy: b/toll.wasm twice; give one another name: other=b/toll.wasm",
            ),
            (&["--policy=nobody"], "--policy: there is no policy nobody, and"),
            (&["--policy=a=embedded:nobody"], "--policy: there is no policy nobody, and"),
            (&["--policy=a.wasm", "--policy-config=a.k=1"], "--policy-config: found a.k=1"),
            (
                &["--policy=random", "--policy-config=random:k=1"],
                "--policy-config: no --policy is a plugin named random",
            ),
        ] {
            let error = parsed(flags).unwrap_err();
            assert!(error.replace('"', "").starts_with(message), "{error}");
        }
    }
}
