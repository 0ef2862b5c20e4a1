//! The prefix index beside a model of it, under readers and writers at once, and at its bounds.
#![expect(clippy::indexing_slicing, reason = "places in lists that the tests made themselves")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sglang_router_rs::prefix_index::{ColumnOrder, IndexedWorker, KeptBeside, PrefixIndex};

use crate::model::{NamingStyle, TOKENS, blocks, chain_of, compare, matches, prompts};

mod model;
mod names;

#[test]
fn index_agrees_with_a_model_under_random_changes() {
    for seed in 0..2 {
        compare(seed, 5, 40, 3000, NamingStyle::Hashes);
        compare(100 + seed, 3, 700, 300, NamingStyle::Hashes);
    }
}

#[test]
fn index_of_many_workers_agrees_with_a_model() {
    compare(1000, 400, 40, 4000, NamingStyle::Hashes);
}

#[test]
fn readers_never_see_more_than_was_there_while_writers_run() {
    let mut random = fastrand::Rng::with_seed(3);
    let chains = prompts(&mut random, 12, 300);
    let index = PrefixIndex::new(64 << 20);
    // So many that sets of them do not fit into nodes, and move to and fro.
    let workers = 900;
    let ids: Vec<IndexedWorker> = (0..workers).map(|slot| index.enter(slot).expect("a slot")).collect();
    // Worker `w` only ever gets the first blocks of a chain, up to a limit of its own.
    let limit = |worker: usize, chain: &[u64]| (worker * 37 + 11) % (chain.len() + 1);
    let is_over = AtomicBool::new(false);
    let (index, chains, ids, is_over) = (&index, &chains, &ids, &is_over);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for round in 0..6_000 {
                    let (worker, chain) = (random.usize(0..workers), random.usize(0..chains.len()));
                    let chain = &chains[chain][..limit(worker, &chains[chain])];
                    match round % 10 {
                        0..2 => index.cleared(ids[worker]),
                        2 => drop(index.stored(ids[worker], None, chain)),
                        3 if !chain.is_empty() => {
                            index.removed(ids[worker], &chain[random.usize(0..chain.len())..]);
                        }
                        4 => index.set_capacity(ids[worker], random.u32(1..3000)),
                        _ => index.sent(ids[worker], chain),
                    }
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        for seed in 10..12 {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                // What a worker may hold of a chain is what it got of any chain with the same beginning.
                let common = |a: &[u64], b: &[u64]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
                while !is_over.load(Ordering::Relaxed) {
                    let asked = &chains[random.usize(0..chains.len())];
                    let found = matches(index, asked, workers);
                    for (worker, found) in found.into_iter().enumerate().filter(|(_, found)| *found > 0) {
                        let got = |chain: &Vec<u64>| common(&chain[..limit(worker, chain)], asked);
                        let most = chains.iter().map(got).max().expect("chains");
                        assert!(found <= blocks(most), "{found} of {most} blocks at {worker}");
                    }
                }
            });
        }
    });
}

#[test]
fn report_of_an_empty_cache_takes_nothing_that_was_sent_since_a_replay_began() {
    let index = PrefixIndex::new(1 << 20);
    let [id, other] = [3, 4].map(|slot| index.enter(slot).expect("a slot"));
    let sent_all = || [id, other].iter().for_each(|id| index.sent(*id, &[1, 2, 3, 4]));
    let matched = |chain: &[u64]| index.matched(id, chain, TOKENS);
    sent_all();
    index.replays(id, true);
    index.sent(id, &[1, 2, 9]);
    assert_eq!(index.stored(id, None, &[1, 2, 3]), Some(0));
    index.reported_empty(id);
    assert_eq!((matched(&[1, 2, 3, 4]), matched(&[1, 2, 9])), (blocks(2), blocks(3)));
    assert_eq!(index.matched(other, &[1, 2, 3, 4], TOKENS), blocks(4));
    let stats = index.stats();
    assert_eq!((stats.sent_blocks, stats.reported_blocks), (3 + 4, 0));
    // What it reports now is of now.
    index.replays(id, false);
    index.reported_empty(id);
    assert_eq!((matched(&[1, 2, 9]), index.stats().sent_blocks), (0, 4));
    // And one that starts anew has nothing, whatever it is at.
    index.replays(id, true);
    sent_all();
    index.cleared(id);
    assert_eq!((matched(&[1, 2, 3, 4]), index.stats().sent_blocks), (0, 4));
    // What was sent in an earlier replay is not of this one.
    index.sent(id, &[5]);
    index.replays(id, true);
    index.reported_empty(id);
    assert_eq!(matched(&[5]), 0);
}

#[test]
fn worker_that_starts_anew_holds_nothing_at_once_and_its_predecessor_adds_nothing() {
    let index = PrefixIndex::new(1 << 20);
    let chain = chain_of(&[1; 300]);
    let before = index.enter(70).expect("a slot");
    index.sent(before, &chain);
    assert_eq!(index.stored(before, None, &chain[..100]), Some(0));
    assert_eq!(matches(&index, &chain, 71)[70], blocks(300));
    index.cleared(before);
    assert_eq!(matches(&index, &chain, 71), vec![0; 71]);
    index.sent(before, &chain);
    let after = index.enter(70).expect("a slot");
    assert_eq!(matches(&index, &chain, 71), vec![0; 71]);
    index.sent(before, &chain);
    assert_eq!(index.stored(before, None, &chain), None);
    index.set_capacity(before, 1);
    assert_eq!(matches(&index, &chain, 71), vec![0; 71], "said of a worker that is gone");
    index.sent(after, &chain);
    assert_eq!(index.matched(after, &chain, TOKENS), blocks(300));
    index.left(after);
    index.sent(after, &chain);
    assert_eq!((matches(&index, &chain, 71), index.stats().sent_blocks), (vec![0; 71], 0));
}

#[test]
fn worker_forgets_what_it_used_longest_ago_and_of_that_the_deepest_block_first() {
    let index = PrefixIndex::new(1 << 20);
    let worker = index.enter(0).expect("a slot");
    index.set_capacity(worker, 10);
    let [first, second, third] = [1, 2, 3].map(|content| chain_of(&[content; 4]));
    index.sent(worker, &first);
    index.sent(worker, &second);
    index.sent(worker, &first[..2]);
    index.sent(worker, &third);
    // Twelve blocks for ten: the last two of the first chain were used before all others.
    let held = |chain| index.matched(worker, chain, 1.0);
    assert_eq!((held(&first), held(&second), held(&third)), (2, 4, 4));
    index.sent(worker, &chain_of(&[4; 3]));
    assert_eq!((held(&first), held(&second), held(&third)), (2, 1, 4));
    index.sent(worker, &chain_of(&[5; 30]));
    assert_eq!((held(&first), held(&chain_of(&[5; 30]))), (0, 10), "as much as there is room for");
    assert_eq!(index.stats().sent_blocks, 10);
}

#[test]
fn memory_keeps_within_its_bound_and_what_was_used_last_stays() {
    let max_bytes = 4 << 20;
    let index = PrefixIndex::new(max_bytes);
    let ids: Vec<IndexedWorker> = (0..20).map(|slot| index.enter(slot).expect("a slot")).collect();
    let mut random = fastrand::Rng::with_seed(9);
    for round in 0..4000 {
        let longest = if round < 2000 { 600 } else { 12 };
        let len = random.usize(1..longest);
        let contents: Vec<u64> = (0..len).map(|_| random.u64(0..1000)).collect();
        let (chain, id) = (chain_of(&contents), ids[random.usize(0..ids.len())]);
        if round % 4 == 0 {
            index.stored(id, None, &chain);
        } else {
            index.sent(id, &chain);
        }
        assert_eq!(index.matched(id, &chain, TOKENS), blocks(len), "just sent, in round {round}");
        let stats = index.stats();
        assert!(stats.bytes <= max_bytes, "{stats:?} in round {round}");
    }
    let stats = index.stats();
    assert!(stats.evicted_blocks > 100_000 && stats.refused_blocks == 0, "{stats:?}");
}

#[test]
fn nonsense_changes_nothing() {
    let index = PrefixIndex::new(0);
    assert_eq!(index.enter(32_768), None);
    let worker = index.enter(3).expect("a slot");
    assert_eq!(index.stored(worker, Some(7), &[8]), None, "a block that it never reported");
    index.removed(worker, &[1, 2, 3]);
    index.sent(worker, &[]);
    assert_eq!(index.stored(worker, None, &[]), Some(0));
    assert_eq!(matches(&index, &[], 4), [0; 4]);
    index.sent(worker, &[5, 5, 5, 0, 0]);
    index.stored(worker, None, &[9, 9, 9]);
    index.stored(worker, Some(9), &[9, 5]);
    index.removed(worker, &[5, 9, 9, 0]);
    index.cleared(worker);
    let stats = index.stats();
    assert_eq!((stats.sent_blocks, stats.reported_blocks), (0, 0));
    let mut short = [0xEE; 5];
    index.sent(worker, &[1]);
    index.fill(&[1], 1.0, &ColumnOrder::Same, &mut short);
    assert_eq!(short, [0, 0, 0, 0, 0xEE], "a column that is too short for the worker");
    let order = ColumnOrder::Mapped(Box::new([u32::MAX, u32::MAX, u32::MAX, 0]));
    index.fill(&[1], 5.5, &order, &mut short);
    assert_eq!(short, [5, 0, 0, 0, 0xEE]);
}

#[test]
fn chain_that_is_larger_than_all_memory_is_noted_as_far_as_there_is_room() {
    const MAX_BYTES: usize = 1 << 20;
    let index = PrefixIndex::new(MAX_BYTES);
    let worker = index.enter(0).expect("a slot");
    index.set_capacity(worker, u32::MAX);
    // Nobody has anything that could be forgotten for it.
    let chain: Vec<u64> = (1..400_000).collect();
    index.sent(worker, &chain);
    let stats = index.stats();
    assert!(stats.bytes <= MAX_BYTES && stats.refused_blocks > 0, "{stats:?}");
    assert_eq!(stats.sent_blocks as u64 + stats.refused_blocks, chain.len() as u64);
    assert_eq!(index.matched(worker, &chain, 1.0), i32::try_from(stats.sent_blocks).expect("few"));
    assert!(stats.sent_blocks > 50_000, "{stats:?}");
}

#[test]
fn full_index_forgets_a_small_part_at_a_time() {
    let index = PrefixIndex::new(1 << 20);
    let worker = index.enter(0).expect("a slot");
    index.set_capacity(worker, u32::MAX);
    let mut most = 0;
    for nth in 0..1500 {
        index.sent(worker, &chain_of(&[nth; 100]));
        let held = index.stats().sent_blocks;
        most = most.max(held);
        assert!(held * 4 >= most * 3, "{held} of {most} blocks in round {nth}");
    }
    assert!(index.stats().evicted_blocks > 0);
}

#[test]
fn what_is_kept_beside_an_index_counts_as_its_own() {
    let index = Arc::new(PrefixIndex::new(4 << 20));
    let before = index.stats();
    let (mut first, mut second) = (KeptBeside::new(&index), KeptBeside::new(&index));
    assert!(first.resize(3 << 19) && !second.resize(2 << 19) && second.resize(1 << 19));
    let stats = index.stats();
    assert_eq!((stats.kept_beside, stats.bytes), (2 << 20, before.bytes + (2 << 20)));
    assert!(!first.resize(4 << 19) && first.bytes() == 3 << 19, "half of it at most");
    // What is sent has less room.
    let worker = index.enter(0).expect("a slot");
    index.set_capacity(worker, u32::MAX);
    let chains = prompts(&mut fastrand::Rng::with_seed(1), 3000, 200);
    let blocks = |index: &PrefixIndex| {
        chains.iter().for_each(|chain| index.sent(worker, chain));
        (index.stats().sent_blocks, index.stats().bytes)
    };
    let (little, bytes) = blocks(&index);
    assert!(bytes <= 4 << 20, "{bytes}");
    assert!(first.resize(0));
    drop(second);
    assert_eq!(index.stats().kept_beside, 0);
    let (more, _) = blocks(&index);
    assert!(more > little + little / 2, "{more} {little}");
    drop(index);
    assert!(!first.resize(1), "there is nothing that it is for");
}
