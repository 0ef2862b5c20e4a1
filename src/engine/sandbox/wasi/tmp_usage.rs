//! How much is in a private directory.
//!
//! Sizes are those that files have, holes included. The limit on files bounds what names and last blocks
//! take.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::ops::{Add, AddAssign};
use std::path::Path;
use std::sync::Weak;

use crate::engine::sandbox::tmp_limits::TmpLimits;

/// Bytes of files, and a number of files, directories and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Saturated, it is above every limit.
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Usage {
    pub(crate) fn is_within(self, limits: TmpLimits) -> bool {
        self.bytes <= limits.max_bytes && self.files <= limits.max_files
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What a directory holds, and open files without a name.
pub(crate) fn usage_of(directory: &Path, open: &[Weak<File>]) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_gone(std::fs::read_dir(folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            // Links are not followed.
            let Some(facts) = unless_gone(entry.metadata())? else { continue };
            if facts.is_dir() {
                folders.push(entry.path());
            }
            usage += Usage { bytes: new_bytes(&facts, &mut seen), files: 1 };
        }
    }
    for file in open.iter().filter_map(Weak::upgrade) {
        let facts = file.metadata()?;
        if is_nameless(&facts) {
            usage += Usage { bytes: new_bytes(&facts, &mut seen), files: 1 };
        }
    }
    Ok(usage)
}

/// Files may be deleted meanwhile.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes of a file, unless it was seen under another name.
fn new_bytes(facts: &Metadata, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let is_new = identity(facts).is_none_or(|identity| seen.insert(identity));
    if is_new && !facts.is_dir() { facts.len() } else { 0 }
}

#[cfg(unix)]
fn identity(facts: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((facts.dev(), facts.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(unix)]
fn is_nameless(facts: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    facts.nlink() == 0
}

#[cfg(not(unix))]
fn is_nameless(_: &Metadata) -> bool {
    // Open files cannot be deleted.
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    #[cfg(unix)]
    #[test]
    fn file_is_counted_once_whatever_its_names_and_also_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("a"), [0; 10]).unwrap();
        std::fs::create_dir(at("inner")).unwrap();
        std::fs::hard_link(at("a"), at("inner/b")).unwrap();
        std::os::unix::fs::symlink("12345", at("link")).unwrap();
        let open = Arc::new(File::options().write(true).create_new(true).open(at("gone")).unwrap());
        open.set_len(1000).unwrap();
        std::fs::remove_file(at("gone")).unwrap();
        let weak = [Arc::downgrade(&open)];
        assert_eq!(usage_of(directory.path(), &weak).unwrap(), Usage { bytes: 1015, files: 5 });
        drop(open);
        assert_eq!(usage_of(directory.path(), &weak).unwrap(), Usage { bytes: 15, files: 4 });
    }
}
