//! Signs modules. Routers do not do this; their operators' tools do.

use crate::policies::wasm::load::trust::envelope::Envelope;
use crate::policies::wasm::load::trust::format;
use crate::policies::wasm::load::trust::format::{SignatureEntry, Signed};
use crate::policies::wasm::load::trust::key::SecretKey;

/// The module with a signature by this key in it. Earlier signatures of the same bytes stay, except one
/// by the same key; signatures of other bytes go.
///
/// # Errors
///
/// What is wrong with the module, for people.
pub fn embed(wasm: &[u8], key: &SecretKey) -> Result<Vec<u8>, String> {
    let envelope = Envelope::open(wasm)?;
    let before = envelope.embedded.map(format::decode).transpose()?;
    let signatures = add(before.unwrap_or_default(), envelope.inner_hash(), key);
    Ok(envelope.sealed(&format::encode(&signatures)))
}

/// A signature by this key beside the module: the content of `MODULE.sig`. `before` is its present
/// content, treated as in [`embed`].
///
/// # Errors
///
/// What is wrong with the module or with what is there, for people.
pub fn detach(wasm: &[u8], before: Option<&[u8]>, key: &SecretKey) -> Result<Vec<u8>, String> {
    let envelope = Envelope::open(wasm)?;
    let before = before.map(format::decode).transpose()?;
    Ok(format::encode(&add(before.unwrap_or_default(), envelope.outer_hash(), key)))
}

/// Several detached signatures of one module as one: those that cannot be read are left out, and so are those
/// behind more than a module may have. `None` if there are none.
pub fn combine(detached: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let mut all: Vec<Signed> = Vec::new();
    for signed in detached.iter().filter_map(|bytes| format::decode(bytes.as_ref()).ok()).flatten() {
        if all.contains(&signed) {
            continue;
        }
        all.push(signed);
        if format::decode(&format::encode(&all)).is_err() {
            all.pop();
        }
    }
    (!all.is_empty()).then(|| format::encode(&all))
}

fn add(before: Vec<Signed>, hash: [u8; 32], key: &SecretKey) -> Vec<Signed> {
    let id = key.public().id_bytes();
    let mut signatures: Vec<SignatureEntry> = before
        .into_iter()
        .filter(|signed| signed.hashes == [hash])
        .flat_map(|signed| signed.signatures)
        .filter(|one| one.key_id != id)
        .collect();
    signatures.push(SignatureEntry::ed25519(&id, &key.sign(&format::message(&hash))));
    vec![Signed { hashes: vec![hash], signatures }]
}
