//! What came of a reload, as it is put together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::config::client_key_file::ClientKeyEntry;
use crate::config::written_keys::WrittenKeys;
use crate::tls::CertificateChange;
use crate::tokens::TokenizerSet;
use sgl_api::{ReloadChange, ReloadRefusal, ReloadReport, Reloadable, ReloadedAs};

/// Keys of a client's key that nobody is to see.
const KEY_SECRETS: [&str; 1] = ["sha256"];

/// A change without more to say.
pub(crate) fn change(what: Reloadable, name: &str, change: ReloadedAs) -> ReloadChange {
    ReloadChange { what, name: name.to_owned(), change, values: Vec::new(), note: None }
}

/// A change of settings, those of `secrets` untold.
pub(crate) fn changed(
    what: Reloadable,
    name: &str,
    before: &Value,
    now: &Value,
    secrets: &[&str],
) -> ReloadChange {
    let values = WrittenKeys::of(before).changed(&WrittenKeys::of(now), secrets);
    ReloadChange { values, ..change(what, name, ReloadedAs::Changed) }
}

/// Something that stays as it was.
pub(crate) fn refusal(what: Reloadable, name: &str, reason: impl ToString) -> ReloadRefusal {
    ReloadRefusal { what, name: name.to_owned(), reason: reason.to_string() }
}

/// Adds what came of certificates.
pub(crate) fn add_certificates(report: &mut ReloadReport, changes: Vec<CertificateChange>) {
    for (name, read) in changes {
        match read {
            Ok(()) => report.applied.push(change(Reloadable::Certificate, name, ReloadedAs::Changed)),
            Err(fault) => report.refused.push(refusal(Reloadable::Certificate, name, fault)),
        }
    }
}

/// Adds the tokenizers that are others than before.
pub(crate) fn add_tokenizers(report: &mut ReloadReport, before: &TokenizerSet, now: &TokenizerSet) {
    let before: BTreeMap<_, _> = before.iter().collect();
    let now: BTreeMap<_, _> = now.iter().collect();
    for (model, tokenizer) in &now {
        let known = before.get(model);
        if known.is_none_or(|known| !Arc::ptr_eq(known, tokenizer)) {
            let as_what = if known.is_some() { ReloadedAs::Changed } else { ReloadedAs::Added };
            report.applied.push(change(Reloadable::Tokenizer, model, as_what));
        }
    }
    for model in before.keys().filter(|model| !now.contains_key(*model)) {
        report.applied.push(change(Reloadable::Tokenizer, model, ReloadedAs::Removed));
    }
}

/// The keys of clients that are others than before. It takes time in proportion to all of them: a file may have
/// tens of thousands.
pub(crate) fn client_key_changes(before: &[ClientKeyEntry], now: &[ClientKeyEntry]) -> Vec<ReloadChange> {
    fn by_name(keys: &[ClientKeyEntry]) -> HashMap<&str, &ClientKeyEntry> {
        keys.iter().map(|key| (key.name.as_str(), key)).collect()
    }
    let (what, known, named) = (Reloadable::ClientKey, by_name(before), by_name(now));
    let written = |key: &ClientKeyEntry| serde_json::to_value(key).unwrap_or_default();
    let mut changes = Vec::new();
    for key in now {
        match known.get(key.name.as_str()) {
            None => changes.push(change(what, &key.name, ReloadedAs::Added)),
            Some(known) if *known == key => {}
            Some(known) => {
                changes.push(changed(what, &key.name, &written(known), &written(key), &KEY_SECRETS));
            }
        }
    }
    let gone = before.iter().filter(|key| !named.contains_key(key.name.as_str()));
    changes.extend(gone.map(|key| change(what, &key.name, ReloadedAs::Removed)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::client_key_file::KeyHashes;
    use sgl_api::ChangedValue;

    #[test]
    fn keys_of_clients_that_are_others_are_named_and_their_digests_are_not_told() {
        let key = |name: &str, digit: &str, requests_per_minute| ClientKeyEntry {
            name: name.to_owned(),
            sha256: KeyHashes::One(digit.repeat(64)),
            max_concurrent_requests: None,
            requests_per_minute,
            tokens_per_minute: None,
        };
        let before = [key("a", "1", None), key("b", "2", None), key("c", "3", None), key("e", "5", None)];
        let now = [key("a", "1", Some(7)), key("b", "2", None), key("d", "4", None), key("e", "6", None)];
        let changes = client_key_changes(&before, &now);
        let told: Vec<_> = changes.iter().map(|one| (one.name.as_str(), one.change)).collect();
        let (changed, added, removed) = (ReloadedAs::Changed, ReloadedAs::Added, ReloadedAs::Removed);
        assert_eq!(told, [("a", changed), ("d", added), ("e", changed), ("c", removed)]);
        let value = |key: &str, before: Option<&str>, now: Option<&str>| ChangedValue {
            key: key.to_owned(),
            before: before.map(str::to_owned),
            now: now.map(str::to_owned),
        };
        assert_eq!(changes[0].values, [value("requests_per_minute", None, Some("7"))]);
        assert_eq!(changes[2].values, [value("sha256", Some("***"), Some("***"))]);
    }
}
