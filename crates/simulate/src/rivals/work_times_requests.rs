//! LMetric: the least product of prompt work and requests.
//!
//! (tokens before their first token + this prompt's, both without what the worker holds) × (requests there +
//! 1); ties are left to chance. It knows what engines hold.

use crate::rivals::least::least_by;
use crate::rivals::pending_work::PendingWork;
use crate::rivals::rival::{EngineSight, Rival, RivalAsk};

/// It has no settings.
#[derive(Debug, Default)]
pub(crate) struct WorkTimesRequests {
    pending: PendingWork,
}

impl Rival for WorkTimesRequests {
    fn sight(&self) -> EngineSight {
        EngineSight { caches: true, loads: None }
    }

    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let chosen = least_by(ask.workers, |seen| {
            (self.pending.of(seen.worker) + ask.uncached(seen)) * (f64::from(seen.requests) + 1.0)
        })?;
        self.pending.add(ask.tag, chosen, ask.uncached_at(chosen)?);
        Some(chosen)
    }

    fn first_token(&mut self, tag: u64, _after: f64) {
        self.pending.remove(tag);
    }

    fn finished(&mut self, tag: u64) {
        self.pending.remove(tag);
    }
}

#[cfg(test)]
mod tests {
    use crate::rivals::rival::SeenWorker;

    use super::*;

    #[test]
    fn products_are_those_of_a_pencil() {
        let mut policy = WorkTimesRequests::default();
        let choice = |policy: &mut WorkTimesRequests, tag, seen: [(u32, u32); 2]| {
            let workers = [0, 1].map(|worker| SeenWorker {
                worker,
                held: seen[worker].0,
                requests: seen[worker].1,
                ..SeenWorker::default()
            });
            policy
                .choose(&RivalAsk { tag, tokens: 1000, blocks: &[], block_tokens: 512, workers: &workers })
                .unwrap()
        };
        // 1000 × 2 against 600 × 4; then (1000 + 1000) × 2 against 600 × 4.
        assert_eq!(choice(&mut policy, 1, [(0, 1), (400, 3)]), 0);
        assert_eq!(choice(&mut policy, 2, [(0, 1), (400, 3)]), 1);
        policy.first_token(1, 1.0);
        assert_eq!((policy.pending.of(0), policy.pending.of(1)), (0.0, 600.0));
        assert_eq!(choice(&mut policy, 3, [(0, 1), (400, 3)]), 0);
    }
}
