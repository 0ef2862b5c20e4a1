//! Digests, as they are written everywhere: 64 hex digits.

use sha2::{Digest, Sha256};

use sglang_router_rs::types::hex;

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}
