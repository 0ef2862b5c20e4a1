//! Where a module's bytes come from, and what is checked before anything reads them.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::plugin_faults::pinned_digest;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::load::trust::origin;
use crate::policies::wasm::load::trust::origin::{ModuleBytes, Origin};
use crate::types::{file, hex};

/// Largest module that is accepted, in bytes.
pub const MAX_MODULE_BYTES: usize = 32 << 20;

/// Where a module's bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The file that the configuration names.
    File,
    /// The caller.
    Module(ModuleBytes),
    /// A generation that was compiled before: only limits and configuration change.
    Reuse(Arc<Generation>),
}

/// A module's file, with the detached signature beside it if there is one.
///
/// # Errors
///
/// [`PluginError::Read`] or [`PluginError::TooLarge`].
pub fn read_module(path: &Path) -> Result<ModuleBytes, PluginError> {
    let wasm = read(path)?;
    let signature = origin::read_signature(path)
        .map_err(|source| PluginError::Read { path: origin::signature_file(path), source })?;
    Ok(ModuleBytes { wasm, signature, origin: Origin::file(path) })
}

/// The bytes of a module's file.
///
/// # Errors
///
/// [`PluginError::Read`] or [`PluginError::TooLarge`].
fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    file::read(path, MAX_MODULE_BYTES as u64).map_err(|source| match file::TooLarge::of(&source) {
        Some(large) => PluginError::TooLarge {
            bytes: usize::try_from(large.found).unwrap_or(usize::MAX),
            limit: MAX_MODULE_BYTES,
        },
        None => PluginError::Read { path: path.to_owned(), source },
    })
}

pub(crate) fn check_size(bytes: usize) -> Result<(), PluginError> {
    let limit = MAX_MODULE_BYTES;
    if bytes > limit { Err(PluginError::TooLarge { bytes, limit }) } else { Ok(()) }
}

pub(crate) fn check_digest(wasm: &[u8], pin: Option<&str>) -> Result<String, PluginError> {
    let found = hex::encode(&Sha256::digest(wasm));
    check_pin(&found, pin)?;
    Ok(found)
}

pub(crate) fn check_pin(found: &str, pin: Option<&str>) -> Result<(), PluginError> {
    match pin.map(|pin| pinned_digest(pin).to_ascii_lowercase()) {
        Some(expected) if expected != found => Err(PluginError::Digest { found: found.to_owned(), expected }),
        _ => Ok(()),
    }
}
