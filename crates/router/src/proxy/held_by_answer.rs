//! What a request holds until its answer ends.

use std::sync::Arc;

use crate::proxy::client_keys::KeyUse;
use crate::proxy::queue::GivenTurn;
use crate::proxy::token_usage::TokenUsage;

/// Held until an answer ends.
#[derive(Debug)]
pub(crate) struct HeldByAnswer {
    /// Its turn, which others wait for.
    _turn: Option<GivenTurn>,
    /// The client's key, for which it counts.
    key: Option<Arc<KeyUse>>,
}

impl HeldByAnswer {
    /// What was given to a request.
    pub(crate) fn new(turn: Option<GivenTurn>, key: Option<Arc<KeyUse>>) -> Self {
        Self { _turn: turn, key }
    }

    /// The name of the client's key.
    pub(crate) fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref().map(|key| key.key().name())
    }

    /// The answer is over, with this usage as far as it told, and so many events.
    pub(crate) fn settle(self, usage: TokenUsage, events: u64, is_served: bool) {
        if let Some(key) = &self.key {
            key.settle(usage, events, is_served);
        }
    }
}
