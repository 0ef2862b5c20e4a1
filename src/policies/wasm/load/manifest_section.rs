//! The section of a module in which it says of itself what a host should know: read, and put in by whoever
//! builds modules with a toolchain that cannot.

use sgl_policy_abi::{MANIFEST_SECTION, Manifest, encode_to_vec};
use wasmparser::{BinaryReaderError, Parser, Payload};

use crate::types::shown;

/// Number of custom sections.
const CUSTOM: u8 = 0;

/// Bytes of a module's header.
const HEADER_BYTES: usize = 8;

/// The section that signatures are in, which covers all that is behind it.
const SIGNATURE_SECTION: &str = "signature";

/// What a module says of itself; `None` if it says nothing.
///
/// # Errors
///
/// What is wrong with the module or its section, for people.
pub fn read_manifest(wasm: &[u8]) -> Result<Option<Manifest>, String> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CustomSection(section) = payload.map_err(unreadable)?
            && section.name() == MANIFEST_SECTION
        {
            found.push(section.data());
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [bytes] => Manifest::decode(bytes).map(Some).map_err(|error| shown(&error.to_string())),
        many => Err(format!("it has {} sections `{MANIFEST_SECTION}`; one is allowed", many.len())),
    }
}

/// The module with this manifest, in place of what it had.
///
/// # Errors
///
/// What is wrong with the module, for people: it is none, or signed, since a signature would no longer hold.
pub fn with_manifest(wasm: &[u8], manifest: &Manifest) -> Result<Vec<u8>, String> {
    let mut out = wasm.get(..HEADER_BYTES).unwrap_or_default().to_vec();
    let mut begin = HEADER_BYTES;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(unreadable)?;
        let Some(end) = end_of(&payload) else { continue };
        let is_replaced = match &payload {
            Payload::CustomSection(section) if section.name() == SIGNATURE_SECTION => {
                return Err(
                    "it is signed, and its signature would no longer hold: attach the manifest first, and \
                            sign what comes of it"
                        .to_owned(),
                );
            }
            Payload::CustomSection(section) => section.name() == MANIFEST_SECTION,
            _ => false,
        };
        if !is_replaced {
            out.extend_from_slice(wasm.get(begin..end).unwrap_or_default());
        }
        begin = end;
    }
    let content = encode_to_vec(|w| manifest.encode(w)).map_err(|error| error.to_string())?;
    let mut section = Vec::new();
    put_length(&mut section, MANIFEST_SECTION.len());
    section.extend_from_slice(MANIFEST_SECTION.as_bytes());
    section.extend_from_slice(&content);
    out.push(CUSTOM);
    put_length(&mut out, section.len());
    out.extend(section);
    Ok(out)
}

/// Where a section ends that this is; `None` if it is a part of one, or none.
fn end_of(payload: &Payload<'_>) -> Option<usize> {
    match payload {
        Payload::CustomSection(section) => Some(section.range().end),
        Payload::CodeSectionStart { range, .. } => Some(range.end),
        other => other.as_section().map(|(_, range)| range.end),
    }
}

/// A length as modules have them: seven bits a byte, the lowest first.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = length.to_le_bytes()[0] & 0x7f;
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn unreadable(error: BinaryReaderError) -> String {
    format!(
        "it cannot be read as a WebAssembly module at byte {}: {}",
        error.offset(),
        shown(error.message())
    )
}

#[cfg(test)]
mod tests {
    use sgl_policy_abi::{Input, Wire};

    use super::*;

    fn manifest(name: &str) -> Manifest {
        let inputs = vec![Input::Healthy, Input::Random];
        Manifest { name: name.to_owned(), wire: Wire::Columns, inputs, ..Manifest::default() }
    }

    /// With code, data, and sections on both sides of them.
    fn module() -> Vec<u8> {
        let text = r#"(module (memory (export "memory") 1) (func (export "f") (result i32) i32.const 7)
            (data (i32.const 0) "\01\02") (@custom "before" (before first) "b") (@custom "after" "a"))"#;
        wat::parse_str(text).expect("a module")
    }

    fn customs(wasm: &[u8]) -> Vec<String> {
        let sections =
            Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.expect("a module") {
                Payload::CustomSection(section) => Some(section.name().to_owned()),
                _ => None,
            });
        sections.collect()
    }

    #[test]
    fn manifest_is_attached_and_replaced_and_all_else_stays() {
        let plain = module();
        assert_eq!(read_manifest(&plain), Ok(None));
        let first = with_manifest(&plain, &manifest("first")).unwrap();
        assert!(first.starts_with(&plain), "nothing else changes");
        assert_eq!(read_manifest(&first), Ok(Some(manifest("first"))));
        let second = with_manifest(&first, &manifest("second")).unwrap();
        assert_eq!(read_manifest(&second), Ok(Some(manifest("second"))));
        assert_eq!(customs(&second), ["before", "after", MANIFEST_SECTION]);
        assert_eq!(second[..plain.len()], plain[..]);
        wasmparser::validate(&second).expect("it is valid");
    }

    #[test]
    fn what_is_no_module_or_says_two_things_or_is_signed_is_told() {
        let cut = module()[..40].to_vec();
        for broken in [b"#!/bin/sh\n".to_vec(), cut] {
            assert!(with_manifest(&broken, &manifest("a")).unwrap_err().contains("cannot be read"));
        }
        let text = r#"(module (@custom "sgl.policy" "\80") (@custom "sgl.policy" "\80"))"#;
        assert!(read_manifest(&wat::parse_str(text).unwrap()).unwrap_err().contains("2 sections"));
        let signed = wat::parse_str(r#"(module (@custom "signature" "x"))"#).unwrap();
        assert!(with_manifest(&signed, &manifest("a")).unwrap_err().contains("sign what comes of it"));
    }
}
