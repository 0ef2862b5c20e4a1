//! What a policy decides.

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_abi::{AnswerMap, Full, encode_to_vec};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The worker of that index. The cheapest answer: one to five bytes.
    Worker(usize),
    /// Nobody, because nobody may be chosen. While somebody may be it counts as a failure
    /// (`no_choice`), unless the operator lets the policy refuse requests (`may_refuse`).
    Nobody,
    /// The policy could not decide, with a sentence for the operator.
    Failed(&'static str),
    /// A choice with what led to it, for decision records; made from [`ExplainedChoice`].
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairChoice {
    /// Both workers by index.
    Pair {
        /// The worker that reads the prompt.
        prefill: usize,
        /// The worker that generates.
        decode: usize,
    },
    /// Nobody; as [`Choice::Nobody`].
    Nobody,
    /// The policy could not decide, with a sentence for the operator.
    Failed(&'static str),
}

impl From<Option<(usize, usize)>> for PairChoice {
    fn from(pair: Option<(usize, usize)>) -> Self {
        pair.map_or(Self::Nobody, |(prefill, decode)| Self::Pair { prefill, decode })
    }
}
