//! Where a plugin's module comes from: a file, which is looked at again and again, or a registry.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sgl_oci::ModuleReference;
use sglang_router_rs::policies::{ModuleBytes, PluginError, read_module};
use sha2::{Digest, Sha256};

/// What the system says of a file: size, inode, and when its content or its facts changed.
type Stamp = (u64, u64, u64, i64, i64);

/// Longest file that may be a reference instead of a module.
const MAX_REFERENCE_BYTES: usize = 1024;

/// What is to be loaded.
#[derive(Debug, PartialEq)]
pub(crate) enum FoundModule {
    /// A module.
    Bytes(ModuleBytes),
    /// A module in a registry: `oci://…`.
    Reference(String),
}

/// A path or a reference, and what was read last.
#[derive(Debug)]
pub(crate) struct WatchedModule {
    named: String,
    stamp: Option<Stamp>,
    digest: Option<[u8; 32]>,
    /// That the file is away was told.
    is_told_away: bool,
}

impl WatchedModule {
    pub(crate) fn new(named: impl Into<String>) -> Self {
        Self { named: named.into(), stamp: None, digest: None, is_told_away: false }
    }

    /// The path or the reference.
    pub(crate) fn named(&self) -> &str {
        &self.named
    }

    /// What to load, if it is other bytes than those that were read last. A file whose text is a reference names
    /// a module in a registry. A file that is being written is read again at the next look, since its times
    /// change. A reference in place of a path is told once.
    ///
    /// # Errors
    ///
    /// The file cannot be read; told once for each state of the file.
    pub(crate) fn read_if_new(&mut self) -> Result<Option<FoundModule>, PluginError> {
        if ModuleReference::is_one(&self.named) {
            let is_new = self.digest.replace([0; 32]).is_none();
            return Ok(is_new.then(|| FoundModule::Reference(self.named.clone())));
        }
        let path = PathBuf::from(&self.named);
        // Before it is read: what is written meanwhile is seen the next time.
        let stamp = stamp_of(&path);
        if self.stamp.is_some() && self.stamp == stamp {
            return Ok(None);
        }
        self.stamp = stamp;
        if std::mem::replace(&mut self.is_told_away, stamp.is_none()) && stamp.is_none() {
            return Ok(None);
        }
        let module = read_module(&path)?;
        let digest: [u8; 32] = Sha256::digest(&module.wasm).into();
        let is_new = self.digest.replace(digest) != Some(digest);
        Ok(is_new
            .then(|| reference_in(&module.wasm).map_or(FoundModule::Bytes(module), FoundModule::Reference)))
    }

    /// The next look takes what is there for new: it could not be had.
    pub(crate) fn forget(&mut self) {
        self.stamp = None;
        self.digest = None;
    }
}

/// The reference that these bytes are.
fn reference_in(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_REFERENCE_BYTES)?.trim();
    ModuleReference::is_one(text).then(|| text.to_owned())
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.len(), facts.dev(), facts.ino(), facts.ctime(), facts.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(watched: &mut WatchedModule) -> Option<Vec<u8>> {
        match watched.read_if_new().unwrap() {
            Some(FoundModule::Bytes(module)) => Some(module.wasm),
            Some(FoundModule::Reference(text)) => panic!("{text}"),
            None => None,
        }
    }

    #[test]
    fn file_is_read_once_for_each_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedModule::new(path.to_str().unwrap());
        assert_eq!(read(&mut watched).unwrap(), b"one");
        assert!(watched.read_if_new().unwrap().is_none());
        // The same bytes in another file are no news.
        let copy = dir.path().join("b.wasm");
        std::fs::write(&copy, "one").unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert!(watched.read_if_new().unwrap().is_none());
        std::fs::write(&copy, "two").unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert_eq!(read(&mut watched).unwrap(), b"two");
    }

    #[test]
    fn file_that_is_gone_is_an_error_once_and_its_return_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedModule::new(path.to_str().unwrap());
        watched.read_if_new().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(watched.read_if_new().is_err());
        assert!(watched.read_if_new().unwrap().is_none());
        std::fs::write(&path, "one").unwrap();
        assert!(watched.read_if_new().unwrap().is_none());
    }

    #[test]
    fn reference_is_told_once_and_again_when_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy");
        std::fs::write(&path, "oci://registry.example/policies/late:2\n").unwrap();
        for named in ["oci://registry.example/policies/late:2", path.to_str().unwrap()] {
            let mut watched = WatchedModule::new(named);
            let reference = FoundModule::Reference("oci://registry.example/policies/late:2".to_owned());
            assert_eq!(watched.read_if_new().unwrap().as_ref(), Some(&reference));
            assert_eq!(watched.read_if_new().unwrap(), None);
            watched.forget();
            assert_eq!(watched.read_if_new().unwrap(), Some(reference));
        }
        // A file that goes after its reference could not be had is told of once.
        let mut watched = WatchedModule::new(path.to_str().unwrap());
        watched.read_if_new().unwrap();
        watched.forget();
        std::fs::remove_file(&path).unwrap();
        assert!(watched.read_if_new().is_err());
        watched.forget();
        assert_eq!(watched.read_if_new().unwrap(), None);
    }
}
