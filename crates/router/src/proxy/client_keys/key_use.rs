//! A request that a key was shown for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::proxy::client_keys::client_key::ClientKey;
use crate::proxy::token_usage::TokenUsage;

/// Bytes of a body for each token of its prompt, as long as nobody has counted them.
const BYTES_PER_TOKEN: u64 = 4;

/// Counts as in flight for its key until it is dropped.
#[derive(Debug)]
pub(crate) struct KeyUse {
    key: Arc<ClientKey>,
    /// Tokens that were taken from the limit beforehand.
    charged: AtomicU64,
}

impl KeyUse {
    /// Of a key that let it in.
    pub(crate) fn new(key: &Arc<ClientKey>) -> Self {
        Self { key: Arc::clone(key), charged: AtomicU64::new(0) }
    }

    /// The key.
    pub(crate) fn key(&self) -> &ClientKey {
        &self.key
    }

    /// Takes the tokens of a prompt from the limit, by the size of the body: so that many requests at a time
    /// do not all find the limit untouched.
    pub(crate) fn foresee(&self, body_bytes: usize) {
        if self.key.limits_tokens() {
            let tokens = body_bytes as u64 / BYTES_PER_TOKEN;
            // Relaxed: nobody else has it yet.
            self.charged.store(tokens, Ordering::Relaxed);
            self.key.charge(tokens as f64);
        }
    }

    /// The answer is over: what it says of tokens counts or, where it says nothing, what was foreseen and the
    /// `events` that came. A request that was not served took none.
    pub(crate) fn settle(&self, usage: TokenUsage, events: u64, is_served: bool) {
        let charged = self.charged.swap(0, Ordering::Relaxed);
        let foreseen = if is_served { charged } else { 0 };
        let prompt = usage.prompt_tokens.map_or(foreseen, u64::from);
        let completion = usage.completion_tokens.map_or(events, u64::from);
        self.key.count(prompt, completion);
        self.key.charge(prompt as f64 + completion as f64 - charged as f64);
    }
}

impl Drop for KeyUse {
    fn drop(&mut self) {
        // Of a request that nobody answered.
        let charged = self.charged.swap(0, Ordering::Relaxed);
        if charged > 0 {
            self.key.charge(-(charged as f64));
        }
        self.key.leave();
    }
}
