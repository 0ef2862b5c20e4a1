//! Whether files can be made, without making any that stays.

use std::io;
use std::path::Path;

use sglang_router_rs::types::file;

/// Whether a router could write files into a directory, which it makes if need be.
///
/// # Errors
///
/// Why not.
pub(crate) fn can_write_in(directory: &Path) -> io::Result<()> {
    let there = directory.ancestors().find(|folder| folder.exists() && !folder.as_os_str().is_empty());
    // It has no name, and goes with its handle.
    tempfile::tempfile_in(there.unwrap_or(Path::new("."))).map(drop)
}

/// Whether a router could append to a file, which it makes if need be.
///
/// # Errors
///
/// Why not.
pub(crate) fn can_append_to(path: &Path) -> io::Result<()> {
    if path.exists() {
        return file::append(path).map(drop);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Unlike a state directory it is not made.
    tempfile::tempfile_in(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_look_and_what_is_in_the_way_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let in_way = dir.path().join("file");
        assert!(can_write_in(dir.path()).is_ok() && can_write_in(&dir.path().join("new/below")).is_ok());
        assert!(can_append_to(&dir.path().join("records")).is_ok());
        assert!(can_append_to(&dir.path().join("new/records")).is_err(), "its folder is not made");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(&in_way, "text").unwrap();
        assert!(can_write_in(&in_way).is_err() && can_write_in(&in_way.join("below")).is_err());
        assert!(can_append_to(&in_way).is_ok() && can_append_to(dir.path()).is_err());
        assert_eq!(std::fs::read_to_string(&in_way).unwrap(), "text");
    }
}
