//! What happens: which prompt goes to which worker, and what that worker forgets for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use dynamo_kv_router::protocols::{LocalBlockHash, compute_seq_hash_for_block};

/// Blocks of 16 tokens in one of the trace, which has 512.
const BLOCKS: u64 = 32;
/// A worker gets no prompt while its work is more than this part above the mean.
const SLACK: f64 = 1.25;

/// A prompt, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Hashes of the blocks, each for itself.
    pub(crate) contents: Vec<u64>,
    /// Hashes of the blocks, each with all before it.
    pub(crate) chain: Vec<u64>,
    /// Where it goes.
    pub(crate) worker: usize,
    /// How many of its first blocks are there already.
    pub(crate) held: usize,
    /// What goes for it, in this order.
    pub(crate) evicted: Vec<u64>,
}

/// A whole run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// Blocks that a worker can hold.
    pub(crate) capacity: usize,
    pub(crate) steps: Vec<Step>,
}

/// Prompts of a trace, as hashes of their blocks.
pub(crate) fn prompts(trace: &Path) -> anyhow::Result<Vec<Vec<u64>>> {
    let text = std::fs::read_to_string(trace).with_context(|| trace.display().to_string())?;
    let prompt = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let ids = line.get("hash_ids").and_then(serde_json::Value::as_array).context("no hash_ids")?;
        let ids = ids.iter().filter_map(serde_json::Value::as_u64);
        Ok(ids.flat_map(|id| (0..BLOCKS).map(move |block| mix(id * BLOCKS + block))).collect())
    };
    text.lines().map(prompt).collect()
}

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What one worker holds, block by block: when each was used last, and how deep it is.
#[derive(Debug, Default)]
struct Cache {
    blocks: HashMap<u64, (usize, usize)>,
    order: BTreeMap<(usize, Reverse<usize>), u64>,
    work: usize,
}

impl Cache {
    fn touch(&mut self, now: usize, chain: &[u64]) {
        for (depth, hash) in chain.iter().enumerate() {
            if let Some((used, depth)) = self.blocks.insert(*hash, (now, depth)) {
                self.order.remove(&(used, Reverse(depth)));
            }
            self.order.insert((now, Reverse(depth)), *hash);
        }
    }

    fn shrink(&mut self, capacity: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.blocks.len() > capacity {
            let Some((_, hash)) = self.order.pop_first() else { break };
            self.blocks.remove(&hash);
            gone.push(hash);
        }
        gone
    }
}

/// Sends each prompt where most of it is, unless too much went there; then where least went.
pub(crate) fn plan(prompts: &[Vec<u64>], workers: usize, capacity: usize) -> Plan {
    let mut caches: Vec<Cache> = (0..workers).map(|_| Cache::default()).collect();
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut steps = Vec::new();
    let mut total = 0;
    for (now, contents) in prompts.iter().enumerate() {
        let mut contents = contents.clone();
        contents.truncate(capacity);
        let local: Vec<LocalBlockHash> = contents.iter().map(|hash| LocalBlockHash(*hash)).collect();
        let chain = compute_seq_hash_for_block(&local);
        let least = (0..workers).min_by_key(|worker| caches[*worker].work).unwrap_or_default();
        let most = chain.iter().rev().find_map(|hash| holders.get(hash).filter(|all| !all.is_empty()));
        let best = most.and_then(|all| all.iter().copied().min_by_key(|worker| caches[*worker].work));
        let limit = (total as f64 / workers as f64 * SLACK) as usize + 1000;
        let worker = best.filter(|worker| caches[*worker].work <= limit).unwrap_or(least);
        let cache = &mut caches[worker];
        let held = chain.iter().take_while(|hash| cache.blocks.contains_key(*hash)).count();
        for hash in &chain[held..] {
            holders.entry(*hash).or_default().push(worker);
        }
        cache.work += chain.len() - held + 32;
        total += chain.len() - held + 32;
        cache.touch(now, &chain);
        let evicted = cache.shrink(capacity);
        for hash in &evicted {
            if let Some(all) = holders.get_mut(hash) {
                all.retain(|holder| *holder != worker);
            }
        }
        steps.push(Step { contents, chain, worker, held, evicted });
    }
    Plan { workers, capacity, steps }
}
