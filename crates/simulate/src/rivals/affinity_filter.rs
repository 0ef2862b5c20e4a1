//! llm-d's `prefix-cache-affinity-filter`, as its guides use it: stay where the prompt is cached, unless that
//! has far more work before it.
//!
//! Workers that hold 0.8 of the prompt's blocks or more are kept, unless the one of them with the least prompt
//! work has 18 s more of it than the best of the others, at 15,928 tokens a second. Of those that remain the
//! one with the least prompt work before its first token gets the request; work is tokens that were not
//! cached when they were sent.

use crate::rivals::least::least_by;
use crate::rivals::pending_work::PendingWork;
use crate::rivals::rival::{EngineSight, Rival, RivalAsk, SeenWorker};

const AFFINITY: f64 = 0.8;
const PENALTY: f64 = 18.0;
const TOKENS_PER_SECOND: f64 = 15_928.0;

/// As its defaults are.
#[derive(Debug, Default)]
pub(crate) struct AffinityFilter {
    pending: PendingWork,
}

impl Rival for AffinityFilter {
    fn sight(&self) -> EngineSight {
        EngineSight { caches: true, loads: None }
    }

    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let (warm, cold): (Vec<SeenWorker>, Vec<SeenWorker>) =
            ask.workers.iter().partition(|seen| ask.share_of(seen.held) >= AFFINITY);
        let least = |workers: &[SeenWorker]| {
            let work = workers.iter().map(|seen| self.pending.of(seen.worker));
            work.fold(f64::INFINITY, f64::min)
        };
        let is_far = (least(&warm) - least(&cold)) / TOKENS_PER_SECOND > PENALTY;
        let kept = if warm.is_empty() || is_far { ask.workers } else { &warm };
        let chosen = least_by(kept, |seen| self.pending.of(seen.worker))?;
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
    use super::*;

    #[test]
    fn cache_is_kept_up_to_eighteen_seconds_of_work() {
        let mut policy = AffinityFilter::default();
        let choice = |policy: &mut AffinityFilter, tag, held: [u32; 2]| {
            let workers =
                [0, 1].map(|worker| SeenWorker { worker, held: held[worker], ..SeenWorker::default() });
            let blocks = [1, 2, 3, 4, 5];
            policy.choose(&RivalAsk {
                tag,
                tokens: 2600,
                blocks: &blocks,
                block_tokens: 512,
                workers: &workers,
            })
        };
        policy.pending.add(90, 0, 18.0 * 15_928.0);
        // Four of five blocks are 0.8; three are not.
        assert_eq!(choice(&mut policy, 1, [2048, 1536]), Some(0));
        policy.first_token(1, 1.0);
        assert_eq!(choice(&mut policy, 2, [2047, 0]), Some(1));
        assert_eq!(policy.pending.of(1), 2600.0);
        policy.finished(2);
        policy.pending.add(91, 0, 1.0);
        assert_eq!(choice(&mut policy, 3, [2048, 1536]), Some(1));
        assert_eq!(policy.pending.of(1), 2600.0 - 1536.0);
    }
}
