//! The file of clients' keys: names, digests and limits. The keys themselves are nowhere.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use sglang_router_rs::types::{file, hex, shown_path};

/// Largest file that is read: some hundred thousand keys.
const MAX_BYTES: u64 = 16 << 20;

/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// What a table of a key may have.
const KEYS_OF_A_KEY: &str =
    "name, sha256, max_concurrent_requests, requests_per_minute and tokens_per_minute";

/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// A client's key, as the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientKeyEntry {
    /// Its name, for metrics, records and policies: 1 to 128 visible characters. Must be given.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits, or a list of those of several keys, such as the one before and
    /// the one after a change of keys. Must be given.
    pub sha256: KeyHashes,
    /// Requests in flight at a time, above 0. Default: no limit.
    pub max_concurrent_requests: Option<u32>,
    /// Requests in a minute, above 0. Default: no limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a minute, above 0. Default: no limit.
    pub tokens_per_minute: Option<u32>,
}

/// The digests of one client's keys, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyHashes {
    /// Of one key.
    One(String),
    /// Of keys that are good at the same time.
    Several(Vec<String>),
}

impl KeyHashes {
    /// All of them.
    pub(crate) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClientKeyFile {
    keys: Vec<ClientKeyEntry>,
}

impl ClientKeyEntry {
    /// The digests of its keys; `None` if one of them is none, or there are none.
    pub(crate) fn digests(&self) -> Option<Vec<[u8; DIGEST_BYTES]>> {
        let digest = |text: &String| hex::decode(text)?.try_into().ok();
        let all: Option<Vec<_>> = self.sha256.all().iter().map(digest).collect();
        all.filter(|all| !all.is_empty())
    }

    fn fault(&self) -> Option<&'static str> {
        let is_name = (1..=MAX_NAME_BYTES).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_graphic());
        let limits = [self.max_concurrent_requests, self.requests_per_minute, self.tokens_per_minute];
        if !is_name {
            return Some("name: 1 to 128 visible ASCII characters");
        }
        if self.digests().is_none() {
            return Some(
                "sha256: 64 hexadecimal digits, as `sgl-router key hash` prints them, or a list of such; not the key",
            );
        }
        limits.contains(&Some(0)).then_some("limits: above 0, or left out")
    }
}

/// Reads the file.
///
/// # Errors
///
/// What is wrong with it. Nothing of what the file holds is in it but names.
pub(crate) fn read_client_keys(path: &Path) -> Result<Vec<ClientKeyEntry>, String> {
    let file = shown_path(path);
    let text = file::read_text(path, MAX_BYTES).map_err(|error| format!("{file} cannot be read: {error}"))?;
    if text.trim().is_empty() {
        // Whoever writes a file in place empties it first: nobody is to be locked out by that.
        return Err(format!("{file} is empty; a file without keys holds: keys = []"));
    }
    keys_in(&text).map_err(|error| format!("{file}: {error}"))
}

fn keys_in(text: &str) -> Result<Vec<ClientKeyEntry>, String> {
    // The text around a fault may be a key that somebody wrote in the wrong place.
    let file: ClientKeyFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line} is no [[keys]] table with {KEYS_OF_A_KEY}, each once at most")
    })?;
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for (position, key) in file.keys.iter().enumerate() {
        if let Some(fault) = key.fault() {
            return Err(format!("keys[{position}]: {fault}"));
        }
        if !names.insert(&key.name) {
            return Err(format!("keys[{position}]: the name {:?} is another key's, too", key.name));
        }
        let mut hashes = key.sha256.all().iter();
        if !hashes.all(|hash| digests.insert(hash.to_ascii_lowercase())) {
            return Err(format!("keys[{position}]: a key of {:?} stands there before, too", key.name));
        }
    }
    Ok(file.keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ClientKeyEntry>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        std::fs::write(&path, text).unwrap();
        read_client_keys(&path)
    }

    #[test]
    fn keys_and_their_limits_are_read() {
        let digest = "ab".repeat(32);
        let keys = read(&format!("[[keys]]\nname = \"a\"\nsha256 = \"{digest}\"\nrequests_per_minute = 7\n"));
        let keys = keys.unwrap();
        assert_eq!((keys[0].name.as_str(), keys[0].requests_per_minute), ("a", Some(7)));
        assert_eq!(keys[0].digests(), Some(vec![[0xab; 32]]));
        let both = format!("[[keys]]\nname = \"a\"\nsha256 = [\"{digest}\", \"{}\"]\n", "cd".repeat(32));
        assert_eq!(read(&both).unwrap()[0].digests(), Some(vec![[0xab; 32], [0xcd; 32]]));
        assert_eq!(read("keys = []\n").unwrap(), []);
        assert!(
            read(" \n").unwrap_err().ends_with("keys.toml is empty; a file without keys holds: keys = []")
        );
    }

    #[test]
    fn faults_are_told_without_what_the_file_holds() {
        let digest = "ab".repeat(32);
        let key = |name: &str, digest: &str| format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n");
        for (text, expected) in [
            (key("a", "sk-secret"), "keys[0]: sha256"),
            (key("", &digest), "keys[0]: name"),
            (key("a b", &digest), "keys[0]: name"),
            (key("a", &digest) + &key("a", &"cd".repeat(32)), "keys[1]: the name \"a\""),
            (
                key("a", &digest) + &key("b", &digest.to_uppercase()),
                "keys[1]: a key of \"b\" stands there before",
            ),
            ("[[keys]]\nname = \"a\"\nsha256 = []\n".to_owned(), "keys[0]: sha256"),
            (
                format!("[[keys]]\nname = \"a\"\nsha256 = [\"{digest}\", \"{digest}\"]\n"),
                "keys[0]: a key of \"a\" stands there before",
            ),
            (key("a", &digest) + "tokens_per_minute = 0\n", "keys[0]: limits"),
            (
                "[[keys]]\nname = \"a\"\nkey = \"sk-secret\"\n".to_owned(),
                "line 3 is no [[keys]] table with name, sha256",
            ),
            ("sk-secret\n".to_owned(), "line 1"),
        ] {
            let told = read(&text).unwrap_err();
            assert!(!told.contains("secret"), "{told}");
            let (file, told) = told.split_once(": ").unwrap();
            assert!(file.ends_with("keys.toml") && told.starts_with(expected), "{told}");
        }
    }
}
