//! The scorers that llm-d's chart has by default: 2 × queue + 2 × free cache + 3 × match, the highest wins.
//!
//! The queue is that of the engine, the longest scores 0 and the shortest 1; free cache is the share that is
//! not in use; the match is the share of the prompt's blocks that the picker sent there before, of as many
//! blocks as the engine has. It asks engines for their metrics every 50 ms (not seen, remembered).

use crate::rivals::least::least_by;
use crate::rivals::rival::{EngineSight, Rival, RivalAsk};
use crate::rivals::sent_blocks::SentBlocks;

const QUEUE: f64 = 2.0;
const FREE_CACHE: f64 = 2.0;
const MATCH: f64 = 3.0;
const LOOK_INTERVAL: f64 = 0.05;

/// As the chart has it.
#[derive(Debug, Default)]
pub(crate) struct WeightedScores {
    sent: SentBlocks,
}

impl Rival for WeightedScores {
    fn sight(&self) -> EngineSight {
        EngineSight { caches: false, loads: Some(LOOK_INTERVAL) }
    }

    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let waiting = || ask.workers.iter().map(|seen| seen.waiting);
        let (shortest, longest) = (waiting().min()?, waiting().max()?);
        let chosen = least_by(ask.workers, |seen| {
            let queue = match longest - shortest {
                0 => 1.0,
                range => f64::from(longest - seen.waiting) / f64::from(range),
            };
            let held = ask.tokens_of(self.sent.matched(seen.worker, ask.blocks));
            -(QUEUE * queue + FREE_CACHE * (1.0 - seen.kv_usage) + MATCH * ask.share_of(held))
        })?;
        let room = ask.workers.iter().find(|seen| seen.worker == chosen)?.kv_tokens / ask.block_tokens;
        self.sent.send(chosen, ask.blocks, room as usize);
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use crate::rivals::rival::SeenWorker;

    use super::*;

    #[test]
    fn scores_are_those_of_a_pencil() {
        let mut policy = WeightedScores::default();
        let mut choice = |looks: [(u32, f64); 2], blocks: &[u64]| {
            let workers = [0, 1].map(|worker| SeenWorker {
                worker,
                kv_tokens: 51_200,
                waiting: looks[worker].0,
                kv_usage: looks[worker].1,
                ..SeenWorker::default()
            });
            let tokens = u32::try_from(blocks.len()).unwrap() * 512 + 100;
            policy.choose(&RivalAsk { tag: 0, tokens, blocks, block_tokens: 512, workers: &workers }).unwrap()
        };
        // 2 + 2 · 0.5 against 2 + 2 · 0.6.
        assert_eq!(choice([(0, 0.5), (0, 0.4)], &[1, 2, 3, 4]), 1);
        // 2 + 2 · 0.9 against 2 + 2 · 0.1 + 3 · 0.5.
        assert_eq!(choice([(0, 0.1), (0, 0.9)], &[1, 2, 5, 6]), 0);
        // 2 + 2 · 0.9 + 3 · 0.5 = 5.3 against 2 + 2 · 0.5 + 3 · 0.75 = 5.25; then 5.85 against 6.2.
        assert_eq!(choice([(0, 0.1), (0, 0.5)], &[1, 2, 3, 7]), 0);
        assert_eq!(choice([(0, 0.2), (0, 0.4)], &[1, 2, 3, 4]), 1);
        // The longest queue scores 0: 2, which 3 · 0.5 does not make up for, and 3 does.
        assert_eq!(choice([(5, 0.5), (0, 0.5)], &[21, 22, 23, 24]), 1);
        assert_eq!(choice([(0, 0.3), (1, 0.5)], &[21, 22, 23, 24]), 1);
        assert_eq!(choice([(0, 0.5), (1, 0.5)], &[21, 22, 8, 9]), 0);
    }
}
