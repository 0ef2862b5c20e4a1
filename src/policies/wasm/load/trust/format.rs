//! The bytes of a signature: lists of hashes, each with its signatures.
//!
//! ```text
//! 1, 1, 1                                     version, module, SHA-256
//! n, n × (length, signed)                     signed: n, n × 32 bytes of hash,
//!                                                     n, n × (length, one)
//! one: length, key id; 1 (Ed25519); length, 64 bytes
//! ```
//!
//! Numbers are LEB128.

/// Version 1, of a module, over SHA-256.
pub(super) const KIND: [u8; 3] = [1, 1, 1];

/// Every signed message begins with this, so that no signature of anything else passes for one.
const DOMAIN: &[u8] = b"wasmsig";

/// Ed25519.
const ED25519: u8 = 1;

/// Largest signature that is read, in bytes: room for hundreds of keys.
pub(crate) const MAX_SIGNATURE_BYTES: usize = 1 << 16;

/// Most signatures that are checked: far more than a module has.
const MAX_SIGNATURES: usize = 64;

/// The message to sign for a module whose covered bytes have this hash.
pub(super) fn message(hash: &[u8; 32]) -> Vec<u8> {
    [DOMAIN, &KIND, hash].concat()
}

/// Some hashes, and who signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) hashes: Vec<[u8; 32]>,
    pub(super) signatures: Vec<SignatureEntry>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignatureEntry {
    /// The id of the signer's key; only a hint.
    pub(super) key_id: Vec<u8>,
    pub(super) algorithm: u8,
    pub(super) signature: Vec<u8>,
}

impl SignatureEntry {
    pub(super) fn ed25519(key_id: &[u8], signature: &[u8]) -> Self {
        Self { key_id: key_id.to_vec(), algorithm: ED25519, signature: signature.to_vec() }
    }
}

/// Somebody claims to have signed a whole module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) hash: [u8; 32],
    pub(super) key_id: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// The claims about a whole module; ignores parts and other algorithms.
pub(super) fn claims(all: Vec<Signed>) -> Vec<Claim> {
    let mut claims = Vec::new();
    for signed in all {
        let [hash] = signed.hashes.as_slice() else { continue };
        let known = signed.signatures.into_iter().filter(|one| one.algorithm == ED25519);
        claims.extend(known.map(|one| Claim { hash: *hash, key_id: one.key_id, signature: one.signature }));
    }
    claims
}

/// The bytes of signatures.
pub(super) fn encode(all: &[Signed]) -> Vec<u8> {
    let mut bytes = KIND.to_vec();
    put_number(&mut bytes, all.len());
    for signed in all {
        let mut part = Vec::new();
        put_number(&mut part, signed.hashes.len());
        signed.hashes.iter().for_each(|hash| part.extend(hash));
        put_number(&mut part, signed.signatures.len());
        for one in &signed.signatures {
            let mut entry = Vec::new();
            put(&mut entry, &one.key_id);
            entry.push(one.algorithm);
            put(&mut entry, &one.signature);
            put(&mut part, &entry);
        }
        put(&mut bytes, &part);
    }
    bytes
}

/// Reads signatures; accepts only what encodes to the same bytes again.
///
/// # Errors
///
/// What is wrong, for people.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Signed>, String> {
    if bytes.len() > MAX_SIGNATURE_BYTES {
        return Err(format!("it has {} bytes; the limit is {MAX_SIGNATURE_BYTES}", bytes.len()));
    }
    let (kind, rest) = bytes.split_at_checked(KIND.len()).ok_or(CUT)?;
    if kind != KIND {
        return Err(format!("it is of kind {kind:?}; expected {KIND:?} (version 1, module, SHA-256)"));
    }
    let mut rest = rest;
    let mut left = MAX_SIGNATURES;
    let mut all = Vec::new();
    for _ in 0..number(&mut rest)?.min(MAX_SIGNATURES + 1) {
        all.push(signed(slice(&mut rest)?, &mut left)?);
        if all.len() > MAX_SIGNATURES {
            return Err(TOO_MANY.to_owned());
        }
    }
    // One form only: no padded number and nothing behind the end, at any level.
    if encode(&all) == bytes {
        Ok(all)
    } else {
        Err("it is not in its shortest form, or bytes follow it".to_owned())
    }
}

const CUT: &str = "it is cut short";
const TOO_MANY: &str = "it has too many signatures; the limit is 64";

fn signed(mut bytes: &[u8], left: &mut usize) -> Result<Signed, String> {
    let mut hashes = Vec::new();
    for _ in 0..number(&mut bytes)? {
        let (hash, rest) = bytes.split_first_chunk::<32>().ok_or(CUT)?;
        hashes.push(*hash);
        bytes = rest;
    }
    let mut signatures = Vec::new();
    for _ in 0..number(&mut bytes)? {
        *left = left.checked_sub(1).ok_or(TOO_MANY)?;
        let mut entry = slice(&mut bytes)?;
        let key_id = slice(&mut entry)?.to_vec();
        let (algorithm, rest) = entry.split_first().ok_or(CUT)?;
        entry = rest;
        signatures.push(SignatureEntry {
            key_id,
            algorithm: *algorithm,
            signature: slice(&mut entry)?.to_vec(),
        });
    }
    Ok(Signed { hashes, signatures })
}

fn number(bytes: &mut &[u8]) -> Result<usize, String> {
    let mut value = 0;
    // Four bytes hold 2^28, which is above every limit.
    for place in 0..4 {
        let (byte, rest) = bytes.split_first().ok_or(CUT)?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("it has a length of more than four bytes".to_owned())
}

fn slice<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = number(bytes)?;
    let (slice, rest) = bytes.split_at_checked(length).ok_or(CUT)?;
    *bytes = rest;
    Ok(slice)
}

pub(super) fn put(bytes: &mut Vec<u8>, slice: &[u8]) {
    put_number(bytes, slice.len());
    bytes.extend(slice);
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        // Seven bits fit.
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Signed> {
        let whole = Signed {
            hashes: vec![[1; 32]],
            signatures: vec![
                SignatureEntry::ed25519(b"id", &[2; 64]),
                SignatureEntry::ed25519(b"", &[3; 64]),
            ],
        };
        let parts = Signed {
            hashes: vec![[1; 32], [4; 32]],
            signatures: vec![SignatureEntry::ed25519(b"id", &[5; 64])],
        };
        vec![whole, parts]
    }

    #[test]
    fn signatures_come_back_and_parts_are_passed_over() {
        let bytes = encode(&example());
        assert_eq!(decode(&bytes).unwrap(), example());
        let claims = claims(example());
        assert_eq!(claims.iter().map(|claim| claim.signature[0]).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn every_cut_and_whatever_follows_is_refused() {
        let bytes = encode(&example());
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(decode(&[bytes.as_slice(), &[0]].concat()).unwrap_err().contains("bytes follow"));
        let inner_padding = {
            let mut bytes = KIND.to_vec();
            bytes.push(1);
            put(&mut bytes, &[0, 0, 9]);
            bytes
        };
        assert!(decode(&inner_padding).unwrap_err().contains("bytes follow"));
    }

    #[test]
    fn padded_numbers_other_kinds_and_floods_are_refused() {
        let empty = encode(&[]);
        assert_eq!(empty, [1, 1, 1, 0]);
        assert!(decode(&[1, 1, 1, 0x80, 0]).unwrap_err().contains("shortest form"));
        assert!(decode(&[1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err().contains("four bytes"));
        assert!(decode(&[1, 2, 1, 0]).unwrap_err().contains("kind"));
        assert!(decode(&vec![1; MAX_SIGNATURE_BYTES + 1]).unwrap_err().contains("limit"));
        let many = |count| Signed {
            hashes: vec![[1; 32]],
            signatures: vec![SignatureEntry::ed25519(b"", b""); count],
        };
        assert!(decode(&encode(&[many(64)])).is_ok());
        assert!(decode(&encode(&[many(40), many(25)])).unwrap_err().contains("too many"));
        assert!(decode(&encode(&vec![many(0); 65])).unwrap_err().contains("too many"));
    }
}
