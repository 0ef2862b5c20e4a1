//! Dynamo's KV router: the least of prompt work and blocks in use, in blocks.
//!
//! cost = max(0, (tokens before their first token + this prompt's) / block − blocks that it holds) + blocks of
//! prompts in use there, this one's included. All weights are 1, requests have none, ties are left to
//! chance. Tokens before their first token are those that were not cached when they were sent. Its router
//! listens to KV events. It also lets requests wait while each worker has some full batches of prompts before
//! it, which is left out here.

use std::collections::HashMap;

use crate::rivals::least::least_by;
use crate::rivals::pending_work::PendingWork;
use crate::rivals::rival::{EngineSight, Rival, RivalAsk};

/// The blocks of one worker's running requests; those in common count once.
#[derive(Debug, Default)]
struct BlocksInUse {
    users: HashMap<u64, u32>,
    /// Parts of blocks at the ends of prompts, which nobody shares.
    ends: u32,
}

/// A request that runs.
#[derive(Debug)]
struct RunningPrompt {
    worker: usize,
    blocks: Vec<u64>,
    has_end: bool,
}

/// As its defaults are.
#[derive(Debug, Default)]
pub(crate) struct BlockCosts {
    pending: PendingWork,
    in_use: HashMap<usize, BlocksInUse>,
    running: HashMap<u64, RunningPrompt>,
}

impl BlocksInUse {
    /// Blocks with those of this prompt.
    fn with(&self, blocks: &[u64]) -> usize {
        let new = blocks.iter().filter(|block| !self.users.contains_key(block)).count();
        self.users.len() + new + self.ends as usize
    }

    fn take(&mut self, prompt: &RunningPrompt) {
        prompt.blocks.iter().for_each(|block| *self.users.entry(*block).or_default() += 1);
        self.ends += u32::from(prompt.has_end);
    }

    fn give_back(&mut self, prompt: &RunningPrompt) {
        for block in &prompt.blocks {
            if let Some(users) = self.users.get_mut(block) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(block);
                }
            }
        }
        self.ends -= u32::from(prompt.has_end);
    }
}

impl Rival for BlockCosts {
    fn sight(&self) -> EngineSight {
        EngineSight { caches: true, loads: None }
    }

    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let block = f64::from(ask.block_tokens);
        let has_end = !ask.tokens.is_multiple_of(ask.block_tokens);
        let chosen = least_by(ask.workers, |seen| {
            let prompts = (self.pending.of(seen.worker) + f64::from(ask.tokens)) / block;
            let held = f64::from(seen.held / ask.block_tokens);
            let in_use = self.in_use.get(&seen.worker).map_or(ask.blocks.len(), |used| used.with(ask.blocks));
            #[expect(clippy::cast_precision_loss, reason = "counts of blocks are small")]
            let in_use = in_use as f64;
            (prompts - held).max(0.0) + in_use + f64::from(u8::from(has_end))
        })?;
        self.pending.add(ask.tag, chosen, ask.uncached_at(chosen)?);
        let prompt = RunningPrompt { worker: chosen, blocks: ask.blocks.to_vec(), has_end };
        self.in_use.entry(chosen).or_default().take(&prompt);
        self.running.insert(ask.tag, prompt);
        Some(chosen)
    }

    fn first_token(&mut self, tag: u64, _after: f64) {
        self.pending.remove(tag);
    }

    fn finished(&mut self, tag: u64) {
        self.pending.remove(tag);
        let Some(prompt) = self.running.remove(&tag) else { return };
        if let Some(used) = self.in_use.get_mut(&prompt.worker) {
            used.give_back(&prompt);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rivals::rival::SeenWorker;

    use super::*;

    #[test]
    fn costs_are_those_of_a_pencil() {
        let mut policy = BlockCosts::default();
        let choice = |policy: &mut BlockCosts, tag, held: [u32; 2], blocks: &[u64]| {
            let workers =
                [0, 1].map(|worker| SeenWorker { worker, held: held[worker], ..SeenWorker::default() });
            let tokens = u32::try_from(blocks.len()).unwrap() * 100 + 50;
            policy.choose(&RivalAsk { tag, tokens, blocks, block_tokens: 100, workers: &workers }).unwrap()
        };
        // 2.5 - 1 + 3 against 2.5 + 3.
        assert_eq!(choice(&mut policy, 1, [100, 0], &[1, 2]), 0);
        // Worker 0: (150 + 350) / 100 - 2 and blocks 1 2 3 and two ends: 8. Worker 1: 3.5 + 4 = 7.5.
        assert_eq!(choice(&mut policy, 2, [200, 0], &[1, 2, 3]), 1);
        policy.first_token(1, 1.0);
        // Worker 0: 3.5 - 2 + 3 + 2 = 6.5. Worker 1: 7 - 0 + 3 + 2 = 12.
        assert_eq!(choice(&mut policy, 3, [200, 0], &[1, 2, 3]), 0);
        policy.finished(1);
        policy.finished(3);
        assert!(
            policy.in_use[&0].users.is_empty() && policy.in_use[&0].ends == 0 && policy.pending.of(0) == 0.0
        );
        assert_eq!((policy.in_use[&1].users.len(), policy.pending.of(1)), (3, 350.0));
    }
}
