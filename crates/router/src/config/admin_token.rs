//! The operators' token in a file.

use std::io;
use std::path::Path;

use sglang_router_rs::types::file;

/// Longest file that is read.
const MAX_TOKEN_BYTES: u64 = 1 << 16;

/// The token that a file holds; empty if it holds blanks only.
///
/// # Errors
///
/// If it is no regular file that can be read, or far too long.
pub(crate) fn read_admin_token(path: &Path) -> io::Result<String> {
    Ok(file::read_text(path, MAX_TOKEN_BYTES)?.trim().to_owned())
}
