//! `cache_aware` of SMG where engines send KV events: the worker that holds the most blocks of the prompt.
//!
//! Of equal ones the one with the fewest requests; nobody holds any: the first with the fewest. The rule for
//! uneven requests is that of the tree.

use crate::rivals::least::first_of_fewest;
use crate::rivals::rival::{EngineSight, Rival, RivalAsk};
use crate::rivals::tree_affinity::TreeAffinity;

/// As the command line has it.
#[derive(Debug, Default)]
pub(crate) struct HeldAffinity;

/// How many requests more, and how many times as many, are uneven.
const UNEVEN: (u32, f64) = (64, 1.5);

impl Rival for HeldAffinity {
    fn sight(&self) -> EngineSight {
        EngineSight { caches: true, loads: None }
    }

    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let most = ask.workers.iter().map(|seen| seen.held / ask.block_tokens).max()?;
        if TreeAffinity::is_uneven(ask, UNEVEN.0, UNEVEN.1) {
            return first_of_fewest(ask.workers);
        }
        let best = ask.workers.iter().filter(|seen| seen.held / ask.block_tokens == most);
        best.min_by_key(|seen| seen.requests).map(|seen| seen.worker)
    }
}

#[cfg(test)]
mod tests {
    use crate::rivals::rival::SeenWorker;

    use super::*;

    #[test]
    fn most_blocks_win_then_fewest_requests() {
        let choice = |seen: &[(u32, u32)]| {
            let workers: Vec<_> = seen
                .iter()
                .zip(0..)
                .map(|((held, requests), worker)| SeenWorker {
                    worker,
                    held: *held,
                    requests: *requests,
                    ..SeenWorker::default()
                })
                .collect();
            let ask = RivalAsk { tag: 0, tokens: 2000, blocks: &[], block_tokens: 512, workers: &workers };
            HeldAffinity.choose(&ask).unwrap()
        };
        assert_eq!(choice(&[(512, 0), (1100, 9), (1024, 3), (511, 0)]), 2);
        assert_eq!(choice(&[(511, 4), (0, 2)]), 1);
        assert_eq!(choice(&[(1024, 80), (0, 3)]), 1);
    }
}
