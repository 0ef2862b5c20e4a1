//! `least_load`: the worker with the fewest requests in flight.

use crate::core::candidates::Candidates;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::sampling::may_choose;

/// A worker with the fewest requests in flight from this router.
///
/// The scan starts at a random worker, so that equally loaded workers share.
#[derive(Debug, Default)]
pub struct LeastLoad;

impl LeastLoad {
    pub(crate) fn choose<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let count = workers.len();
        if count == 0 {
            return None;
        }
        let start = fastrand::usize(..count);
        let open = (start..count).chain(0..start).filter(|index| may_choose(workers, info, *index));
        open.min_by_key(|index| workers.load(*index))
    }
}
