//! `round_robin`: one after the other.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::core::candidates::Candidates;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::sampling::may_choose;

/// The next worker in table order that may be chosen.
///
/// # Concurrency
///
/// One shared counter, since "next" is shared by nature. Where a worker is skipped, the one
/// behind it gets its turns too.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    pub(crate) fn choose<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let count = workers.len();
        if count == 0 {
            return None;
        }
        // Relaxed: only the count matters.
        let start = self.next.fetch_add(1, Ordering::Relaxed) % count;
        (start..count).chain(0..start).find(|index| may_choose(workers, info, *index))
    }
}
