//! Reads whole files of a bounded size, and opens files to append to them. It takes regular files only,
//! so it never waits for somebody at the other end.
//!
//! Opening a named pipe waits for its other end, a device may have no end, and a sparse file is
//! larger than any memory. So what a path names is judged twice: before it is opened, since opening
//! a device may do something, and on the open descriptor, since the name may have changed hands in
//! between. A file on a broken network drive may still take its time: callers are on threads where
//! that harms nobody.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::{fmt, io};

/// A file that is larger than it may be. Found in the [`io::Error`] of [`read`] and [`open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {found} bytes; at most {allowed} are allowed")]
pub struct TooLarge {
    /// Its bytes, or how many were read of a file that grew.
    pub found: u64,
    /// How many it may have.
    pub allowed: u64,
}

impl TooLarge {
    /// What an error of [`read`] says about the size, if that was the reason.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

/// Options for opening a file without waiting: a named pipe does not hold up who opens it.
pub fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options
}

/// Opens a regular file of at most `most` bytes for reading.
///
/// # Errors
///
/// What the system says, or what was found instead.
pub fn open(path: &Path, most: u64) -> io::Result<(File, Metadata)> {
    judge(&std::fs::metadata(path)?, most)?;
    let file = without_waiting().read(true).open(path)?;
    let facts = file.metadata()?;
    judge(&facts, most)?;
    Ok((file, facts))
}

/// Opens a regular file for appending; makes it if it is not there.
///
/// # Errors
///
/// What the system says, or what was found instead.
pub fn append(path: &Path) -> io::Result<File> {
    match std::fs::metadata(path) {
        Ok(facts) => check_kind(&facts)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = without_waiting().create(true).append(true).open(path)?;
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// The content of a regular file of at most `most` bytes.
///
/// # Errors
///
/// What the system says, or what was found instead.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, facts) = open(path, most)?;
    bytes_of(file, &facts, most)
}

/// The content of a file that [`open`] opened.
///
/// # Errors
///
/// What the system says, or that it grew beyond `most` bytes.
pub fn bytes_of(file: File, facts: &Metadata, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(facts.len()).unwrap_or_default());
    // It may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, most)?;
    Ok(bytes)
}

/// The text of a file that [`open`] opened.
///
/// # Errors
///
/// As [`bytes_of`], or that it is no UTF-8.
pub(crate) fn text_of(file: File, facts: &Metadata, most: u64) -> io::Result<String> {
    String::from_utf8(bytes_of(file, facts, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("it is no UTF-8 text: {error}")))
}

/// [`read`], of a file that holds text.
///
/// # Errors
///
/// As [`read`], or that it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let (file, facts) = open(path, most)?;
    text_of(file, &facts, most)
}

/// [`read`], or `None` if there is no such file.
///
/// # Errors
///
/// As [`read`].
pub fn read_if_there(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    match read(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn judge(facts: &Metadata, most: u64) -> io::Result<()> {
    check_kind(facts)?;
    check_size(facts.len(), most)
}

fn check_kind(facts: &Metadata) -> io::Result<()> {
    if facts.is_file() {
        return Ok(());
    }
    let text = format!("it is {}; expected a regular file", FileKind(facts));
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn check_size(found: u64, allowed: u64) -> io::Result<()> {
    if found <= allowed {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLarge { found, allowed }))
}

/// What something is that is no regular file.
struct FileKind<'a>(&'a Metadata);

impl fmt::Display for FileKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt;
            let kind = self.0.file_type();
            if kind.is_fifo() {
                return f.write_str("a named pipe");
            }
            if kind.is_char_device() || kind.is_block_device() {
                return f.write_str("a device");
            }
            if kind.is_socket() {
                return f.write_str("a socket");
            }
        }
        f.write_str(if self.0.is_dir() { "a directory" } else { "no regular file" })
    }
}

// The tests need system calls that Miri does not have.
#[cfg(all(unix, not(miri)))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for (path, found) in [(&*pipe, "a named pipe"), (&*link, "a device"), (dir.path(), "a directory")] {
            for error in [read(path, 10).unwrap_err(), append(path).unwrap_err()] {
                assert_eq!(error.to_string(), format!("it is {found}; expected a regular file"));
            }
        }
        // Had it changed hands between the two looks, the second would see it.
        let opened = without_waiting().read(true).open(&pipe).unwrap();
        assert!(judge(&opened.metadata().unwrap(), 10).is_err());
    }

    #[test]
    fn file_may_have_as_many_bytes_as_are_allowed_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!(TooLarge::of(&error), Some(TooLarge { found: 5, allowed: 4 }));
        assert_eq!(error.to_string(), "it has 5 bytes; at most 4 are allowed");
    }

    #[test]
    fn sparse_file_is_refused_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(TooLarge::of(&read(&path, 1 << 25).unwrap_err()).unwrap().found, 3 << 30);
    }

    #[test]
    fn file_that_grows_while_it_is_read_is_refused() {
        // Its size is said to be 0.
        let error = read(Path::new("/proc/self/status"), 8).unwrap_err();
        assert_eq!(TooLarge::of(&error), Some(TooLarge { found: 9, allowed: 8 }));
    }

    #[test]
    fn file_that_is_not_there_is_none_and_appending_makes_it() {
        use std::io::Write;

        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        for line in ["a", "b"] {
            append(&log).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&log, 2).unwrap(), b"ab");
        assert_eq!(read_if_there(&dir.path().join("none"), 1).unwrap(), None);
    }
}
