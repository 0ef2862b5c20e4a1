//! `power_of_two`: the less loaded of two random workers.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::native::sampling::random_worker;
use crate::policies::select_worker_info::SelectWorkerInfo;

/// The less loaded of two random workers.
#[derive(Debug, Default)]
pub(super) struct PowerOfTwo;

impl PowerOfTwo {
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let first = random_worker(workers, info)?;
        // Draws again a few times, but not for ever, if the second is the first.
        let second = (0..4).filter_map(|_| random_worker(workers, info)).find(|second| *second != first);
        match second {
            Some(second) if workers.load(second) < workers.load(first) => Some(second),
            _ => Some(first),
        }
    }
}
