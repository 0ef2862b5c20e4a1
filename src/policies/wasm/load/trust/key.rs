//! Keys: Ed25519, as PEM texts that OpenSSL reads and writes too (SPKI and PKCS#8).

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::types::{hex, shown};

/// True if this build can verify signatures.
pub(crate) const CAN_VERIFY: bool = true;

/// Bytes of a key's id.
const ID_BYTES: usize = 12;

/// In front of the PEM text, for people: PEM readers skip it.
const COMMENT: &str = "# comment: ";

/// Where a PEM text begins.
const BEGIN: &str = "-----BEGIN ";

/// A key that signatures are checked against. Two are equal if their bytes are; comments do not
/// count.
#[derive(Clone)]
pub struct PublicKey {
    key: VerifyingKey,
    comment: String,
}

impl PublicKey {
    /// Reads a PEM text; a comment in front of it is kept.
    ///
    /// # Errors
    ///
    /// What is wrong, for people.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let (comment, pem) = split(text)?;
        if pem.contains("PRIVATE KEY") {
            return Err("it is a private key; a rule needs the public one (`.pub`)".to_owned());
        }
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|error| format!("it is no Ed25519 public key in PEM form: {error}"))?;
        if key.is_weak() {
            return Err("it is a key of small order, with which anybody can sign".to_owned());
        }
        Ok(Self { key, comment })
    }

    /// The key as a PEM text, its id and its comment in front of it.
    ///
    /// # Errors
    ///
    /// Only what the encoder reports, which should never happen.
    pub fn to_pem(&self) -> Result<String, String> {
        let pem = self.key.to_public_key_pem(LineEnding::LF).map_err(|error| error.to_string())?;
        Ok(format!("# key: {}\n{}{pem}", self.id(), comment_line(&self.comment)))
    }

    /// The key's id: 24 hex digits. By the convention of `wasmsign2`, the first 12 bytes of HMAC-SHA256
    /// of `key_id` under the key.
    pub fn id(&self) -> String {
        hex::encode(&self.id_bytes())
    }

    /// What its maker says it is for; empty if they said nothing.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(crate) fn id_bytes(&self) -> [u8; ID_BYTES] {
        let mut id = [0; ID_BYTES];
        let mac = hmac_sha256(self.key.as_bytes(), b"key_id");
        id.iter_mut().zip(mac).for_each(|(id, byte)| *id = byte);
        id
    }

    /// True if this key made that signature of the message; a strict check.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key.as_bytes() == other.key.as_bytes()
    }
}

impl Eq for PublicKey {}

/// The id, and the comment if there is one.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " ({})", self.comment) }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A key that signs. Its bytes are overwritten when it is dropped, and never shown.
pub struct SecretKey {
    key: SigningKey,
    comment: String,
}

impl SecretKey {
    /// The key of 32 bytes, which must be random and known to nobody else.
    pub fn from_seed(seed: &[u8; 32], comment: &str) -> Self {
        Self { key: SigningKey::from_bytes(seed), comment: shown(comment) }
    }

    /// Reads a PEM text (PKCS#8); a comment in front of it is kept.
    ///
    /// # Errors
    ///
    /// What is wrong, for people; reveals nothing of the key.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let (comment, pem) = split(text)?;
        if pem.starts_with("-----BEGIN PUBLIC KEY") {
            return Err("it is a public key; signing needs the private one".to_owned());
        }
        let key = SigningKey::from_pkcs8_pem(pem)
            .map_err(|error| format!("it is no Ed25519 private key in PEM form (PKCS#8): {error}"))?;
        Ok(Self { key, comment })
    }

    /// The key as a PEM text, which must stay secret.
    ///
    /// # Errors
    ///
    /// Only what the encoder reports, which should never happen.
    pub fn to_pem(&self) -> Result<String, String> {
        // Without the public key in it (version 1), which is the form that OpenSSL reads.
        let bytes = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|error| error.to_string())?;
        Ok(format!("# key: {}\n{}{}", self.public().id(), comment_line(&self.comment), pem.as_str()))
    }

    /// The key that checks its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey { key: self.key.verifying_key(), comment: self.comment.clone() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public())
    }
}

/// The comment, and the PEM text after it.
fn split(text: &str) -> Result<(String, &str), String> {
    // Only at the start of a line: a comment may say anything, but has no line breaks.
    let at_line = || text.find(&format!("\n{BEGIN}")).map(|at| at + 1);
    let begin = if text.starts_with(BEGIN) { Some(0) } else { at_line() };
    let (before, pem) = text.split_at(begin.ok_or("it is no PEM text")?);
    let comment = before.lines().find_map(|line| line.strip_prefix(COMMENT)).unwrap_or_default();
    Ok((shown(comment.trim()), pem.trim_end()))
}

fn comment_line(comment: &str) -> String {
    if comment.is_empty() { String::new() } else { format!("{COMMENT}{comment}\n") }
}

/// HMAC (RFC 2104) with a key shorter than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        Sha256::new().chain_update(block)
    };
    let inner = padded(0x36).chain_update(message).finalize();
    padded(0x5c).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`.
    const OPENSSL_SECRET: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIDUT5LInFSk5eThZ5rRdEXjiGVdfuBAYdBiZ+8qxmxQy\n\
        -----END PRIVATE KEY-----\n";
    const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA+nsa89EBeVyS0p16ChNGhahdEEExpxexqR6XeIcIYAo=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_of_openssl_are_read_and_written_as_it_writes_them() {
        let secret = SecretKey::from_pem(OPENSSL_SECRET).unwrap();
        let public = PublicKey::from_pem(OPENSSL_PUBLIC).unwrap();
        assert_eq!(secret.public(), public);
        assert!(secret.to_pem().unwrap().ends_with(OPENSSL_SECRET));
        assert!(public.to_pem().unwrap().ends_with(OPENSSL_PUBLIC));
    }

    #[test]
    fn comment_and_id_come_back_and_cannot_forge_lines() {
        let secret = SecretKey::from_seed(&[7; 32], "release\n-----BEGIN \u{1b}[2J");
        let public = PublicKey::from_pem(&secret.public().to_pem().unwrap()).unwrap();
        assert_eq!(public.comment(), r"release\n-----BEGIN \u{1b}[2J");
        assert_eq!((public.id().len(), &public), (24, &secret.public()));
        let again = SecretKey::from_pem(&secret.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), public);
    }

    #[test]
    fn what_is_no_public_key_says_so() {
        let secret = SecretKey::from_seed(&[7; 32], "");
        // The neutral element: a key of small order.
        let mut weak = [0; 32];
        weak[0] = 1;
        let weak = VerifyingKey::from_bytes(&weak).unwrap().to_public_key_pem(LineEnding::LF).unwrap();
        let cut = OPENSSL_PUBLIC.replace("MCow", "MCo");
        for (text, expected) in [
            ("", "no PEM text"),
            ("nonsense", "no PEM text"),
            (secret.to_pem().unwrap().as_str(), "it is a private key"),
            (weak.as_str(), "small order"),
            (cut.as_str(), "no Ed25519 public key"),
        ] {
            let error = PublicKey::from_pem(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(SecretKey::from_pem(OPENSSL_PUBLIC).unwrap_err().contains("it is a public key"));
    }

    #[test]
    fn secret_key_is_not_shown() {
        let shown = format!("{:?}", SecretKey::from_seed(&[7; 32], "c"));
        assert_eq!(shown, format!("SecretKey({} (c))", SecretKey::from_seed(&[7; 32], "c").public().id()));
    }
}
