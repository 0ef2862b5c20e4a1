//! What the system says of a file: shows that it has changed without reading it.

use std::path::Path;
use std::time::SystemTime;

/// What the system says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and time of the last change of either content or facts.
    identity: (u64, u64, i64, i64),
}

impl FileStamp {
    /// Asks the system; `None` if there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let facts = std::fs::metadata(path).ok()?;
        Some(Self { bytes: facts.len(), modified: facts.modified().ok(), identity: identity(&facts) })
    }

    /// When its content was changed, where the file system tells.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

#[cfg(unix)]
fn identity(facts: &std::fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (facts.dev(), facts.ino(), facts.ctime(), facts.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}
