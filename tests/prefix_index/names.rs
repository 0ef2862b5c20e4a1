//! Blocks that workers report by names of their own.

use sglang_router_rs::prefix_index::PrefixIndex;

use crate::model::{NamingStyle, TOKENS, blocks, chain_of, compare};

#[test]
fn index_agrees_with_a_model_where_workers_have_names_for_blocks() {
    for seed in 0..2 {
        compare(seed, 5, 40, 3000, NamingStyle::Own);
        compare(100 + seed, 3, 700, 300, NamingStyle::Own);
    }
}

#[test]
fn index_agrees_with_a_model_where_names_change_and_are_given_twice() {
    for seed in 0..2 {
        compare(10 + seed, 4, 40, 3000, NamingStyle::Changing);
        compare(200 + seed, 3, 700, 300, NamingStyle::Changing);
    }
}

#[test]
fn index_agrees_with_a_model_of_many_workers_with_names() {
    compare(2000, 400, 40, 3000, NamingStyle::Own);
}

#[test]
fn names_keep_within_the_bound_of_the_index_and_what_was_told_last_stays() {
    let max_bytes = 4 << 20;
    let index = PrefixIndex::new(max_bytes);
    let ids: Vec<_> = (0..20).map(|slot| index.enter(slot).expect("a slot")).collect();
    let mut random = fastrand::Rng::with_seed(9);
    for round in 0..4000_usize {
        let longest = if round < 2000 { 600 } else { 12 };
        let len = random.usize(1..longest);
        let contents: Vec<u64> = (0..len).map(|_| random.u64(0..1000)).collect();
        let (chain, id) = (chain_of(&contents), ids[random.usize(0..ids.len())]);
        let names: Vec<u64> = chain.iter().map(|hash| hash.rotate_left(7)).collect();
        if round % 4 == 0 {
            index.sent(id, &chain);
        } else {
            assert!(index.stored_as(id, None, &chain, &names).is_some());
            assert!(index.reported(id, names[len - 1]).is_some(), "just told, in round {round}");
        }
        assert_eq!(index.matched(id, &chain, TOKENS), blocks(len), "just noted, in round {round}");
        let stats = index.stats();
        assert!(stats.bytes <= max_bytes, "{stats:?} in round {round}");
    }
    let stats = index.stats();
    assert!(stats.evicted_blocks > 100_000 && stats.refused_blocks == 0, "{stats:?}");
    ids.iter().for_each(|id| index.cleared(*id));
    assert_eq!(index.stats().reported_blocks, 0);
}

#[test]
fn names_of_reported_blocks_take_18_bytes_and_what_is_sent_as_little_as_without() {
    let bytes = |report: bool| {
        let index = PrefixIndex::new(64 << 20);
        for slot in 0..64 {
            let id = index.enter(slot).expect("a slot");
            for prompt in 0..64 {
                let chain = chain_of(&[slot as u64 + 1, prompt, 7].repeat(80));
                let names: Vec<u64> = chain.iter().map(|hash| hash.rotate_left(7)).collect();
                if report {
                    index.stored_as(id, None, &chain, &names);
                } else {
                    index.sent(id, &chain);
                }
            }
        }
        let stats = index.stats();
        assert_eq!(stats.sent_blocks + stats.reported_blocks, 64 * (64 * 239 + 1));
        stats.bytes
    };
    let (sent, reported) = (bytes(false), bytes(true));
    let more = (reported - sent) / (64 * 64 * 239);
    assert!((16..20).contains(&more), "{sent} {reported}: {more} bytes a block more");
}

#[test]
fn hashes_are_names_until_blocks_with_others_follow_them() {
    let index = PrefixIndex::new(1 << 20);
    let id = index.enter(0).expect("a slot");
    let chain = chain_of(&[1; 20]);
    let depth = |name: u64| index.reported(id, name).map(|block| block.depth);
    // Memory that was used before.
    index.stored_as(id, None, &chain_of(&[2; 24]), &(100..124).collect::<Vec<_>>());
    index.removed(id, &[100]);
    index.stored(id, None, &chain[..7]);
    assert_eq!(index.stored_as(id, Some(chain[6]), &chain[7..], &(7..20).collect::<Vec<_>>()), Some(0));
    assert_eq!(
        (depth(chain[0]), depth(chain[6]), depth(7), depth(19)),
        (Some(1), Some(7), Some(8), Some(20))
    );
    assert_eq!((depth(chain[7]), depth(100), depth(6)), (None, None, None));
    index.removed(id, &[chain[6]]);
    assert_eq!((index.matched(id, &chain, TOKENS), depth(7)), (blocks(6), None));
}

#[test]
fn blocks_that_come_and_go_take_no_more_memory_in_the_end() {
    let index = PrefixIndex::new(16 << 20);
    let id = index.enter(0).expect("a slot");
    let chain = chain_of(&[1; 250]);
    let names: Vec<u64> = (0..250).collect();
    let mut most = 0;
    for round in 0..2000 {
        index.stored_as(id, None, &chain, &names);
        // Now only the end goes, now all of it.
        let kept = round % 5 * 50;
        index.removed(id, &names[kept..]);
        assert_eq!(index.stats().reported_blocks, kept);
        if round < 100 {
            most = most.max(index.stats().bytes);
        } else {
            // Lists of what is free may grow a little.
            assert!(index.stats().bytes <= most + (128 << 10), "round {round}");
        }
    }
}
