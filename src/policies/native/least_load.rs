//! `least_load`: the worker with the fewest requests in flight.

use std::hint::select_unpredictable;

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::native::sampling::may_choose;
use crate::policies::select_worker_info::SelectWorkerInfo;

/// A worker with the fewest requests in flight from this router. Equal ones share evenly, by chance.
#[derive(Debug, Default)]
pub(super) struct LeastLoad;

impl LeastLoad {
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        // A generator on the stack: each tie would have to look up the thread's own.
        let mut draws = fastrand::Rng::with_seed(fastrand::u64(..));
        let mut chosen = None;
        let (mut least, mut ties) = (usize::MAX, 1_u64);
        for index in (0..workers.len()).filter(|index| may_choose(workers, info, *index)) {
            let load = workers.load(index);
            if load < least || chosen.is_none() {
                (chosen, least, ties) = (Some(index), load, 1);
            } else if load == least {
                // The k-th equal takes over with a chance of 1/k, so all have the same chance. Starting
                // at a random worker instead would favour those behind a gap.
                ties += 1;
                let takes_over = (u64::from(draws.u32(..)) * ties) >> u32::BITS == 0;
                chosen = select_unpredictable(takes_over, Some(index), chosen);
            }
        }
        chosen
    }
}
