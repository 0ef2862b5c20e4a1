//! `round_robin`: one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::native::sampling::may_choose;
use crate::policies::native::turns::Turns;
use crate::policies::select_worker_info::SelectWorkerInfo;

/// How often a thread tries again because others took turns meanwhile.
const ATTEMPTS: usize = 16;

/// The next worker in table order that may be chosen.
///
/// Only workers that may be chosen take turns: a worker that is passed over loses its turn, and the one
/// behind it gets no second one. Requests for different models, and the halves of a pair, take separate
/// turns.
///
/// # Concurrency
///
/// One shared counter for each list of workers, since "next" is shared by nature. A thread that passes
/// workers over takes their turns too, unless another thread took one meanwhile: then it tries again, so
/// that no two threads have the same turn and no turn is lost. After `ATTEMPTS` it takes what it found,
/// so that it ends.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    turns: Turns,
}

impl RoundRobin {
    #[inline]
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let count = workers.len();
        if count == 0 {
            return None;
        }
        let turns = self.turns.of(workers, info);
        // Relaxed: only the count matters.
        let turn = turns.load(Ordering::Relaxed);
        let index = turn % count;
        // Not `fetch_add`: a thread that is too late with it takes a turn that nobody gets.
        let take =
            || turns.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        if may_choose(workers, info, index) && take().is_ok() {
            return Some(index);
        }
        pass_over(turns, workers, info)
    }
}

/// The next worker that may be chosen, however many are passed over.
fn pass_over<C: CandidateWorkers>(
    turns: &AtomicUsize,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Option<usize> {
    let count = workers.len();
    let open = |index: &usize| may_choose(workers, info, *index);
    let mut turn = turns.load(Ordering::Relaxed);
    let mut attempts_left = ATTEMPTS;
    loop {
        let start = turn % count;
        // Two plain searches: a chained one checks at each step which half it is in.
        let index = (start..count).find(open).or_else(|| (0..start).find(open))?;
        let passed = if index < start { index + count - start } else { index - start };
        let next = turn.wrapping_add(passed + 1);
        attempts_left -= 1;
        match turns.compare_exchange_weak(turn, next, Ordering::Relaxed, Ordering::Relaxed) {
            Err(moved) if attempts_left > 0 => turn = moved,
            _ => return Some(index),
        }
    }
}
