//! All keys of clients.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::config::client_key_file::{ClientKeyEntry, DIGEST_BYTES, read_client_keys};
use crate::metrics::{Metrics, catalogue};
use crate::proxy::client_keys::client_key::{ClientKey, KeyLimit};
use crate::proxy::client_keys::key_use::KeyUse;

/// Where Anthropic's clients show their key.
const API_KEY_HEADER: &str = "x-api-key";

const SCHEME: &[u8] = b"Bearer";

type KeyDigest = [u8; DIGEST_BYTES];
type Keys = HashMap<KeyDigest, Arc<ClientKey>>;

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    /// It shows no key.
    None,
    /// It shows one that nobody has.
    Unknown,
    /// It would exceed a limit.
    Limit {
        /// Which.
        limit: KeyLimit,
        /// After how long it may come again.
        retry_after: Duration,
    },
}

/// The keys of clients.
///
/// Keys are found by their digests, so that the time that it takes says nothing of a key: who could make a
/// text with nearly the same digest could break SHA-256.
///
/// # Concurrency
///
/// A request takes no lock to find its key; a reload replaces them all at once.
#[derive(Debug)]
pub(crate) struct KeyRing {
    file: Option<PathBuf>,
    keys: ArcSwap<Keys>,
    /// What the keys were made of.
    entries: Mutex<Vec<ClientKeyEntry>>,
    unauthorized: AtomicU64,
}

impl KeyRing {
    /// These keys, of a file that was read if they are of one.
    pub(crate) fn new(file: Option<PathBuf>, entries: &[ClientKeyEntry]) -> Arc<Self> {
        let (keys, made_of) = (ArcSwap::default(), Mutex::default());
        let ring = Self { file, keys, entries: made_of, unauthorized: AtomicU64::new(0) };
        ring.replace(entries);
        Arc::new(ring)
    }

    /// The file, if they are of one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// What the keys were made of.
    pub(crate) fn entries(&self) -> Vec<ClientKeyEntry> {
        self.entries.lock().clone()
    }

    /// Reads this file again. How many keys there are.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing has changed then.
    pub(crate) fn reload(&self, file: &Path) -> Result<usize, String> {
        let entries = read_client_keys(file)?;
        self.replace(&entries);
        Ok(entries.len())
    }

    /// Those that are named as before are the same, with other limits and perhaps another key.
    fn replace(&self, entries: &[ClientKeyEntry]) {
        let (before, now) = (self.keys.load_full(), Instant::now());
        let named: HashMap<&str, &Arc<ClientKey>> = before.values().map(|key| (&**key.name(), key)).collect();
        let key = |entry: &ClientKeyEntry| {
            let key = match named.get(entry.name.as_str()) {
                Some(known) => {
                    known.set_limits(entry, now);
                    Arc::clone(known)
                }
                None => ClientKey::new(entry, now),
            };
            let digests = entry.digests().unwrap_or_default();
            digests.into_iter().map(move |digest| (digest, Arc::clone(&key)))
        };
        self.keys.store(Arc::new(entries.iter().flat_map(key).collect()));
        *self.entries.lock() = entries.to_vec();
    }

    /// Lets a request in with the key that it shows.
    ///
    /// # Errors
    ///
    /// [`KeyRefusal`].
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Arc<KeyUse>, KeyRefusal> {
        let unauthorized = |refusal| {
            // Relaxed: a counter.
            self.unauthorized.fetch_add(1, Ordering::Relaxed);
            refusal
        };
        let shown = shown(headers).ok_or_else(|| unauthorized(KeyRefusal::None))?;
        let digest: KeyDigest = Sha256::digest(shown).into();
        let keys = self.keys.load();
        let key = keys.get(&digest).ok_or_else(|| unauthorized(KeyRefusal::Unknown))?;
        match key.enter(Instant::now()) {
            Ok(()) => Ok(Arc::new(KeyUse::new(key))),
            Err((limit, retry_after)) => Err(KeyRefusal::Limit { limit, retry_after }),
        }
    }

    /// Has what is counted shown by `metrics`.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        let ring = Arc::downgrade(self);
        metrics.register(move |families| {
            let Some(ring) = ring.upgrade() else { return };
            let unauthorized = ring.unauthorized.load(Ordering::Relaxed);
            families.family(&catalogue::UNAUTHORIZED_REQUESTS).count(&[], unauthorized);
            let all = ring.keys.load_full();
            // Several keys of one name are one.
            let keys: BTreeMap<&str, &Arc<ClientKey>> =
                all.values().map(|key| (&**key.name(), key)).collect();
            let in_flight = families.family(&catalogue::CLIENT_KEY_IN_FLIGHT);
            for key in keys.values() {
                in_flight.gauge(&[key.name()], key.in_flight() as f64);
            }
            let requests = families.family(&catalogue::CLIENT_KEY_REQUESTS);
            for key in keys.values() {
                requests.count(&[key.name(), "admitted"], key.admitted());
                for (limit, name) in KeyLimit::ALL {
                    requests.count(&[key.name(), name], key.refused(limit));
                }
            }
            let tokens = families.family(&catalogue::CLIENT_KEY_TOKENS);
            for key in keys.values() {
                let (prompt, completion) = key.tokens();
                tokens.count(&[key.name(), "prompt"], prompt);
                tokens.count(&[key.name(), "completion"], completion);
            }
        });
    }
}

/// The key that a request shows: as a bearer token or, as Anthropic's clients do, in a header of its own.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(SCHEME.len())?;
        // Schemes are case-insensitive, with at least one space behind them (RFC 9110, 11.4).
        let key = key.strip_prefix(b" ")?.trim_ascii();
        scheme.eq_ignore_ascii_case(SCHEME).then_some(key)
    });
    let own = || headers.get(API_KEY_HEADER).map(|key| key.as_bytes().trim_ascii());
    bearer.or_else(own).filter(|key| !key.is_empty())
}
