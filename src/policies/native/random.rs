//! `random`: every worker with the same chance.

use crate::core::candidates::CandidateWorkers;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::sampling::random_worker;

/// A uniformly random worker.
#[derive(Debug, Default)]
pub struct Random;

impl Random {
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        random_worker(workers, info)
    }
}
