//! The last good set of plugins on disk, so that a router that was killed comes back with it.
//!
//! ```text
//! DIR/lock                    held while a router uses the directory
//! DIR/plugins                 first line: checksum of the rest; the rest: JSON, what serves
//! DIR/modules/<sha256>.wasm   the modules, named by their digests
//! ```
//!
//! Files are written beside their place, synced and renamed, so each is whole or not there. A
//! module is written before a list that names it, and removed after the last list that does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::Deserialize;
use serde::Serialize;

use crate::config::plugin::PluginOptions;
use crate::config::plugin::WasmPolicyConfig;
use crate::manage::digest::sha256;
use crate::policies::Origin;

const LIST: &str = "plugins";
const MODULES: &str = "modules";
const CHECKSUM: &str = "sha256:";

/// A plugin as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptPlugin {
    /// SHA-256 of its module, 64 hex digits.
    pub digest: String,
    /// What it was loaded with; its name is in it.
    pub config: WasmPolicyConfig,
    /// What it was loaded with.
    pub options: PluginOptions,
    /// Where its module came from: the rules about signatures go by that, at every start again. Lists
    /// of older routers do not have it; it is what `module_path` says then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The detached signature that came with its module, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A file of the directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} is bad: {reason}", file.display())]
pub struct BadFile {
    /// Which.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

fn bad(file: &Path, reason: impl ToString) -> BadFile {
    BadFile { file: file.to_owned(), reason: reason.to_string() }
}

/// The directory, held by this process.
///
/// # Concurrency
///
/// Everything but reading happens under the lock of `kept`, which is held during file operations:
/// callers are on threads where that may take its time.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What the list on disk says.
    plugins: BTreeMap<String, KeptPlugin>,
    /// Modules of loads on their way.
    arriving: BTreeSet<String>,
}

/// What the list says; nothing if there is none.
///
/// # Errors
///
/// [`BadFile`] if it cannot be read or its checksum is wrong.
pub fn read_list(dir: &Path) -> Result<Vec<KeptPlugin>, BadFile> {
    let file = dir.join(LIST);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(bad(&file, error)),
    };
    let (first, rest) = text.split_once('\n').ok_or_else(|| bad(&file, "it has no checksum"))?;
    if first.strip_prefix(CHECKSUM) != Some(sha256(rest.as_bytes()).as_str()) {
        return Err(bad(&file, "its checksum does not match its content"));
    }
    serde_json::from_str(rest).map_err(|error| bad(&file, error))
}

impl StateDir {
    /// Opens the directory, which is made if need be, and reads its list. A list that is bad is
    /// set aside (`plugins.bad`) and reported; what it named is not removed.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if the directory cannot be made or another router uses it.
    pub fn open(dir: &Path) -> Result<(Self, Option<BadFile>), BadFile> {
        std::fs::create_dir_all(dir.join(MODULES)).map_err(|error| bad(dir, error))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|error| bad(&path, error))?;
        lock.try_lock().map_err(|_| bad(&path, "another router uses this state directory"))?;
        let (list, fault) = match read_list(dir) {
            Ok(list) => (list, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        if fault.is_some() {
            let aside = dir.join("plugins.bad");
            std::fs::rename(dir.join(LIST), &aside).map_err(|error| bad(&aside, error))?;
        }
        let plugins = list.into_iter().map(|plugin| (plugin.config.name.clone(), plugin)).collect();
        let kept = Mutex::new(Kept { plugins, arriving: BTreeSet::new() });
        Ok((Self { dir: dir.to_owned(), _lock: lock, kept }, fault))
    }

    /// What the list says.
    pub fn plugins(&self) -> Vec<KeptPlugin> {
        self.kept.lock().plugins.values().cloned().collect()
    }

    /// Where the list is.
    pub fn list_file(&self) -> PathBuf {
        self.dir.join(LIST)
    }

    /// Where a module is, or would be.
    pub fn module_file(&self, digest: &str) -> PathBuf {
        self.dir.join(MODULES).join(format!("{digest}.wasm"))
    }

    /// The bytes of a kept plugin's module.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be read or is not what it was.
    pub fn read_module(&self, digest: &str) -> Result<Vec<u8>, BadFile> {
        let file = self.module_file(digest);
        let bytes = std::fs::read(&file).map_err(|error| bad(&file, error))?;
        let found = sha256(&bytes);
        if found != digest {
            return Err(bad(&file, format!("its digest is {found}")));
        }
        Ok(bytes)
    }

    /// Keeps a module for a load that is on its way, until [`record`](Self::record) says that it
    /// is over. Returns its digest.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be written.
    pub fn keep_module(&self, wasm: &[u8]) -> Result<String, BadFile> {
        let digest = sha256(wasm);
        let mut kept = self.kept.lock();
        self.write(&self.module_file(&digest), wasm)?;
        kept.arriving.insert(digest.clone());
        Ok(digest)
    }

    /// Makes the list say what serves: of each plugin in `serving` whose module is kept here, and
    /// of each named in `untouched` as it was. `arrived` is the module of a load that is over.
    /// Modules that neither the list nor `alive` names are removed: a generation that lives may
    /// serve again.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if the list cannot be written; the old one is whole then.
    pub fn record(
        &self,
        serving: Vec<KeptPlugin>,
        untouched: &BTreeSet<String>,
        alive: &BTreeSet<String>,
        arrived: Option<&str>,
    ) -> Result<(), BadFile> {
        let mut kept = self.kept.lock();
        if let Some(digest) = arrived {
            kept.arriving.remove(digest);
        }
        let mut plugins: BTreeMap<String, KeptPlugin> =
            kept.plugins.iter().filter(|(name, _)| untouched.contains(*name)).map(cloned).collect();
        for plugin in serving {
            if !untouched.contains(&plugin.config.name) && self.module_file(&plugin.digest).exists() {
                plugins.insert(plugin.config.name.clone(), plugin);
            }
        }
        if plugins != kept.plugins {
            self.write_list(&plugins)?;
            kept.plugins = plugins;
        }
        self.sweep(&kept, alive);
        Ok(())
    }

    fn write_list(&self, plugins: &BTreeMap<String, KeptPlugin>) -> Result<(), BadFile> {
        let list: Vec<&KeptPlugin> = plugins.values().collect();
        let file = self.list_file();
        let text = serde_json::to_string_pretty(&list).map_err(|error| bad(&file, error))?;
        self.write(&file, format!("{CHECKSUM}{}\n{text}", sha256(text.as_bytes())).as_bytes())
    }

    /// Writes a file that is whole or not there, whatever happens.
    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), BadFile> {
        let write = || {
            let folder = file.parent().unwrap_or(&self.dir);
            let mut beside = tempfile::NamedTempFile::new_in(folder)?;
            beside.write_all(bytes)?;
            beside.as_file().sync_all()?;
            beside.persist(file).map_err(|error| error.error)?;
            // The new name is only as durable as the folder that holds it.
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| bad(file, error))
    }

    /// Removes modules that neither the list nor a load on its way names, and what a killed
    /// process left half written. Not while a list that was set aside may need them.
    fn sweep(&self, kept: &Kept, alive: &BTreeSet<String>) {
        if self.dir.join("plugins.bad").exists() {
            return;
        }
        let Ok(entries) = std::fs::read_dir(self.dir.join(MODULES)) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let digest = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let needed = alive.contains(&digest)
                || kept.arriving.contains(&digest)
                || kept.plugins.values().any(|plugin| plugin.digest == digest);
            if !needed {
                // It is tried again the next time.
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

fn cloned((name, plugin): (&String, &KeptPlugin)) -> (String, KeptPlugin) {
    (name.clone(), plugin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, digest: &str) -> KeptPlugin {
        let config = WasmPolicyConfig::new(name, "p.wasm");
        let options = PluginOptions::default();
        KeptPlugin { digest: digest.to_owned(), config, options, origin: None, signature: None }
    }

    fn modules(dir: &Path) -> usize {
        std::fs::read_dir(dir.join(MODULES)).unwrap().count()
    }

    #[test]
    fn set_comes_back_and_modules_that_nobody_needs_go() {
        let root = tempfile::tempdir().unwrap();
        let (state, _) = StateDir::open(root.path()).unwrap();
        let old = state.keep_module(b"old").unwrap();
        state.record(vec![plugin("p", &old)], &BTreeSet::new(), &BTreeSet::new(), Some(&old)).unwrap();
        let new = state.keep_module(b"new").unwrap();
        assert_eq!(modules(root.path()), 2);
        state
            .record(
                vec![plugin("p", &new), plugin("q", "elsewhere")],
                &BTreeSet::new(),
                &BTreeSet::new(),
                Some(&new),
            )
            .unwrap();
        drop(state);
        let (state, fault) = StateDir::open(root.path()).unwrap();
        assert!(fault.is_none());
        assert_eq!(state.plugins(), [plugin("p", &new)]);
        assert_eq!(state.read_module(&new).unwrap(), b"new");
        assert_eq!(modules(root.path()), 1);
    }

    #[test]
    fn every_flipped_bit_of_the_list_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let (state, _) = StateDir::open(root.path()).unwrap();
        let digest = state.keep_module(b"module").unwrap();
        state.record(vec![plugin("p", &digest)], &BTreeSet::new(), &BTreeSet::new(), Some(&digest)).unwrap();
        let file = state.list_file();
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&file, flipped).unwrap();
            assert!(read_list(root.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn bad_list_is_set_aside_and_its_modules_stay() {
        let root = tempfile::tempdir().unwrap();
        let (state, _) = StateDir::open(root.path()).unwrap();
        let digest = state.keep_module(b"module").unwrap();
        state.record(vec![plugin("p", &digest)], &BTreeSet::new(), &BTreeSet::new(), Some(&digest)).unwrap();
        drop(state);
        std::fs::write(root.path().join(LIST), "sha256:0\n[]").unwrap();
        let (state, fault) = StateDir::open(root.path()).unwrap();
        assert_eq!(fault.unwrap().file, root.path().join(LIST));
        state.record(Vec::new(), &BTreeSet::new(), &BTreeSet::new(), None).unwrap();
        assert!(state.module_file(&digest).exists());
    }

    #[test]
    fn second_router_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let _first = StateDir::open(root.path()).unwrap();
        assert!(StateDir::open(root.path()).unwrap_err().reason.contains("another router"));
    }
}
