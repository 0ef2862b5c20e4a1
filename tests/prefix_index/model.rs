//! What the index should be, block by block.

use std::collections::{BTreeMap, BTreeSet};

use sglang_router_rs::prefix_index::{ColumnOrder, IndexedWorker, PrefixIndex, ReportedBlock};

/// Tokens of a block.
pub(crate) const TOKENS: f32 = 16.0;

/// The chain of a prompt whose blocks have these contents.
pub(crate) fn chain_of(contents: &[u64]) -> Vec<u64> {
    let mix = |before: u64, content: u64| {
        let mixed =
            (before ^ content.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    };
    let mut before = 1;
    let step = |content: &u64| {
        before = mix(before, content + 1);
        before
    };
    contents.iter().map(step).collect()
}

/// A pool of prompts that share beginnings of all lengths.
pub(crate) fn prompts(random: &mut fastrand::Rng, count: usize, longest: usize) -> Vec<Vec<u64>> {
    let mut all: Vec<Vec<u64>> = Vec::new();
    for _ in 0..count {
        let mut prompt = if all.is_empty() || random.u8(0..10) == 0 {
            Vec::new()
        } else {
            let of = &all[random.usize(0..all.len())];
            of[..random.usize(0..=of.len())].to_vec()
        };
        let more = random.usize(0..longest);
        prompt.extend((0..more).map(|_| random.u64(0..3)));
        prompt.truncate(longest);
        all.push(prompt);
    }
    all.iter().map(|prompt| chain_of(prompt)).filter(|chain| !chain.is_empty()).collect()
}

pub(crate) fn matches(index: &PrefixIndex, chain: &[u64], workers: usize) -> Vec<i32> {
    let mut column = vec![0xEE; workers * 4];
    index.fill(chain, TOKENS, &ColumnOrder::Same, &mut column);
    column.as_chunks::<4>().0.iter().map(|cell| i32::from_le_bytes(*cell)).collect()
}

pub(crate) fn blocks(count: usize) -> i32 {
    i32::try_from(count).expect("small") * 16
}

/// What the index should be, block by block.
#[derive(Clone, Default)]
struct ModelWorker {
    capacity: usize,
    /// When each block was used last, and how deep it is.
    sent: BTreeMap<u64, (u64, usize)>,
    reported: BTreeMap<u64, ModelBlock>,
}

/// A reported block.
#[derive(Clone)]
struct ModelBlock {
    /// The one before it.
    before: Option<u64>,
    name: u64,
    depth: u32,
}

/// What workers call the blocks that they report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamingStyle {
    /// Their hashes.
    Hashes,
    /// Each worker in its own way.
    Own,
    /// Now this, now that, and sometimes what another block is called.
    Changing,
}

impl NamingStyle {
    /// Names of blocks that a worker tells of, no two alike.
    fn of(self, random: &mut fastrand::Rng, worker: usize, chain: &[u64], others: &[u64]) -> Vec<u64> {
        let style = if self == Self::Changing { random.u64(0..3) } else { 1 };
        let own = |hash: u64| (hash ^ worker as u64 ^ style << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut names: Vec<u64> = match (self, style) {
            (Self::Hashes, _) | (_, 0) => chain.to_vec(),
            _ => chain.iter().map(|hash| own(*hash)).collect(),
        };
        if self == Self::Changing && !names.is_empty() && random.u8(0..4) == 0 {
            let at = random.usize(0..names.len());
            let other = own(others[random.usize(0..others.len())]);
            if !names.contains(&other) {
                names[at] = other;
            }
        }
        names
    }
}

impl ModelWorker {
    fn sent(&mut self, now: u64, chain: &[u64]) {
        for (depth, hash) in chain.iter().take(self.capacity).enumerate() {
            self.sent.insert(*hash, (now, depth));
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.sent.len() > self.capacity {
            let order = |(_, (used, depth)): &(&u64, &(u64, usize))| (*used, std::cmp::Reverse(*depth));
            let oldest = *self.sent.iter().min_by_key(order).expect("more than none").0;
            self.sent.remove(&oldest);
        }
    }

    /// The block of that name.
    fn named(&self, name: u64) -> Option<u64> {
        self.reported.iter().find(|(_, block)| block.name == name).map(|(hash, _)| *hash)
    }

    fn stored(&mut self, after: Option<u64>, chain: &[u64], names: &[u64]) -> Option<usize> {
        let mut before = None;
        if let Some(after) = after {
            before = Some(self.named(after)?);
        }
        let known = chain.iter().take_while(|hash| self.reported.contains_key(hash)).count();
        for (hash, name) in chain.iter().zip(names) {
            let depth = before.map_or(0, |hash| self.reported[&hash].depth) + 1;
            self.reported.insert(*hash, ModelBlock { before, name: *name, depth });
            before = Some(*hash);
        }
        for (hash, name) in chain.iter().zip(names) {
            let others = self.reported.iter().filter(|(other, block)| *other != hash && block.name == *name);
            let others: BTreeSet<u64> = others.map(|(hash, _)| *hash).collect();
            self.forget(others);
        }
        Some(known)
    }

    fn removed(&mut self, names: &[u64]) {
        self.forget(names.iter().filter_map(|name| self.named(*name)).collect());
    }

    fn forget(&mut self, mut gone: BTreeSet<u64>) {
        loop {
            let follows =
                |(_, block): &(&u64, &ModelBlock)| block.before.is_some_and(|hash| gone.contains(&hash));
            let more: Vec<u64> = self.reported.iter().filter(follows).map(|(hash, _)| *hash).collect();
            let before = gone.len();
            gone.extend(more);
            if gone.len() == before {
                break;
            }
        }
        self.reported.retain(|hash, _| !gone.contains(hash));
    }

    fn matched(&self, chain: &[u64]) -> i32 {
        let sent = chain.iter().take_while(|hash| self.sent.contains_key(hash)).count();
        let reported = chain.iter().take_while(|hash| self.reported.contains_key(hash)).count();
        blocks(sent.max(reported))
    }
}

/// Random changes on index and model, which must agree all the time.
pub(crate) fn compare(seed: u64, workers: usize, longest: usize, rounds: u64, names: NamingStyle) {
    let mut random = fastrand::Rng::with_seed(seed);
    let chains = prompts(&mut random, 60, longest);
    let index = PrefixIndex::new(64 << 20);
    let mut model = vec![ModelWorker::default(); workers];
    let mut ids: Vec<IndexedWorker> = (0..workers).map(|slot| index.enter(slot).expect("a slot")).collect();
    for (worker, id) in model.iter_mut().zip(&ids) {
        worker.capacity = random.usize(1..longest * 3);
        index.set_capacity(*id, u32::try_from(worker.capacity).expect("small"));
    }
    for now in 0..rounds {
        let (at, chain) = (random.usize(0..workers), &chains[random.usize(0..chains.len())]);
        let (worker, id) = (&mut model[at], ids[at]);
        let (from, to) = (random.usize(0..chain.len()), random.usize(0..=chain.len()));
        match random.u8(0..20) {
            0..8 => {
                worker.sent(now, &chain[..to]);
                index.sent(id, &chain[..to]);
            }
            8..13 => {
                let rest = &chain[from..to.max(from)];
                let others = &chains[random.usize(0..chains.len())];
                let told = names.of(&mut random, at, rest, others);
                let name = |hash: u64| worker.reported.get(&hash).map_or(hash, |block| block.name);
                let after = from.checked_sub(1).map(|before| name(chain[before]));
                let known = worker.stored(after, rest, &told);
                if told == rest {
                    assert_eq!(index.stored(id, after, rest), known);
                } else {
                    assert_eq!(index.stored_as(id, after, rest, &told), known);
                }
            }
            13..18 => {
                let gone = chain[from..to.max(from)].iter().rev();
                let gone: Vec<u64> =
                    gone.map(|hash| worker.reported.get(hash).map_or(*hash, |b| b.name)).collect();
                worker.removed(&gone);
                index.removed(id, &gone);
            }
            18 => {
                worker.capacity = random.usize(1..longest * 3);
                worker.shrink();
                index.set_capacity(id, u32::try_from(worker.capacity).expect("small"));
            }
            _ if random.u8(0..8) > 0 => {}
            _ if random.bool() => {
                *worker = ModelWorker { capacity: worker.capacity, ..ModelWorker::default() };
                index.cleared(id);
            }
            _ => {
                *worker = ModelWorker { capacity: 65_536, ..ModelWorker::default() };
                ids[at] = index.enter(at).expect("a slot");
            }
        }
        let asked = &chains[random.usize(0..chains.len())];
        let expected: Vec<i32> = model.iter().map(|worker| worker.matched(asked)).collect();
        assert_eq!(matches(&index, asked, workers), expected, "after {now} changes, seed {seed}");
        let one = random.usize(0..workers);
        assert_eq!(index.matched(ids[one], asked, TOKENS), expected[one]);
        for (hash, ModelBlock { name, depth, .. }) in model[one].reported.iter().take(100) {
            let expected = Some(ReportedBlock { hash: *hash, depth: *depth });
            assert_eq!(index.reported(ids[one], *name), expected, "after {now} changes, seed {seed}");
        }
        assert_eq!(index.reported_blocks(ids[one]), model[one].reported.len());
        if now % 64 == 0 {
            let stats = index.stats();
            let count = |of: fn(&ModelWorker) -> usize| model.iter().map(of).sum::<usize>();
            assert_eq!(stats.sent_blocks, count(|worker| worker.sent.len()));
            assert_eq!(stats.reported_blocks, count(|worker| worker.reported.len()));
            assert_eq!(stats.refused_blocks, 0);
        }
    }
    for id in ids {
        index.cleared(id);
    }
    let stats = index.stats();
    assert_eq!((stats.sent_blocks, stats.reported_blocks), (0, 0));
}
