//! Files that are whole or absent, whatever happens. A checksum shows whether they were changed: the
//! first line is `sha256:` and the checksum of the rest.

use std::fs::{File, Permissions};
use std::io;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manage::digest::sha256;
use crate::manage::kept_plugin::BadFile;
use sglang_router_rs::types::file;

/// Prefix of half-written files' names.
pub(crate) const TEMPORARY: &str = ".tmp";

const CHECKSUM: &str = "sha256:";

/// Largest list that is accepted, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Who may read a file that takes the place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readers<'a> {
    /// Whoever writes it.
    Owner,
    /// Those whom the user's mask lets read what is made anew.
    AsUsual,
    /// Those who may read this file.
    Of(&'a Path),
}

/// Writes beside its place, syncs and renames: whoever looks sees all of it, or what was there before.
///
/// # Errors
///
/// What the system says; the old file then is still whole.
pub(crate) fn replace(path: &Path, bytes: &[u8], readers: Readers<'_>) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    if let Readers::AsUsual = readers {
        builder.permissions(Permissions::from_mode(0o666));
    }
    let mut beside = builder.tempfile_in(folder_of(path))?;
    beside.write_all(bytes)?;
    if let Readers::Of(other) = readers {
        beside.as_file().set_permissions(std::fs::metadata(other)?.permissions())?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The same for the owner's eyes, and on disk under its name when this returns.
///
/// # Errors
///
/// As [`replace`].
pub(crate) fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, Readers::Owner)?;
    // The new name is only as durable as the folder that holds it.
    File::open(folder_of(path))?.sync_all()
}

/// As [`keep`], with the file in the error.
///
/// # Errors
///
/// [`BadFile`]; the old file then is still whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), BadFile> {
    keep(path, bytes).map_err(|error| BadFile::new(path, error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a list as JSON under its checksum.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn write_list<T: Serialize>(path: &Path, list: &[T]) -> Result<(), BadFile> {
    let text = serde_json::to_string_pretty(list).map_err(|error| BadFile::new(path, error))?;
    write(path, format!("{CHECKSUM}{}\n{text}", sha256(text.as_bytes())).as_bytes())
}

/// Reads a list written by [`write_list`]; empty if there is none.
///
/// # Errors
///
/// [`BadFile`] if it cannot be read or its checksum is wrong.
pub(crate) fn read_list<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, BadFile> {
    let bad = |reason: String| BadFile::new(path, reason);
    let read = file::read_if_there(path, MAX_LIST_BYTES).map_err(|error| bad(error.to_string()))?;
    let Some(bytes) = read else { return Ok(Vec::new()) };
    let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let (first, rest) = text.split_once('\n').ok_or_else(|| bad("it has no checksum".to_owned()))?;
    if first.strip_prefix(CHECKSUM) != Some(sha256(rest.as_bytes()).as_str()) {
        return Err(bad("its checksum does not match its content".to_owned()));
    }
    serde_json::from_str(rest).map_err(|error| bad(error.to_string()))
}
