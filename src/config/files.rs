//! The files that configuration comes from.

use std::path::Path;
use std::path::PathBuf;

use crate::config::faults::Fault;
use crate::config::router::PluginEntry;
use crate::config::router::RouterConfig;
use crate::config::toml_text::read;

/// The configuration in a file. With faults, what could not be read is at its default.
pub fn read_config(path: &Path) -> (RouterConfig, Vec<Fault>) {
    match std::fs::read_to_string(path) {
        Ok(text) => read(&text),
        Err(error) => (RouterConfig::default(), vec![unreadable(String::new(), path, &error)]),
    }
}

/// The plugins of a directory: each `.wasm` file, configured by a `.toml` file of the same stem
/// where there is one. In the order of their file names.
pub fn read_plugin_dir(dir: &Path) -> (Vec<PluginEntry>, Vec<Fault>) {
    let paths = match modules_in(dir) {
        Ok(paths) => paths,
        Err(error) => return (Vec::new(), vec![unreadable("plugin_dir".to_owned(), dir, &error)]),
    };
    let mut faults = Vec::new();
    let entries = paths.iter().map(|path| plugin_of(path, &mut faults)).collect();
    (entries, faults)
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

/// The plugin of a module in the plugin directory, with the settings beside it.
pub(crate) fn plugin_of(module: &Path, faults: &mut Vec<Fault>) -> PluginEntry {
    let beside = module.with_extension("toml");
    let mut entry = match std::fs::read_to_string(&beside) {
        Ok(text) => {
            let (entry, found) = read::<PluginEntry>(&text);
            let within = |fault| Fault { path: within_file(&beside, &fault), ..fault };
            faults.extend(found.into_iter().map(within));
            entry
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => PluginEntry::default(),
        Err(error) => {
            faults.push(unreadable("plugin_dir".to_owned(), &beside, &error));
            PluginEntry::default()
        }
    };
    if entry.name.is_empty() {
        entry.name = module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    }
    // Who writes here may have modules loaded from here: another path would get a module past the
    // rules about signatures of this directory.
    if !entry.module_path.is_empty() && Path::new(&entry.module_path) != module {
        let path = format!("{}: module_path", beside.display());
        let allowed = "nothing: the module is the file beside";
        faults.push(Fault::value(path, format!("{:?}", entry.module_path), allowed));
    }
    entry.module_path = module.to_string_lossy().into_owned();
    entry
}

fn within_file(file: &Path, fault: &Fault) -> String {
    format!("{}: {}", file.display(), fault.path)
}

fn unreadable(path: String, file: &Path, error: &std::io::Error) -> Fault {
    Fault::text(path, None, format!("{} cannot be read: {error}", file.display()))
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
        let (entries, faults) = read_plugin_dir(dir.path());
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(entries[1].max_execution_time_ms, 7);
        assert!(entries[1].module_path.ends_with("b.wasm"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().contains("b.toml: naem (line 2)"), "{}", faults[0]);
    }

    #[test]
    fn settings_beside_a_module_cannot_name_another_module() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), "").unwrap();
        std::fs::write(dir.path().join("a.toml"), "module_path = \"/elsewhere/b.wasm\"").unwrap();
        let (entries, faults) = read_plugin_dir(dir.path());
        assert!(faults[0].to_string().contains("a.toml: module_path: found \"/elsewhere"), "{faults:?}");
        assert!(entries[0].module_path.ends_with("a.wasm"), "{entries:?}");
    }

    #[test]
    fn directory_that_is_missing_is_a_fault() {
        let (entries, faults) = read_plugin_dir(Path::new("/nowhere/at/all"));
        assert!(entries.is_empty());
        assert!(faults[0].to_string().starts_with("plugin_dir: /nowhere/at/all cannot be read"));
    }
}
