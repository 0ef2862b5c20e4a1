//! The last good set of plugins on disk, so that a router that was killed comes back with it.
//!
//! ```text
//! DIR/lock                    held while a router uses the directory
//! DIR/plugins                 first line: checksum of the rest; the rest: JSON, what serves
//! DIR/modules/<sha256>.wasm   the modules, named by their digests
//! ```
//!
//! Files are written beside their place, synced and renamed, so each is whole or absent. A module is
//! written before a list that names it, and removed after the last list that does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::manage::digest::sha256;
use crate::manage::durable_file;
use crate::manage::durable_file::TEMPORARY;
use crate::manage::kept_plugin::{BadFile, KeptPlugin};
use crate::manage::kept_set::{Change, Disk, KeptSet, PluginSnapshot};
use sglang_router_rs::types::file;

const LIST: &str = "plugins";
const SET_ASIDE: &str = "plugins.bad";
const MODULES: &str = "modules";

/// Largest module that is accepted, in bytes: pushes have a lower limit.
const MAX_MODULE_BYTES: u64 = 64 << 20;

/// The directory, held by this process.
///
/// # Concurrency
///
/// Everything but reading happens under the lock of `kept`, which is held during file operations:
/// callers are on threads that may block.
#[derive(Debug)]
pub struct StateDir {
    files: Files,
    /// Locked as long as it is open.
    _lock: File,
    kept: Mutex<KeptSet>,
}

/// What the list says; empty if there is none.
///
/// # Errors
///
/// [`BadFile`] if it cannot be read or its checksum is wrong.
pub(crate) fn read_list(dir: &Path) -> Result<Vec<KeptPlugin>, BadFile> {
    durable_file::read_list(&dir.join(LIST))
}

/// The bytes of a kept module, whether a router uses the directory or not.
///
/// # Errors
///
/// [`BadFile`] if it cannot be read or is not what it was.
pub(crate) fn read_kept_module(dir: &Path, digest: &str) -> Result<Vec<u8>, BadFile> {
    let file = Files { dir: dir.to_owned() }.module(digest);
    let bytes = file::read(&file, MAX_MODULE_BYTES).map_err(|error| bad(&file, error))?;
    let found = sha256(&bytes);
    if found != digest {
        return Err(bad(&file, format!("its digest is {found}")));
    }
    Ok(bytes)
}

impl StateDir {
    /// Opens the directory, which is made if need be, and reads its list. A bad list is set aside
    /// (`plugins.bad`) and reported at each start until an operator removes it; the modules that it
    /// named stay.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if the directory cannot be made or another router uses it.
    pub fn open(dir: &Path) -> Result<(Self, Option<BadFile>), BadFile> {
        let files = Files { dir: dir.to_owned() };
        std::fs::create_dir_all(files.modules()).map_err(|error| bad(dir, error))?;
        let path = dir.join("lock");
        let mut options = file::without_waiting();
        let lock = options.write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| bad(&path, error))?;
        lock.try_lock().map_err(|_| bad(&path, "another router uses this state directory"))?;
        for folder in [files.modules(), dir.to_owned()] {
            remove_half_written(&folder);
        }
        let aside = dir.join(SET_ASIDE);
        let (list, fault) = match read_list(dir) {
            Ok(list) => (
                list,
                aside.exists().then(|| {
                    bad(
                        &aside,
                        "it was set aside by an earlier start; repair it and name it `plugins`, or remove it",
                    )
                }),
            ),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        if fault.as_ref().is_some_and(|fault| fault.file != aside) {
            std::fs::rename(dir.join(LIST), &aside).map_err(|error| bad(&aside, error))?;
        }
        Ok((Self { files, _lock: lock, kept: Mutex::new(KeptSet::new(list)) }, fault))
    }

    /// What the list says.
    pub fn plugins(&self) -> Vec<KeptPlugin> {
        self.kept.lock().listed().cloned().collect()
    }

    /// Where the list is.
    pub fn list_file(&self) -> PathBuf {
        self.files.list()
    }

    /// Where a module is, or would be.
    pub fn module_file(&self, digest: &str) -> PathBuf {
        self.files.module(digest)
    }

    /// The bytes of a kept plugin's module.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be read or is not what it was.
    pub fn read_module(&self, digest: &str) -> Result<Vec<u8>, BadFile> {
        read_kept_module(&self.files.dir, digest)
    }

    /// Keeps the entries of these names as they are until an operator changes the plugins.
    pub fn leave(&self, names: BTreeSet<String>) {
        self.kept.lock().leave(names);
    }

    /// Keeps a module for a load under a name, until [`record`](Self::record) says that the load is
    /// over. Returns its digest.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be written.
    pub fn keep_module(&self, name: &str, wasm: &[u8]) -> Result<String, BadFile> {
        let digest = sha256(wasm);
        self.kept.lock().arrive(&self.files, name, &digest, wasm)?;
        Ok(digest)
    }

    /// Makes the list name the pushed plugins that serve; entries that nobody touched stay. Removes
    /// modules that nobody needs. `look` is called while no other record can be written.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if the list cannot be written; the old one then is still whole.
    pub fn record(&self, change: Change, look: impl FnOnce() -> PluginSnapshot) -> Result<(), BadFile> {
        let mut kept = self.kept.lock();
        // Here and not earlier: an earlier snapshot may be older than the list.
        let snapshot = look();
        kept.record(&self.files, change, snapshot)
    }
}

/// Removes what killed routers left behind. Nobody else writes here: the directory is locked.
fn remove_half_written(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            // The next start tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The files of the directory.
#[derive(Debug)]
struct Files {
    dir: PathBuf,
}

impl Files {
    fn list(&self) -> PathBuf {
        self.dir.join(LIST)
    }

    fn modules(&self) -> PathBuf {
        self.dir.join(MODULES)
    }

    fn module(&self, digest: &str) -> PathBuf {
        self.modules().join(format!("{digest}.wasm"))
    }
}

impl Disk for Files {
    fn write_module(&self, digest: &str, wasm: &[u8]) -> Result<(), BadFile> {
        durable_file::write(&self.module(digest), wasm)
    }

    fn has_module(&self, digest: &str) -> bool {
        std::fs::metadata(self.module(digest)).is_ok_and(|facts| facts.is_file())
    }

    /// Nothing while a list that was set aside may need the modules.
    fn removable(&self) -> Vec<String> {
        if self.dir.join(SET_ASIDE).exists() {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(self.modules()) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
        paths.filter(|path| path.extension().is_some_and(|end| end == "wasm")).filter_map(stem).collect()
    }

    fn remove_module(&self, digest: &str) {
        // The next time tries again.
        let _ = std::fs::remove_file(self.module(digest));
    }

    fn write_list(&self, plugins: &BTreeMap<String, KeptPlugin>) -> Result<(), BadFile> {
        let list: Vec<&KeptPlugin> = plugins.values().collect();
        durable_file::write_list(&self.list(), &list)
    }
}

fn bad(file: &Path, reason: impl ToString) -> BadFile {
    BadFile::new(file, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};

    fn plugin(name: &str, digest: &str) -> KeptPlugin {
        let config = WasmPolicyConfig::new(name, "p.wasm");
        let options = PluginOptions::default();
        KeptPlugin { digest: digest.to_owned(), config, options, origin: None, signature: None }
    }

    fn modules(dir: &Path) -> usize {
        std::fs::read_dir(dir.join(MODULES)).unwrap().count()
    }

    fn arrived(name: &str, digest: &str) -> Change {
        Change::Arrived { name: name.to_owned(), digest: digest.to_owned(), loaded: true }
    }

    fn serving(serving: &[KeptPlugin]) -> impl FnOnce() -> PluginSnapshot {
        let serving = serving.to_vec();
        move || PluginSnapshot { serving, alive: BTreeSet::new() }
    }

    /// A directory that keeps the plugin `p`.
    fn keeping(root: &Path, wasm: &[u8]) -> (StateDir, String) {
        let (state, _) = StateDir::open(root).unwrap();
        let digest = state.keep_module("p", wasm).unwrap();
        state.record(arrived("p", &digest), serving(&[plugin("p", &digest)])).unwrap();
        (state, digest)
    }

    #[test]
    fn set_comes_back_and_modules_that_nobody_needs_go() {
        let root = tempfile::tempdir().unwrap();
        let (state, _) = keeping(root.path(), b"old");
        let new = state.keep_module("p", b"new").unwrap();
        assert_eq!(modules(root.path()), 2);
        let both = [plugin("p", &new), plugin("q", "elsewhere")];
        state.record(arrived("p", &new), serving(&both)).unwrap();
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
        let (state, _) = keeping(root.path(), b"module");
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
    fn bad_list_is_set_aside_and_its_modules_stay_and_it_is_reported_at_each_start() {
        let root = tempfile::tempdir().unwrap();
        let (state, digest) = keeping(root.path(), b"module");
        drop(state);
        std::fs::write(root.path().join(LIST), "sha256:0\n[]").unwrap();
        let (state, fault) = StateDir::open(root.path()).unwrap();
        assert_eq!(fault.unwrap().file, root.path().join(LIST));
        state.record(Change::ByItself, PluginSnapshot::default).unwrap();
        assert!(state.module_file(&digest).exists());
        drop(state);
        for _ in 0..2 {
            let (_, fault) = StateDir::open(root.path()).unwrap();
            assert_eq!(fault.unwrap().file, root.path().join(SET_ASIDE));
        }
    }

    #[test]
    fn second_router_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let _first = StateDir::open(root.path()).unwrap();
        assert!(StateDir::open(root.path()).unwrap_err().reason.contains("another router"));
    }

    #[test]
    fn what_killed_routers_left_half_written_goes() {
        let root = tempfile::tempdir().unwrap();
        let (state, digest) = keeping(root.path(), b"module");
        drop(state);
        let left = [root.path().join(".tmpAbc123"), root.path().join(MODULES).join(".tmpXyz789")];
        for file in &left {
            std::fs::write(file, "half").unwrap();
        }
        let (state, _) = StateDir::open(root.path()).unwrap();
        assert!(left.iter().all(|file| !file.exists()) && state.module_file(&digest).exists());
    }

    #[cfg(unix)]
    #[test]
    fn pipes_in_the_directory_are_reported_instead_of_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let (state, digest) = keeping(root.path(), b"module");
        let pipe = |path: &Path| {
            let _ = std::fs::remove_file(path);
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        pipe(&state.module_file(&digest));
        assert!(state.read_module(&digest).unwrap_err().reason.contains("a named pipe"));
        drop(state);
        pipe(&root.path().join(LIST));
        let (state, fault) = StateDir::open(root.path()).unwrap();
        assert!(fault.unwrap().reason.contains("a named pipe"));
        drop(state);
        pipe(&root.path().join("lock"));
        assert_eq!(StateDir::open(root.path()).unwrap_err().file, root.path().join("lock"));
    }
}
