//! Where lines go: a file that others may rename and remove, or standard output.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::access_log_section::LogTarget;
use sglang_router_rs::types::{file, shown_path};

/// The open end of a log.
#[derive(Debug)]
pub(crate) enum LogFile {
    /// Standard output.
    Stdout,
    /// A file, and which one it was when it was opened.
    Named {
        path: PathBuf,
        file: File,
        /// What is written there, for people.
        what: &'static str,
        /// Whether it was said that the name cannot be opened anew.
        complained: bool,
        /// Why it cannot be opened anew, while the file that is open has no name: nobody would read it.
        lost: Option<String>,
    },
}

impl LogFile {
    /// Opens it, a file for appending. `what` is written there, such as "the access log".
    pub(crate) fn open(target: &LogTarget, what: &'static str) -> io::Result<Self> {
        match target {
            LogTarget::Stdout => Ok(Self::Stdout),
            LogTarget::File(path) => {
                let file = file::append(path)?;
                Ok(Self::Named { path: path.clone(), file, what, complained: false, lost: None })
            }
        }
    }

    /// Opens the file anew if its name means another one by now, or none: programs that rotate logs rename
    /// them. If that cannot be done, lines go on to the one before, unless it was removed: then writing fails.
    pub(crate) fn follow(&mut self) {
        let Self::Named { path, file, what, complained, lost } = self else { return };
        if is_the_same(path, file) {
            *lost = None;
            return;
        }
        match file::append(path) {
            Ok(opened) => {
                *file = opened;
                (*complained, *lost) = (false, None);
            }
            Err(error) => {
                *lost = has_no_name(file).then(|| error.to_string());
                if lost.is_none() && !std::mem::replace(complained, true) {
                    let path = shown_path(path);
                    tracing::error!(%path, %error, "{what} cannot be opened anew; the file before goes on");
                }
            }
        }
    }

    /// Has what was written reach the disk.
    pub(crate) fn keep(&self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::Named { file, .. } => file.sync_data(),
        }
    }

    /// Writes whole lines.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::Named { path, lost: Some(error), .. } => {
                let path = shown_path(path);
                Err(io::Error::other(format!("{path} was removed and cannot be made anew: {error}")))
            }
            Self::Named { file, .. } => file.write_all(lines),
        }
    }
}

#[cfg(unix)]
fn is_the_same(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
    let named = std::fs::metadata(path).map(id);
    named.ok().zip(file.metadata().map(id).ok()).is_some_and(|(named, open)| named == open)
}

#[cfg(not(unix))]
fn is_the_same(path: &Path, _: &File) -> bool {
    path.exists()
}

/// True for an open file that was removed.
#[cfg(unix)]
fn has_no_name(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|facts| facts.nlink() == 0)
}

#[cfg(not(unix))]
fn has_no_name(_: &File) -> bool {
    false
}
