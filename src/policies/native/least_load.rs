//! `least_load`: the worker with the fewest requests in flight.

use crate::core::candidates::Candidates;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::sampling::may_choose;

/// A worker with the fewest requests in flight from this router. Those with equally few share
/// evenly, by chance.
#[derive(Debug, Default)]
pub struct LeastLoad;

impl LeastLoad {
    pub(crate) fn choose<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let mut first = None;
        let (mut least, mut ties) = (usize::MAX, 0_usize);
        for index in (0..workers.len()).filter(|index| may_choose(workers, info, *index)) {
            let load = workers.load(index);
            if load < least || first.is_none() {
                (first, least, ties) = (Some(index), load, 1);
            } else if load == least {
                ties += 1;
            }
        }
        // Starting at a random worker instead would favour those behind a gap.
        let skipped = if ties > 1 { fastrand::usize(..ties) } else { 0 };
        if skipped == 0 {
            return first;
        }
        let behind = first.map_or(0, |first| first + 1)..workers.len();
        let mut equal =
            behind.filter(|index| may_choose(workers, info, *index) && workers.load(*index) == least);
        // Loads may have changed meanwhile.
        equal.nth(skipped - 1).or(first)
    }
}
