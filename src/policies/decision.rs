//! What a policy answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::books::BookEntry;
use crate::core::candidate_workers::CandidateWorkers;
use crate::core::in_flight::InFlight;
use crate::core::table::WorkerTable;
use crate::core::worker::Worker;
use crate::engine::error::CallError;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wait::Wait;
use sgl_policy_abi::{Leg, Ticket};

/// Why a plugin produced no decision. Each cause has its own counter and log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FailureCause {
    /// The guest trapped.
    Trap,
    /// The guest's budget was spent.
    Timeout,
    /// The guest needed more memory than it may have.
    Memory,
    /// It chose a worker that does not exist, is unhealthy, or was tried before.
    InvalidChoice,
    /// It chose nobody although a worker could be chosen.
    NoChoice,
    /// Too many callers were waiting for an instance.
    QueueFull,
    /// The guest answered with an error of its own.
    GuestError,
    /// The answer was not what the ABI asks for.
    Decode,
    /// The plugin failed too often and is out of the path for a while.
    BreakerOpen,
    /// The plugin was unloaded, or no instance could be made.
    Unavailable,
    /// No instance became free in the time that a caller may wait.
    Saturated,
    /// It had a request wait that may not wait (any longer).
    WaitOver,
}

impl FailureCause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Trap,
        Self::Timeout,
        Self::Memory,
        Self::InvalidChoice,
        Self::NoChoice,
        Self::QueueFull,
        Self::GuestError,
        Self::Decode,
        Self::BreakerOpen,
        Self::Unavailable,
        Self::Saturated,
        Self::WaitOver,
    ];

    /// True if the guest is to blame; waiting or an open breaker says nothing about it.
    pub fn is_guests(self) -> bool {
        !matches!(self, Self::QueueFull | Self::Saturated | Self::BreakerOpen | Self::Unavailable)
    }

    /// The cause that a failed call counts as.
    pub(crate) fn of_call(error: &CallError) -> Self {
        match error {
            CallError::Saturated { .. } => Self::Saturated,
            CallError::Timeout { .. } => Self::Timeout,
            CallError::QueueFull { .. } => Self::QueueFull,
            CallError::Memory { .. } | CallError::MessageTooLarge { .. } => Self::Memory,
            CallError::Trap { .. } => Self::Trap,
            CallError::BadPointer { .. } | CallError::AnswerTooLarge { .. } => Self::Decode,
            CallError::Refused { .. } => Self::GuestError,
            CallError::OutOfUse | CallError::Unavailable { .. } => Self::Unavailable,
        }
    }

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::InvalidChoice => "invalid_choice",
            Self::NoChoice => "no_choice",
            Self::QueueFull => "queue_full",
            Self::GuestError => "guest_error",
            Self::Decode => "decode",
            Self::BreakerOpen => "breaker_open",
            Self::Unavailable => "unavailable",
            Self::Saturated => "saturated",
            Self::WaitOver => "wait_over",
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// A native policy, as configured.
    Native,
    /// A plugin; the number names its generation, process-wide.
    Plugin {
        /// The generation that made it.
        generation: u64,
    },
    /// The plugin's fallback policy, because the plugin failed.
    Fallback {
        /// Why the plugin did not decide.
        cause: FailureCause,
    },
}

/// A chosen worker by its index, and what the policy gave along with it.
#[derive(Clone, Copy, PartialEq)]
pub struct Placed {
    /// The index.
    pub(crate) index: usize,
    /// The rest.
    pub(crate) ticket: Ticket,
}

impl From<usize> for Placed {
    #[inline]
    fn from(index: usize) -> Self {
        Self { index, ticket: Ticket::NONE }
    }
}

/// The index alone, as messages for people show it.
impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index.fmt(f)
    }
}

/// One choice. While this lives, the request counts as in flight to the worker.
#[derive(Debug)]
pub struct Decision {
    index: usize,
    in_flight: InFlight,
    chooser: Chooser,
    ticket: Ticket,
}

impl Decision {
    /// A decision for a worker of the router's table, at which the request counts from now on.
    ///
    /// # Errors
    ///
    /// [`DecideError::NoWorker`] if there is no worker at `index`.
    #[inline]
    pub(crate) fn on_fleet(
        table: &WorkerTable,
        placed: Placed,
        chooser: Chooser,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Self, DecideError> {
        let Placed { index, ticket } = placed;
        let worker = table.get(index).ok_or(DecideError::NoWorker)?;
        let in_flight = InFlight::on_fleet_with(worker, || {
            let entry = book_entry(info, ticket.cost());
            let hashes = info.prefix_hashes.unwrap_or_default();
            let held = table.prefix_match(index, hashes, info.block_tokens()).unwrap_or_default();
            let uncached_tokens = entry.prefill_tokens.saturating_sub(held.max(0).cast_unsigned());
            BookEntry { uncached_tokens, ..entry }
        });
        Ok(Self { index, in_flight, chooser, ticket })
    }

    /// A decision for a worker of an embedder's slice, at which the request counts from now on.
    ///
    /// # Errors
    ///
    /// [`DecideError::NoWorker`] if there is no worker at `index`.
    pub(crate) fn on_slice(
        workers: &[Arc<dyn Worker>],
        placed: Placed,
        chooser: Chooser,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Self, DecideError> {
        let Placed { index, ticket } = placed;
        let worker = workers.get(index).ok_or(DecideError::NoWorker)?;
        let entry = || {
            let entry = book_entry(info, ticket.cost());
            let hashes = info.prefix_hashes.filter(|hashes| !hashes.is_empty());
            let held = hashes.and_then(|hashes| worker.prefix_match(hashes, info.block_tokens()));
            let held = held.unwrap_or_default().max(0).cast_unsigned();
            BookEntry { uncached_tokens: entry.prefill_tokens.saturating_sub(held), ..entry }
        };
        Ok(Self { index, in_flight: InFlight::on_worker_with(Arc::clone(worker), entry), chooser, ticket })
    }

    /// A decision for the worker at `index`, which `in_flight` counts.
    #[inline]
    pub fn new(index: usize, in_flight: InFlight, chooser: Chooser) -> Self {
        Self { index, in_flight, chooser, ticket: Ticket::NONE }
    }

    /// The same with a tag and a cost, which a policy gives along with its choice.
    #[must_use]
    pub fn with_ticket(self, ticket: Ticket) -> Self {
        Self { ticket, ..self }
    }

    /// The worker's index in the table or slice of the decision. A [`crate::core::WorkerTable`] finds
    /// the worker by it, however the fleet has changed since.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Who made the decision.
    pub fn chooser(&self) -> Chooser {
        self.chooser
    }

    /// The policy's own name for the request, if it gave one.
    pub fn tag(&self) -> Option<u64> {
        self.ticket.tag()
    }

    /// What the request costs the worker until its first token, in the policy's own unit; 0.0 if it gave
    /// none.
    pub fn cost(&self) -> f32 {
        self.ticket.cost()
    }

    /// The guard alone, for the rest of the request's life.
    pub fn into_in_flight(self) -> InFlight {
        self.in_flight
    }
}

/// Bytes of text that count as a token where nothing better is known.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request adds to the books of the worker that is chosen for it. The decode worker of a pair
/// gets its prompt processed.
#[cold]
fn book_entry(info: &SelectWorkerInfo<'_>, cost: f32) -> BookEntry {
    let counted = info.prompt_tokens.map(|tokens| tokens.count);
    let given = || info.tokens.map(|tokens| u32::try_from(tokens.len()).unwrap_or(u32::MAX));
    let guessed = || u32::try_from(info.whole_prompt_bytes().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
    let prompt_tokens = counted.or_else(given).unwrap_or_else(guessed);
    let prefill_tokens = if info.leg == Leg::Decode { 0 } else { prompt_tokens };
    BookEntry { prompt_tokens, prefill_tokens, uncached_tokens: prefill_tokens, cost }
}

/// One joint selection of a prefill and a decode worker.
#[derive(Debug)]
pub struct PairDecision {
    /// Where the prompt is processed.
    pub prefill: Decision,
    /// Where the tokens are generated.
    pub decode: Decision,
}

impl PairDecision {
    /// A decision for two workers of an embedder's slice, at which the request counts from now on.
    ///
    /// # Errors
    ///
    /// [`DecideError::NoWorker`] if there is no worker at an index.
    pub(crate) fn on_slice(
        workers: &[Arc<dyn Worker>],
        (prefill, decode): (Placed, Placed),
        chooser: Chooser,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Self, DecideError> {
        let half =
            |placed, leg| Decision::on_slice(workers, placed, chooser, &SelectWorkerInfo { leg, ..*info });
        Ok(Self { prefill: half(prefill, Leg::Prefill)?, decode: half(decode, Leg::Decode)? })
    }

    /// A decision for two workers of the router's table, at which the request counts from now on.
    ///
    /// # Errors
    ///
    /// [`DecideError::NoWorker`] if there is no worker at an index.
    pub(crate) fn on_fleet(
        table: &WorkerTable,
        (prefill, decode): (Placed, Placed),
        chooser: Chooser,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Self, DecideError> {
        let half =
            |placed, leg| Decision::on_fleet(table, placed, chooser, &SelectWorkerInfo { leg, ..*info });
        Ok(Self { prefill: half(prefill, Leg::Prefill)?, decode: half(decode, Leg::Decode)? })
    }
}

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// No worker may be chosen.
    #[error("no worker may be chosen")]
    NoWorker,
    /// Workers may be chosen, but a plugin that may refuse chose none of them.
    #[error("the policy chose none of the workers that may be chosen")]
    Refused {
        /// The generation that refused.
        generation: u64,
    },
    /// A plugin has the request wait. Only a caller that offers that in
    /// [`SelectWorkerInfo::wait`](crate::policies::SelectWorkerInfo::wait) is told so; for others it is a
    /// failure of the plugin (`wait_over`).
    #[error("the policy has the request wait")]
    Wait(Wait),
    /// A plugin refuses the request.
    #[error("the policy refuses the request for {retry_after:?}")]
    Shed {
        /// After how long it may come again.
        retry_after: Duration,
        /// The generation that refused.
        generation: u64,
    },
    /// The plugin failed and its failure policy is `reject`.
    #[error("the policy plugin failed ({cause}) and is set to reject")]
    Rejected {
        /// What failed.
        cause: FailureCause,
    },
}
