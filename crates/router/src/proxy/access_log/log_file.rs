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
        /// Whether it was said that the name cannot be opened anew.
        complained: bool,
    },
}

impl LogFile {
    /// Opens it, a file for appending.
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Stdout => Ok(Self::Stdout),
            LogTarget::File(path) => {
                Ok(Self::Named { path: path.clone(), file: file::append(path)?, complained: false })
            }
        }
    }

    /// Opens the file anew if its name means another one by now, or none: programs that rotate logs rename
    /// them. If that cannot be done, lines go on to the one before.
    pub(crate) fn follow(&mut self) {
        let Self::Named { path, file, complained } = self else { return };
        if is_the_same(path, file) {
            return;
        }
        match file::append(path) {
            Ok(opened) => {
                *file = opened;
                *complained = false;
            }
            Err(error) => {
                if !std::mem::replace(complained, true) {
                    let path = shown_path(path);
                    tracing::error!(%path, %error, "the access log cannot be opened anew; the file before goes on");
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
