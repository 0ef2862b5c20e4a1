//! The two questions that a guest can be asked.

use std::fmt::Debug;

use crate::core::candidate_workers::CandidateWorkers;
use crate::engine::exports::Ask;
use crate::policies::decision::Placed;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::message::reply::{Reply, decode_choice, decode_pair};
use sgl_policy_abi::WorkerRole;

/// A question, its answer, and the host's check of the answer.
pub(crate) trait Question: 'static {
    /// What is chosen.
    type Answer: Copy + Debug + Send + 'static;

    /// The export that answers.
    const ASK: Ask;

    /// True if a shadow can be shown this question.
    const CAN_BE_SHADOWED: bool;

    /// The answer as one index, if it is one.
    fn as_index(answer: Self::Answer) -> Option<usize>;

    /// Reads the guest's answer.
    fn decode(bytes: &[u8]) -> Reply<Self::Answer>;

    /// True if there is something to choose, so that choosing nobody needs an explanation.
    fn has_answer<C: CandidateWorkers>(workers: &C, info: &SelectWorkerInfo<'_>) -> bool;

    /// True if the choice exists and may be made.
    fn is_valid<C: CandidateWorkers>(answer: Self::Answer, workers: &C, info: &SelectWorkerInfo<'_>) -> bool;

    /// True if a choice that is not valid would be if all workers were healthy: perhaps they were when the
    /// guest was asked.
    fn may_be_gone<C: CandidateWorkers>(
        answer: Self::Answer,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> bool;
}

/// Which worker?
#[derive(Debug)]
pub(crate) struct One;

impl Question for One {
    type Answer = Placed;

    const ASK: Ask = Ask::Select;

    const CAN_BE_SHADOWED: bool = true;

    fn as_index(answer: Placed) -> Option<usize> {
        Some(answer.index)
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Reply<Placed> {
        decode_choice(bytes)
    }

    fn has_answer<C: CandidateWorkers>(workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
        (0..workers.len()).any(|index| is_open(index, workers, info))
    }

    #[inline]
    fn is_valid<C: CandidateWorkers>(placed: Placed, workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
        is_open(placed.index, workers, info)
    }

    fn may_be_gone<C: CandidateWorkers>(placed: Placed, workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
        is_offered(placed.index, workers, info)
    }
}

/// Which prefill worker with which decode worker?
#[derive(Debug)]
pub(crate) struct Pair;

impl Question for Pair {
    type Answer = (Placed, Placed);

    const ASK: Ask = Ask::SelectPair;

    const CAN_BE_SHADOWED: bool = false;

    fn as_index(_: (Placed, Placed)) -> Option<usize> {
        None
    }

    fn decode(bytes: &[u8]) -> Reply<(Placed, Placed)> {
        decode_pair(bytes)
    }

    fn has_answer<C: CandidateWorkers>(workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
        let any = |role| {
            let open = |index: &usize| is_open(*index, workers, info) && workers.role(*index) == role;
            (0..workers.len()).find(open).is_some()
        };
        any(WorkerRole::Prefill) && any(WorkerRole::Decode)
    }

    fn is_valid<C: CandidateWorkers>(
        (prefill, decode): (Placed, Placed),
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> bool {
        One::is_valid(prefill, workers, info)
            && One::is_valid(decode, workers, info)
            && is_pair((prefill, decode), workers)
    }

    fn may_be_gone<C: CandidateWorkers>(
        (prefill, decode): (Placed, Placed),
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> bool {
        is_offered(prefill.index, workers, info)
            && is_offered(decode.index, workers, info)
            && is_pair((prefill, decode), workers)
    }
}

#[inline]
fn is_pair<C: CandidateWorkers>((prefill, decode): (Placed, Placed), workers: &C) -> bool {
    workers.role(prefill.index) == WorkerRole::Prefill && workers.role(decode.index) == WorkerRole::Decode
}

/// True if this worker exists and this request may go to it, whatever its health.
#[inline]
fn is_offered<C: CandidateWorkers>(index: usize, workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
    index < workers.len() && info.admits(index)
}

/// True if this worker exists and may be chosen.
#[inline]
fn is_open<C: CandidateWorkers>(index: usize, workers: &C, info: &SelectWorkerInfo<'_>) -> bool {
    is_offered(index, workers, info) && workers.is_healthy(index)
}
