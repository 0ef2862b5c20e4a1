//! One key of a client: its name, its limits and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::client_key_file::ClientKeyEntry;
use crate::proxy::client_keys::token_bucket::TokenBucket;

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyLimit {
    /// Requests at a time.
    Concurrent,
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
}

impl KeyLimit {
    /// All of them, at the places of their numbers, with their names in metrics and errors.
    pub(crate) const ALL: [(Self, &'static str); 3] = [
        (Self::Concurrent, "max_concurrent_requests"),
        (Self::Requests, "requests_per_minute"),
        (Self::Tokens, "tokens_per_minute"),
    ];

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

/// A key. It stays when the file says something else of its limits.
///
/// # Concurrency
///
/// Each limit that is set has a lock of its own, held for a few additions.
#[derive(Debug)]
pub(crate) struct ClientKey {
    name: Arc<str>,
    /// `None` = no limit.
    concurrent: Mutex<Option<u32>>,
    requests: Mutex<Option<TokenBucket>>,
    tokens: Mutex<Option<TokenBucket>>,
    in_flight: AtomicU64,
    admitted: AtomicU64,
    refused: [AtomicU64; KeyLimit::ALL.len()],
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl ClientKey {
    /// Unused.
    pub(crate) fn new(entry: &ClientKeyEntry, now: Instant) -> Arc<Self> {
        let key = Self {
            name: entry.name.as_str().into(),
            concurrent: Mutex::default(),
            requests: Mutex::default(),
            tokens: Mutex::default(),
            in_flight: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; KeyLimit::ALL.len()],
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
        };
        key.set_limits(entry, now);
        Arc::new(key)
    }

    /// Other limits from now on.
    pub(crate) fn set_limits(&self, entry: &ClientKeyEntry, now: Instant) {
        *self.concurrent.lock() = entry.max_concurrent_requests;
        for (bucket, limit) in
            [(&self.requests, entry.requests_per_minute), (&self.tokens, entry.tokens_per_minute)]
        {
            let mut bucket = bucket.lock();
            match (&mut *bucket, limit) {
                (Some(bucket), Some(limit)) => bucket.limit(limit, now),
                (bucket, limit) => *bucket = limit.map(|limit| TokenBucket::new(limit, now)),
            }
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// True if tokens are to be counted.
    pub(crate) fn limits_tokens(&self) -> bool {
        self.tokens.lock().is_some()
    }

    /// One more request, which counts as in flight until [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// The limit that it would exceed, and after how long it may come again.
    pub(crate) fn enter(&self, now: Instant) -> Result<(), (KeyLimit, Duration)> {
        let entered = self.try_enter(now);
        // Relaxed, as all of these: counters, and a limit that orders nothing else.
        match entered {
            Ok(()) => self.admitted.fetch_add(1, Ordering::Relaxed),
            Err((limit, _)) => {
                self.refused.get(limit as usize).map_or(0, |refused| refused.fetch_add(1, Ordering::Relaxed))
            }
        };
        entered
    }

    fn try_enter(&self, now: Instant) -> Result<(), (KeyLimit, Duration)> {
        if let Some(tokens) = &mut *self.tokens.lock() {
            // Above nothing: how many it takes is known later.
            tokens.check(1.0, now).map_err(|after| (KeyLimit::Tokens, after))?;
        }
        let mut requests = self.requests.lock();
        if let Some(requests) = &mut *requests {
            requests.check(1.0, now).map_err(|after| (KeyLimit::Requests, after))?;
        }
        let limit = *self.concurrent.lock();
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| in_flight >= u64::from(limit)) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err((KeyLimit::Concurrent, Duration::from_secs(1)));
        }
        if let Some(requests) = &mut *requests {
            requests.take(1.0);
        }
        Ok(())
    }

    /// The end of a request.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes tokens from its limit, or gives them back if they are below 0.
    pub(crate) fn charge(&self, tokens: f64) {
        if let Some(bucket) = &mut *self.tokens.lock() {
            bucket.take(tokens);
        }
    }

    /// Counts tokens that a request took.
    pub(crate) fn count(&self, prompt: u64, completion: u64) {
        self.prompt_tokens.fetch_add(prompt, Ordering::Relaxed);
        self.completion_tokens.fetch_add(completion, Ordering::Relaxed);
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that were admitted.
    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Requests that a limit refused.
    pub(crate) fn refused(&self, limit: KeyLimit) -> u64 {
        self.refused.get(limit as usize).map_or(0, |refused| refused.load(Ordering::Relaxed))
    }

    /// Tokens of prompts, and those that were generated.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        (self.prompt_tokens.load(Ordering::Relaxed), self.completion_tokens.load(Ordering::Relaxed))
    }
}
