//! The router's own books: what it has sent to each worker, counted by itself.
//!
//! ```text
//!  a decision ──enter──► pending ──begin──► answering ──leave──► gone
//!                           └───────────────leave─────────────────┘
//! ```
//!
//! Each request remembers what it added and takes away just that, whatever becomes of it. So all sums are
//! exact, go back to zero, and become right also where the books were opened while requests were in
//! flight that are in none.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::core::moment;
use sgl_policy_abi::Column;

/// How many want the books kept.
static KEEPERS: AtomicUsize = AtomicUsize::new(0);

/// Has the books of all workers of this process kept while it lives. Every plugin that declares one of
/// their columns holds one; embedders do who read them otherwise.
///
/// Requests that were placed before are in no book.
#[derive(Debug)]
pub struct KeptBooks(());

impl KeptBooks {
    /// Opens the books.
    #[expect(clippy::new_without_default, reason = "it is made for its effect")]
    pub fn new() -> Self {
        // Relaxed, like all uses: a decision that misses the change is not in the books, which is right.
        KEEPERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for KeptBooks {
    fn drop(&mut self) {
        KEEPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// True while somebody wants the books kept.
#[inline]
pub(crate) fn are_kept() -> bool {
    KEEPERS.load(Ordering::Relaxed) > 0
}

/// What a request adds to the books of its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BookEntry {
    /// Tokens of its prompt, which the worker holds until the request ends.
    pub prompt_tokens: u32,
    /// Those of them that the worker has to process before the first token; 0 at the decode worker of a
    /// pair.
    pub prefill_tokens: u32,
    /// The part of these that was not believed to be in the worker's cache.
    pub uncached_tokens: u32,
    /// What the policy says that it costs until the first token.
    pub cost: f32,
}

/// The books of one worker, as they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BooksView))]
pub struct BookNumbers {
    /// Requests without a first token.
    pub prefill_load: i32,
    /// Their prompt tokens.
    pub prefill_tokens: i32,
    /// The part of these that was not believed to be in the worker's cache.
    pub uncached_tokens: i32,
    /// Tokens of all requests in flight, of prompts and generated.
    pub tokens_in_flight: i32,
    /// Sum of the costs that policies gave for requests without a first token.
    pub pending_cost: f32,
    /// Age of the oldest request without a first token, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_ms: Option<i32>,
    /// Time to first token of streams, milliseconds, moving average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f32>,
    /// Time per generated token of streams, milliseconds, moving average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f32>,
}

impl BookNumbers {
    /// The numbers with these bits in the books' columns; `None` if somebody does not keep them.
    pub(crate) fn from_bits(bits: impl Fn(Column) -> u32) -> Self {
        let int = |column| bits(column).cast_signed();
        let float = |column| Some(f32::from_bits(bits(column))).filter(|value| value.is_finite());
        let age = moment::age(bits(Column::OldestPendingMs), moment::now());
        Self {
            prefill_load: int(Column::PrefillLoad),
            prefill_tokens: int(Column::PrefillTokens),
            uncached_tokens: int(Column::UncachedTokens),
            tokens_in_flight: int(Column::TokensInFlight),
            pending_cost: f32::from_bits(bits(Column::PendingCost)),
            oldest_pending_ms: Some(age).filter(|age| *age >= 0),
            ttft_ms: float(Column::TtftEwma),
            tpot_ms: float(Column::TpotEwma),
        }
    }
}

/// True if a column is one of the books.
pub(crate) const fn is_of_books(column: Column) -> bool {
    matches!(
        column,
        Column::PrefillLoad
            | Column::PrefillTokens
            | Column::UncachedTokens
            | Column::TokensInFlight
            | Column::PendingCost
            | Column::OldestPendingMs
            | Column::TtftEwma
            | Column::TpotEwma
    )
}

/// True if it takes the size of prompts to keep a column.
pub(crate) const fn is_of_tokens(column: Column) -> bool {
    matches!(column, Column::PrefillTokens | Column::UncachedTokens | Column::TokensInFlight)
}
