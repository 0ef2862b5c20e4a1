//! Verifies signatures: who signed a module, and why that is not enough for a rule.

use std::collections::BTreeSet;

use crate::config::trust::{Require, TrustRule};
use crate::policies::wasm::load::trust::envelope::{Envelope, SECTION};
use crate::policies::wasm::load::trust::fault::TrustFault;
use crate::policies::wasm::load::trust::format;
use crate::policies::wasm::load::trust::format::Claim;
use crate::policies::wasm::load::trust::key::PublicKey;
use crate::policies::wasm::load::trust::origin::{ModuleBytes, Origin};
use crate::types::{hex, shown_path};

/// How many signers an error names at most.
const MOST_NAMED: usize = 8;

/// A claim, and the hash that it should cover.
pub(super) struct Held {
    claim: Claim,
    hash: [u8; 32],
}

/// All claims about a module, from embedded and detached signatures.
pub(super) fn held(module: &ModuleBytes) -> Result<Vec<Held>, TrustFault> {
    let section = || format!("the custom section `{SECTION}`");
    let bad = |place: String| move |reason| TrustFault::Malformed { place, reason };
    let envelope = Envelope::open(&module.wasm).map_err(bad(section()))?;
    let mut all = Vec::new();
    let mut take = |bytes, place, hash| {
        let claims = format::claims(format::decode(bytes).map_err(bad(place))?);
        all.extend(claims.into_iter().map(|claim| Held { claim, hash }));
        Ok::<(), TrustFault>(())
    };
    if let Some(embedded) = envelope.embedded {
        take(embedded, section(), envelope.inner_hash())?;
    }
    if let Some(detached) = &module.signature {
        take(detached, "the detached signature".to_owned(), envelope.outer_hash())?;
    }
    Ok(all)
}

/// The keys that really signed the module.
pub(super) fn signers<'k>(held: &[Held], keys: &'k [PublicKey]) -> Vec<&'k PublicKey> {
    let signed = |key: &PublicKey, held: &Held| {
        held.claim.hash == held.hash && key.signed(&format::message(&held.hash), &held.claim.signature)
    };
    keys.iter().filter(|key| held.iter().any(|held| signed(key, held))).collect()
}

/// Why the signers are not enough, as exactly as it is known.
pub(super) fn fault(
    rule: &TrustRule,
    origin: &Origin,
    keys: &[PublicKey],
    held: &[Held],
    signers: &[&PublicKey],
) -> TrustFault {
    if held.is_empty() {
        let detached = match origin {
            Origin::Push | Origin::Embedded => "a detached signature that came with it".to_owned(),
            Origin::Registry { .. } => "a detached signature that refers to it at the registry".to_owned(),
            Origin::File { path } => shown_path(path) + ".sig",
        };
        let looked = format!("a section `{SECTION}` at its start, {detached}");
        return TrustFault::Unsigned { looked, expected: list(keys) };
    }
    if rule.require == Require::AllOfKeys && !signers.is_empty() {
        let missing: Vec<PublicKey> = keys.iter().filter(|key| !signers.contains(key)).cloned().collect();
        let found: Vec<PublicKey> = signers.iter().map(|key| (*key).clone()).collect();
        return TrustFault::Incomplete { found: list(&found), missing: list(&missing) };
    }
    for Held { claim, hash } in held {
        for key in keys {
            if claim.hash != *hash && key.signed(&format::message(&claim.hash), &claim.signature) {
                let (signed, found) = (hex::encode(&claim.hash), hex::encode(hash));
                return TrustFault::Changed { key: key.to_string(), signed, found };
            }
            if claim.key_id == key.id_bytes() {
                return TrustFault::Invalid { key: key.to_string() };
            }
        }
    }
    TrustFault::UnknownKey { found: format!("key {}", named(held).join(", ")), expected: list(keys) }
}

/// The ids that signatures name, as text.
pub(super) fn named(held: &[Held]) -> Vec<String> {
    let ids: BTreeSet<String> = held
        .iter()
        .map(|held| match held.claim.key_id.as_slice() {
            [] => "without a name".to_owned(),
            // Of any length: it is only shown.
            id => hex::encode(id.get(..16).unwrap_or(id)),
        })
        .collect();
    ids.into_iter().take(MOST_NAMED).collect()
}

/// Keys as text.
pub(super) fn list(keys: &[PublicKey]) -> String {
    let mut names: Vec<String> = keys.iter().take(MOST_NAMED).map(PublicKey::to_string).collect();
    if keys.len() > MOST_NAMED {
        names.push(format!("{} more", keys.len() - MOST_NAMED));
    }
    names.join(", ")
}
