//! Where the repository is, whichever crate's tests run.

use std::path::{Path, PathBuf};

/// The path of a file of the repository.
pub(crate) fn path(within: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(within)
}
