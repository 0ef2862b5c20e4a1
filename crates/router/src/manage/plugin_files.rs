//! The files of a plugin in the plugin directory: its module, and beside it its settings and its
//! detached signature. Stamps show cheaply whether they changed, digests show it surely.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::config::files::{MAX_SETTINGS_BYTES, settings_file};
use crate::manage::digest::sha256;
use crate::manage::file_stamp::FileStamp;
use sglang_router_rs::policies::trust::signature_file;
use sglang_router_rs::policies::{ModuleBytes, read_module};
use sglang_router_rs::types::{file, in_full, shown_path};

/// How long after a file's last change its stamp proves nothing: clocks of file systems are coarse, and
/// a second change within the same tick leaves no trace.
const RACY: Duration = Duration::from_secs(2);

/// What the system says about a plugin's files: shows changes without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamps([Option<FileStamp>; 3]);

impl Stamps {
    /// Asks the system.
    pub(crate) fn of(module: &Path) -> Self {
        let of = FileStamp::of;
        Self([of(module), of(&settings_file(module)), of(&signature_file(module))])
    }

    /// True if these would show any later change.
    pub(crate) fn are_proof(&self, now: SystemTime) -> bool {
        let is_old = |time| now.duration_since(time).is_ok_and(|age| age > RACY);
        self.0.iter().flatten().all(|stamp| stamp.modified().is_none_or(is_old))
    }

    /// When the last of the files was changed.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.0.iter().flatten().filter_map(FileStamp::modified).max()
    }
}

/// The digests of a plugin's files, or why they cannot be read.
pub(crate) type Print = Result<Digests, String>;

/// The digests of a plugin's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    module: String,
    settings: Option<String>,
    signature: Option<String>,
}

/// The content of a plugin's files.
#[derive(Debug)]
pub(crate) struct PluginFiles {
    /// The module, with its detached signature.
    pub(crate) module: ModuleBytes,
    /// The settings beside it.
    pub(crate) settings: Option<Vec<u8>>,
}

impl PluginFiles {
    /// Reads them all.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    pub(crate) fn read(module: &Path) -> Result<Self, String> {
        let beside = settings_file(module);
        let settings = file::read_if_there(&beside, MAX_SETTINGS_BYTES)
            .map_err(|error| format!("{} cannot be read: {error}", shown_path(&beside)))?;
        let module = read_module(module).map_err(|error| in_full(&error))?;
        Ok(Self { module, settings })
    }

    /// Their digests.
    pub(crate) fn digests(&self) -> Digests {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(sha256);
        Digests {
            module: sha256(&self.module.wasm),
            settings: of(&self.settings),
            signature: of(&self.module.signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_file_that_was_just_written_prove_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("p.wasm");
        std::fs::write(&module, "a").unwrap();
        let stamps = Stamps::of(&module);
        assert!(!stamps.are_proof(SystemTime::now()));
        assert!(stamps.are_proof(SystemTime::now() + RACY * 2));
    }

    #[test]
    fn change_of_each_file_shows_in_stamps_and_digests() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("p.wasm");
        let mut seen = Vec::new();
        for name in ["p.wasm", "p.toml", "p.wasm.sig"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
            let now = (Stamps::of(&module), PluginFiles::read(&module).unwrap().digests());
            assert!(seen.iter().all(|(stamps, digests)| *stamps != now.0 && *digests != now.1), "{name}");
            seen.push(now);
        }
    }

    #[test]
    fn file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("p.wasm");
        std::fs::write(&module, "x").unwrap();
        std::fs::create_dir(dir.path().join("p.wasm.sig")).unwrap();
        let error = PluginFiles::read(&module).unwrap_err();
        assert!(error.contains("p.wasm.sig") && error.contains("it is a directory"), "{error}");
    }
}
