//! `random`: every worker with the same chance.

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::native::sampling::random_worker;
use crate::policies::select_worker_info::SelectWorkerInfo;

/// A uniformly random worker.
#[derive(Debug, Default)]
pub(super) struct Random;

impl Random {
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        random_worker(workers, info)
    }
}
