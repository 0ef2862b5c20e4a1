//! `cache_aware` of SMG and of the vLLM router: a tree of the prompts that were sent.
//!
//! If one worker has more than `gap` requests more than another, and more than `ratio` times as many: the
//! first with the fewest. Else, if more than `share` of the prompt is in the tree: whoever had the deepest
//! part of it first; else the first with the fewest. The tree forgets at a size that no trace here reaches
//! (2^25 or 2^26 characters a worker), so it forgets nothing.

use crate::rivals::first_owners::FirstOwners;
use crate::rivals::least::first_of_fewest;
use crate::rivals::rival::{Rival, RivalAsk};

/// As the command lines of both have it.
#[derive(Debug)]
pub(crate) struct TreeAffinity {
    share: f64,
    gap: u32,
    ratio: f64,
    tree: FirstOwners,
}

impl Default for TreeAffinity {
    fn default() -> Self {
        Self { share: 0.3, gap: 64, ratio: 1.5, tree: FirstOwners::default() }
    }
}

impl TreeAffinity {
    /// True if requests are so uneven that caches do not count.
    pub(crate) fn is_uneven(ask: &RivalAsk<'_>, gap: u32, ratio: f64) -> bool {
        let requests = || ask.workers.iter().map(|seen| seen.requests);
        let (Some(least), Some(most)) = (requests().min(), requests().max()) else { return false };
        most - least > gap && f64::from(most) > f64::from(least) * ratio
    }
}

impl Rival for TreeAffinity {
    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let (blocks, owner) = self.tree.matched(ask.blocks);
        let is_known = f64::from(ask.tokens_of(blocks)) > self.share * f64::from(ask.tokens);
        let is_uneven = Self::is_uneven(ask, self.gap, self.ratio);
        let owner = owner.filter(|owner| ask.workers.iter().any(|seen| seen.worker == *owner));
        let owner = owner.filter(|_| is_known && !is_uneven);
        let chosen = owner.or_else(|| first_of_fewest(ask.workers))?;
        self.tree.send(chosen, ask.blocks);
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use crate::rivals::rival::SeenWorker;

    use super::*;

    fn choice(policy: &mut TreeAffinity, requests: [u32; 2], blocks: &[u64]) -> usize {
        let workers =
            [0, 1].map(|worker| SeenWorker { worker, requests: requests[worker], ..SeenWorker::default() });
        let tokens = u32::try_from(blocks.len()).unwrap() * 512;
        let ask = RivalAsk { tag: 0, tokens, blocks, block_tokens: 512, workers: &workers };
        policy.choose(&ask).unwrap()
    }

    #[test]
    fn prompt_follows_its_first_owner_from_a_third_on_until_requests_are_uneven() {
        let mut policy = TreeAffinity::default();
        assert_eq!(choice(&mut policy, [1, 0], &[1, 2, 3]), 1);
        // One of three blocks is more than 0.3, one of four is less.
        assert_eq!(choice(&mut policy, [0, 5], &[1, 8, 9]), 1);
        assert_eq!(choice(&mut policy, [0, 5], &[1, 5, 6, 7]), 0);
        // 64 more are not uneven, 65 are if that is half as many again.
        assert_eq!(choice(&mut policy, [0, 64], &[1, 2, 3]), 1);
        assert_eq!(choice(&mut policy, [0, 65], &[1, 2, 3]), 0);
        assert_eq!(choice(&mut policy, [200, 265], &[1, 2, 3]), 1);
        // Worker 0 has had it now too, but second.
        assert_eq!(choice(&mut policy, [0, 1], &[1, 2, 3]), 1);
    }
}
