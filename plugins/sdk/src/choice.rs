//! What a policy decides.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use sgl_policy_abi::{AnswerMap, Full, PairMap, ShedAnswer, Ticket, WaitAnswer, encode_to_vec};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The worker of that index. The cheapest answer: one to five bytes.
    Worker(usize),
    /// The worker of that index with a tag, a cost or both; made by [`Choice::with_tag`] and
    /// [`Choice::with_cost`]. An array of three, at most twenty-four bytes.
    Ticketed(usize, Ticket),
    /// Nobody, because nobody may be chosen. While somebody may be it counts as a failure
    /// (`no_choice`), unless the operator lets the policy refuse requests (`may_refuse`).
    Nobody,
    /// The router holds the request and asks again; made by [`Choice::wait`].
    Wait(WaitAnswer),
    /// The router refuses the request; made by [`Choice::shed`].
    Shed(ShedAnswer),
    /// The policy could not decide, with a sentence for the operator.
    Failed(&'static str),
    /// A choice with what led to it, for decision records; made from [`ExplainedChoice`], or by
    /// [`Choice::with_reason`].
    Explained(Encoded),
}

/// An answer in its map form, encoded.
///
/// Encoded when it is made, so that only policies that explain themselves carry
/// the code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(pub(crate) Vec<u8>);

/// A choice and what led to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplainedChoice {
    /// The worker, if there is a choice.
    pub worker: Option<usize>,
    /// One score per worker, in table order; empty for none.
    pub scores: Vec<f32>,
    /// A sentence; empty for none.
    pub reason: String,
    /// A tag and a cost, as of [`Choice::with_tag`] and [`Choice::with_cost`].
    pub ticket: Ticket,
}

impl Choice {
    /// The router holds the request, and asks again on a first token, an end of a request, a change of
    /// workers and every 250 ms: the request with the smallest key first, of several the one that came
    /// first. A number that is not NaN.
    ///
    /// `deadline` is how long it is held in all. After that time, or when the router lets it wait no
    /// longer, it is asked a last time, with [`may_wait_ms`](crate::Context::may_wait_ms) at 0, where
    /// waiting counts as a failure and the failure policy decides.
    #[must_use]
    pub fn wait(key: f64, deadline: Duration) -> Self {
        Self::Wait(WaitAnswer { key, deadline_ms: Some(milliseconds(deadline)) })
    }

    /// The router refuses the request with 429 and tells its client to try again after this time.
    #[must_use]
    pub fn shed(retry_after: Duration) -> Self {
        Self::Shed(ShedAnswer { retry_after_ms: milliseconds(retry_after) })
    }

    /// The same choice with a tag: the policy's own name for the request, by which events name it later.
    ///
    /// Only a choice of a worker has one; an [`ExplainedChoice`] has a field for it.
    #[inline]
    #[must_use]
    pub fn with_tag(self, tag: u64) -> Self {
        self.with(|ticket| ticket.with_tag(Some(tag)))
    }

    /// The same choice with a cost: what the request costs its worker until its first token, in a unit
    /// of the policy's own. A number from 0.0 to [`MAX_COST`](sgl_policy_abi::MAX_COST): any other,
    /// NaN too, makes the whole answer malformed.
    ///
    /// Only a choice of a worker has one; an [`ExplainedChoice`] has a field for it.
    #[inline]
    #[must_use]
    pub fn with_cost(self, cost: f32) -> Self {
        self.with(|ticket| ticket.with_cost(cost))
    }

    /// The same choice with a sentence that says why, for decision records: also of one that has the request
    /// wait, refuses it or chooses nobody. Comes last: an explained choice stays as it is, and so does one that
    /// failed.
    #[must_use]
    pub fn with_reason(self, reason: &str) -> Self {
        let reason = Some(reason);
        let map = match self {
            Self::Worker(worker) => {
                AnswerMap { selected_worker: Some(signed(worker)), ..AnswerMap::default() }
            }
            Self::Ticketed(worker, ticket) => {
                AnswerMap { selected_worker: Some(signed(worker)), ticket, ..AnswerMap::default() }
            }
            Self::Nobody => AnswerMap::default(),
            Self::Wait(wait) => AnswerMap { wait: Some(wait), ..AnswerMap::default() },
            Self::Shed(shed) => AnswerMap { shed: Some(shed), ..AnswerMap::default() },
            Self::Failed(_) | Self::Explained(_) => return self,
        };
        match encode_to_vec(|w| AnswerMap { reason, ..map }.encode(w)) {
            Ok(encoded) => Self::Explained(Encoded(encoded)),
            Err(Full) => self,
        }
    }

    #[inline]
    fn with(self, change: impl FnOnce(Ticket) -> Ticket) -> Self {
        match self {
            Self::Worker(worker) => Self::Ticketed(worker, change(Ticket::NONE)),
            Self::Ticketed(worker, ticket) => Self::Ticketed(worker, change(ticket)),
            other => other,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The index as a signed number; what does not fit is beyond every table either way.
#[inline]
pub(crate) fn signed(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl From<usize> for Choice {
    fn from(worker: usize) -> Self {
        Self::Worker(worker)
    }
}

impl From<Option<usize>> for Choice {
    fn from(worker: Option<usize>) -> Self {
        worker.map_or(Self::Nobody, Self::Worker)
    }
}

impl From<ExplainedChoice> for Choice {
    fn from(explained: ExplainedChoice) -> Self {
        let scores: Vec<u8> = explained.scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        let map = AnswerMap {
            selected_worker: explained.worker.and_then(|worker| i64::try_from(worker).ok()),
            scores: Some(scores.as_slice()).filter(|scores| !scores.is_empty()),
            reason: Some(explained.reason.as_str()).filter(|reason| !reason.is_empty()),
            ticket: explained.ticket,
            ..AnswerMap::default()
        };
        match encode_to_vec(|w| map.encode(w)) {
            Ok(encoded) => Self::Explained(Encoded(encoded)),
            // Only memory could be short; the choice itself still fits.
            Err(Full) => explained.worker.into(),
        }
    }
}

/// The answer to one request that a prefill and a decode worker serve together.
#[derive(Clone, Debug, PartialEq)]
pub enum PairChoice {
    /// Both workers by index.
    Pair {
        /// The worker that reads the prompt.
        prefill: usize,
        /// The worker that generates.
        decode: usize,
    },
    /// Both workers with a tag, costs or both; made by [`PairChoice::with_tag`] and
    /// [`PairChoice::with_costs`].
    Ticketed {
        /// The worker that reads the prompt.
        prefill: usize,
        /// The worker that generates.
        decode: usize,
        /// The tag of the pair, and the prefill worker's cost.
        ticket: Ticket,
        /// The decode worker's cost.
        decode_cost: f32,
    },
    /// Nobody; as [`Choice::Nobody`].
    Nobody,
    /// The router holds the request and asks again; made by [`PairChoice::wait`].
    Wait(WaitAnswer),
    /// The router refuses the request; made by [`PairChoice::shed`].
    Shed(ShedAnswer),
    /// The policy could not decide, with a sentence for the operator.
    Failed(&'static str),
    /// A choice with a reason, for decision records; made by [`PairChoice::with_reason`].
    Explained(Encoded),
}

impl PairChoice {
    /// The router holds the request, and asks again; as [`Choice::wait`].
    #[must_use]
    pub fn wait(key: f64, deadline: Duration) -> Self {
        Self::Wait(WaitAnswer { key, deadline_ms: Some(milliseconds(deadline)) })
    }

    /// The router refuses the request; as [`Choice::shed`].
    #[must_use]
    pub fn shed(retry_after: Duration) -> Self {
        Self::Shed(ShedAnswer { retry_after_ms: milliseconds(retry_after) })
    }

    /// The same choice with a tag; as [`Choice::with_tag`].
    #[must_use]
    pub fn with_tag(self, tag: u64) -> Self {
        self.with(|ticket, decode_cost| (ticket.with_tag(Some(tag)), decode_cost))
    }

    /// The same choice with a cost for each worker; as [`Choice::with_cost`].
    #[must_use]
    pub fn with_costs(self, prefill: f32, decode: f32) -> Self {
        self.with(|ticket, _| (ticket.with_cost(prefill), decode))
    }

    /// The same choice with a sentence that says why, for decision records; as [`Choice::with_reason`], and
    /// last as well.
    #[must_use]
    pub fn with_reason(self, reason: &str) -> Self {
        let reason = Some(reason);
        let map = match self {
            Self::Pair { prefill, decode } => {
                let (prefill, decode) = (Some(signed(prefill)), Some(signed(decode)));
                PairMap { prefill, decode, ..PairMap::default() }
            }
            Self::Ticketed { prefill, decode, ticket, decode_cost } => {
                let (prefill, decode) = (Some(signed(prefill)), Some(signed(decode)));
                PairMap { prefill, decode, ticket, decode_cost, ..PairMap::default() }
            }
            Self::Nobody => PairMap::default(),
            Self::Wait(wait) => PairMap { wait: Some(wait), ..PairMap::default() },
            Self::Shed(shed) => PairMap { shed: Some(shed), ..PairMap::default() },
            Self::Failed(_) | Self::Explained(_) => return self,
        };
        match encode_to_vec(|w| PairMap { reason, ..map }.encode(w)) {
            Ok(encoded) => Self::Explained(Encoded(encoded)),
            Err(Full) => self,
        }
    }

    fn with(self, change: impl FnOnce(Ticket, f32) -> (Ticket, f32)) -> Self {
        let (prefill, decode, (ticket, decode_cost)) = match self {
            Self::Pair { prefill, decode } => (prefill, decode, change(Ticket::NONE, 0.0)),
            Self::Ticketed { prefill, decode, ticket, decode_cost } => {
                (prefill, decode, change(ticket, decode_cost))
            }
            other => return other,
        };
        Self::Ticketed { prefill, decode, ticket, decode_cost }
    }
}

impl From<Option<(usize, usize)>> for PairChoice {
    fn from(pair: Option<(usize, usize)>) -> Self {
        pair.map_or(Self::Nobody, |(prefill, decode)| Self::Pair { prefill, decode })
    }
}
