//! Reads the public keys of a rule from their sources.

use std::path::{Path, PathBuf};

use crate::policies::wasm::load::trust::fault::KeyFault;
use crate::policies::wasm::load::trust::key::PublicKey;
use crate::types::{file, shown_path};

/// Largest key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// Reads keys: PEM texts, files, and the `.pub` files of directories.
///
/// # Errors
///
/// [`KeyFault`], the first: if a key cannot be read, nobody knows who is trusted.
pub(super) fn read(sources: &[String]) -> Result<Vec<PublicKey>, KeyFault> {
    let mut keys = Vec::new();
    for (position, source) in sources.iter().enumerate() {
        if source.contains("-----BEGIN") {
            let place = || format!("keys[{position}]");
            add(
                &mut keys,
                PublicKey::from_pem(source).map_err(|reason| KeyFault { place: place(), reason })?,
            );
            continue;
        }
        for file in files(Path::new(source))? {
            add(&mut keys, read_file(&file)?);
        }
    }
    match (keys.is_empty(), sources.first()) {
        (true, Some(source)) => Err(fault(Path::new(source), "there is no `.pub` file in the directory")),
        _ => Ok(keys),
    }
}

/// Adds a key once: the same key in two files is one key.
fn add(keys: &mut Vec<PublicKey>, key: PublicKey) {
    if !keys.contains(&key) {
        keys.push(key);
    }
}

/// The file itself, or the keys in a directory, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>, KeyFault> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| fault(path, error))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(|error| fault(path, error))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pub"));
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<PublicKey, KeyFault> {
    let (opened, facts) = file::open(path, MAX_KEY_BYTES).map_err(|error| fault(path, error))?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o002 != 0 {
        return Err(fault(path, "everybody can write it, so anybody could be trusted; chmod o-w"));
    }
    let text = file::text_of(opened, &facts, MAX_KEY_BYTES).map_err(|error| fault(path, error))?;
    PublicKey::from_pem(&text).map_err(|reason| fault(path, reason))
}

fn fault(file: &Path, reason: impl ToString) -> KeyFault {
    KeyFault { place: shown_path(file), reason: reason.to_string() }
}
