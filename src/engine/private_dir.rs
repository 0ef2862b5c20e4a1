//! A directory that only this user can write, and that does not grow for ever.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use crate::types::{file, shown_path};

/// What a directory may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// Age at which a half-written file has lost its writer.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Prefix of temporary files' names.
const TEMPORARY: &str = ".tmp";

/// Makes the directory, mode 0700, if there is none; checks it in any case.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    #[cfg(not(unix))]
    fs::create_dir_all(directory)?;
    check(directory)
}

/// An error unless it is a directory of this user, no link to one, that nobody else can write.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn check(directory: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(directory)?;
    if facts.file_type().is_symlink() {
        return Err(io::Error::other(format!("{} is a symbolic link", shown_path(directory))));
    }
    if !facts.is_dir() {
        return Err(io::Error::other(format!("{} is no directory", shown_path(directory))));
    }
    check_owner(directory, &facts)
}

/// Opens a regular file of this user, of at most `most` bytes, that nobody else can write. It checks the
/// opened file itself, not what has the name a moment later.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn open(path: &Path, most: u64) -> io::Result<(File, Metadata)> {
    let named = fs::symlink_metadata(path)?;
    // Checked before opening: to open a named pipe would wait for its other end.
    if !named.is_file() {
        return Err(io::Error::other(format!("{} is no regular file", shown_path(path))));
    }
    let (file, facts) = file::open(path, most)?;
    if !is_same(&named, &facts) {
        return Err(io::Error::other(format!("{} is being replaced", shown_path(path))));
    }
    check_owner(path, &facts)?;
    Ok((file, facts))
}

/// Removes the oldest files with this extension until the rest is within bounds, and files that killed
/// processes left half written. `newest` stays. What cannot be removed does no harm: the next run tries
/// again.
pub(crate) fn prune(directory: &Path, extension: &str, bounds: Bounds, newest: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        let Ok(time) = facts.modified() else { continue };
        if path.extension().is_some_and(|found| found == extension) && facts.is_file() {
            kept.push((time, facts.len(), path));
        } else if is_temporary(&path) && facts.is_file() && time.elapsed().is_ok_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(&path);
        }
    }
    kept.sort();
    let (mut files, mut bytes) = (kept.len(), kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
    for (_, size, path) in kept {
        if files <= bounds.files && bytes <= bounds.bytes {
            return;
        }
        if path != newest && fs::remove_file(&path).is_ok() {
            tracing::debug!(file = %shown_path(&path), "removed from the compilation cache, which is full");
            (files, bytes) = (files - 1, bytes.saturating_sub(size));
        }
    }
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
}

/// An error unless it belongs to this user and nobody else can write it.
#[cfg(unix)]
fn check_owner(path: &Path, facts: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let me = this_user()?;
    if facts.uid() != me || facts.mode() & 0o022 != 0 {
        let found = format!(
            "{} must belong to user {me} and be writable by nobody else (found: user {}, mode {:o})",
            shown_path(path),
            facts.uid(),
            facts.mode() & 0o777
        );
        return Err(io::Error::other(found));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn this_user() -> io::Result<u32> {
    Ok(rustix::process::geteuid().as_raw())
}

/// The user that we run as: what we make belongs to it.
#[cfg(all(unix, not(target_os = "linux")))]
fn this_user() -> io::Result<u32> {
    Ok(std::os::unix::fs::MetadataExt::uid(&tempfile::tempfile()?.metadata()?))
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of so many bytes that is so many seconds old.
    fn file(dir: &Path, name: &str, bytes: usize, age: u64) {
        let path = dir.join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn oldest_files_go_until_the_rest_is_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (name, bytes, age) in [("a.aot", 10, 1), ("b.aot", 10, 5), ("c.aot", 10, 3), ("other", 99, 9)] {
            file(dir, name, bytes, age);
        }
        let newest = dir.join("a.aot");
        prune(dir, "aot", Bounds { files: 3, bytes: 30 }, &newest);
        assert_eq!(names(dir).len(), 4, "nothing is beyond the bounds");
        prune(dir, "aot", Bounds { files: 2, bytes: 30 }, &newest);
        assert_eq!(names(dir), ["a.aot", "c.aot", "other"]);
        prune(dir, "aot", Bounds { files: 3, bytes: 19 }, &newest);
        assert_eq!(names(dir), ["a.aot", "other"]);
    }

    #[test]
    fn file_that_was_just_written_stays_whatever_its_size() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "new.aot", 100, 0);
        file(dir.path(), "future.aot", 1, 0);
        prune(dir.path(), "aot", Bounds { files: 1, bytes: 10 }, &dir.path().join("new.aot"));
        assert_eq!(names(dir.path()), ["new.aot"]);
    }

    #[test]
    fn only_what_was_left_half_written_long_ago_goes() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), ".tmpold", 1, 2 * 3600);
        file(dir.path(), ".tmpnew", 1, 10);
        prune(dir.path(), "aot", Bounds { files: 9, bytes: 9 }, &dir.path().join("none"));
        assert_eq!(names(dir.path()), [".tmpnew"]);
    }
}
