//! The files that configuration comes from.

use std::path::{Path, PathBuf};

use crate::config::plugin_entry::PluginEntry;
use crate::config::router::RouterConfig;
use crate::config::toml_text::read;
use sglang_router_rs::config::Fault;
use sglang_router_rs::types::{file, shown_path};

/// Largest configuration file that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Largest file of settings beside a module that is read, in bytes.
pub(crate) const MAX_SETTINGS_BYTES: u64 = 1 << 20;

/// The configuration in a file. With faults, what could not be read is at its default.
pub fn read_config(path: &Path) -> (RouterConfig, Vec<Fault>) {
    match file::read_text(path, MAX_CONFIG_BYTES) {
        Ok(text) => read(&text),
        Err(error) => (RouterConfig::default(), vec![unreadable(String::new(), path, &error)]),
    }
}

/// A plugin of the plugin directory, as its files say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginInDir {
    /// The plugin; with faults, what could not be read is at its default.
    pub entry: PluginEntry,
    /// What is wrong with its settings.
    pub faults: Vec<Fault>,
}

/// The plugins of a directory: each `.wasm` file, configured by a `.toml` file of the same stem
/// where there is one. In the order of their file names. `built_in` are the names of the built-in
/// policies.
///
/// # Errors
///
/// The fault of the directory itself.
pub(crate) fn read_plugin_dir(dir: &Path, built_in: &[&str]) -> Result<Vec<PluginInDir>, Fault> {
    let paths = modules_in(dir).map_err(|error| unreadable("plugin_dir".to_owned(), dir, &error))?;
    Ok(paths.iter().map(|path| plugin_of(path, built_in)).collect())
}

/// The `.wasm` files of a directory, sorted. Hidden ones are left out: tools write there before
/// they rename.
pub(crate) fn modules_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm") && !hidden(path));
    paths.sort();
    Ok(paths)
}

/// The `.toml` files of a directory without a module of the same stem, sorted.
pub(crate) fn settings_without_module(dir: &Path) -> Vec<PathBuf> {
    // A directory that cannot be read is reported by who needs it.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_settings = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut lonely: Vec<PathBuf> =
        entries.filter(is_settings).filter(|path| !path.with_extension("wasm").exists()).collect();
    lonely.sort();
    lonely
}

/// Where the settings of a module are: `MODULE.toml`, without `.wasm`.
pub(crate) fn settings_file(module: &Path) -> PathBuf {
    module.with_extension("toml")
}

/// The plugin of a module in the plugin directory, with the settings beside it.
fn plugin_of(module: &Path, built_in: &[&str]) -> PluginInDir {
    let beside = settings_file(module);
    match file::read_if_there(&beside, MAX_SETTINGS_BYTES) {
        Ok(settings) => plugin_with(module, settings.as_deref(), built_in),
        Err(error) => {
            let mut plugin = plugin_with(module, None, built_in);
            plugin.faults.insert(0, unreadable("plugin_dir".to_owned(), &beside, &error));
            plugin
        }
    }
}

/// The plugin of a module in the plugin directory, with the content of its settings. `built_in` are
/// the names of the built-in policies.
pub(crate) fn plugin_with(module: &Path, settings: Option<&[u8]>, built_in: &[&str]) -> PluginInDir {
    let beside = settings_file(module);
    let (mut entry, mut faults) = read_settings(&beside, settings);
    if entry.name.is_empty() {
        entry.name = module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    }
    // Who writes here may have modules loaded from here: another path would get a module past the
    // rules about signatures of this directory.
    if !entry.module_path.is_empty() && Path::new(&entry.module_path) != module {
        let allowed = "nothing: the module is the file beside";
        let fault = Fault::value("module_path", format!("{:?}", entry.module_path), allowed);
        faults.push(fault.in_file(&shown_path(&beside)));
    }
    entry.module_path = module.to_string_lossy().into_owned();
    // Without settings only the name can be at fault, which is the module's then.
    let file = shown_path(if settings.is_some() { &beside } else { module });
    faults.extend(entry.faults(built_in).into_iter().map(|fault| fault.in_file(&file)));
    PluginInDir { entry, faults }
}

/// What the content of a file of settings says, and what in it cannot be read.
fn read_settings(file: &Path, content: Option<&[u8]>) -> (PluginEntry, Vec<Fault>) {
    match content.map(std::str::from_utf8) {
        Some(Ok(text)) => {
            let (entry, faults) = read::<PluginEntry>(text);
            let file = shown_path(file);
            (entry, faults.into_iter().map(|fault| fault.in_file(&file)).collect())
        }
        Some(Err(error)) => {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            (PluginEntry::default(), vec![unreadable("plugin_dir".to_owned(), file, &error)])
        }
        None => (PluginEntry::default(), Vec::new()),
    }
}

fn unreadable(path: String, file: &Path, error: &std::io::Error) -> Fault {
    Fault::text(path, None, format!("{} cannot be read: {error}", shown_path(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_directory_gives_each_module_with_the_settings_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.wasm", "");
        write("b.toml", "max_execution_time_ms = 7\nnaem = \"x\"\n");
        write("a.wasm", "");
        write("notes.toml", "");
        let found = read_plugin_dir(dir.path(), &["round_robin"]).unwrap();
        let names: Vec<&str> = found.iter().map(|plugin| plugin.entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found[1].entry.max_execution_time_ms, 7);
        assert!(found[1].entry.module_path.ends_with("b.wasm"));
        assert_eq!(found[0].faults, []);
        let faults = &found[1].faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().contains("b.toml: naem (line 2)"), "{}", faults[0]);
    }

    #[test]
    fn settings_beside_a_module_cannot_name_another_module() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), "").unwrap();
        std::fs::write(dir.path().join("a.toml"), "module_path = \"/elsewhere/b.wasm\"").unwrap();
        let found = read_plugin_dir(dir.path(), &["round_robin"]).unwrap();
        let (entry, faults) = (&found[0].entry, &found[0].faults);
        assert!(faults[0].to_string().contains("a.toml: module_path: found \"/elsewhere"), "{faults:?}");
        assert!(entry.module_path.ends_with("a.wasm"), "{entry:?}");
    }

    #[test]
    fn directory_that_is_missing_is_a_fault() {
        let fault = read_plugin_dir(Path::new("/nowhere/at/all"), &[]).unwrap_err();
        assert!(fault.to_string().starts_with("plugin_dir: /nowhere/at/all cannot be read"));
    }
}
