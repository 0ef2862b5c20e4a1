//! Where a module's signatures are, and which bytes they cover.

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use crate::policies::wasm::load::trust::format;

/// Name of the custom section.
pub(super) const SECTION: &str = "signature";

/// Bytes of a module's header.
const HEADER_BYTES: usize = 8;

/// The only header a core module may have, so it needs no signature.
const HEADER: [u8; HEADER_BYTES] = *b"\0asm\x01\0\0\0";

/// A module, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    /// Content of the signature section, if there is one.
    pub(super) embedded: Option<&'a [u8]>,
    /// What an embedded signature covers: everything after the section, or after the header if
    /// there is none.
    pub(super) inner: &'a [u8],
    /// What a detached signature covers: everything after the header.
    outer: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes a module apart. It uses the parser of the later checks, from the same project as the
    /// engine's: all see the same sections.
    ///
    /// # Errors
    ///
    /// What is wrong, for people.
    pub(super) fn open(wasm: &'a [u8]) -> Result<Self, String> {
        let outer = wasm.strip_prefix(&HEADER).ok_or("the module does not begin as a core module does")?;
        let mut envelope = Self { embedded: None, inner: outer, outer };
        let mut is_first = true;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|error| {
                let reason = crate::types::shown(error.message());
                format!("the module cannot be read at byte {}: {reason}", error.offset())
            })?;
            match payload {
                Payload::Version { .. } => continue,
                Payload::CustomSection(section) if section.name() == SECTION => {
                    if !is_first {
                        return Err(format!(
                            "there is a section `{SECTION}` that is not the first, or a second one"
                        ));
                    }
                    envelope.embedded = Some(section.data());
                    envelope.inner = wasm.get(section.range().end..).unwrap_or_default();
                }
                _ => {}
            }
            is_first = false;
        }
        Ok(envelope)
    }

    /// Hash of what an embedded signature covers.
    pub(super) fn inner_hash(&self) -> [u8; 32] {
        Sha256::digest(self.inner).into()
    }

    /// Hash of what a detached signature covers.
    pub(super) fn outer_hash(&self) -> [u8; 32] {
        Sha256::digest(self.outer).into()
    }

    /// The module with this signature section in place of its own.
    pub(super) fn sealed(&self, embedded: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        format::put(&mut content, SECTION.as_bytes());
        content.extend(embedded);
        let mut wasm = HEADER.to_vec();
        // Custom section.
        wasm.push(0);
        format::put(&mut wasm, &content);
        wasm.extend(self.inner);
        wasm
    }
}
