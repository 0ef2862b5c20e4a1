//! Picks workers at random, for policies that need that.

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::select_worker_info::SelectWorkerInfo;

/// True if the worker may be chosen for this request.
#[inline]
pub(crate) fn may_choose<C: CandidateWorkers>(
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    index: usize,
) -> bool {
    workers.is_healthy(index) && info.admits(index)
}

/// A uniformly random worker among those that may be chosen.
///
/// Rejection sampling: with most workers healthy it costs one or two draws instead of a scan.
pub(crate) fn random_worker<C: CandidateWorkers>(workers: &C, info: &SelectWorkerInfo<'_>) -> Option<usize> {
    let count = workers.len();
    if count == 0 {
        return None;
    }
    for _ in 0..8 {
        let index = fastrand::usize(..count);
        if may_choose(workers, info, index) {
            return Some(index);
        }
    }
    // Few may be chosen: count them, and take the k-th.
    let open = (0..count).filter(|index| may_choose(workers, info, *index)).count();
    if open == 0 {
        return None;
    }
    (0..count).filter(|index| may_choose(workers, info, *index)).nth(fastrand::usize(..open))
}
