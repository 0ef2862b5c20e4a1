//! Thirty days of conversations in a loop: what the index of prefixes takes must not grow with their number,
//! nor with that of workers that come and go.

use std::collections::{HashSet, VecDeque};

use sgl_testkit::fleets::fleet;
use sglang_router_rs::core::{EngineFacts, Fleet, WorkerSpec};
use sglang_router_rs::prefix_index::PrefixIndexStats;

const DAYS: u64 = 30;

/// Requests of a day.
const REQUESTS: u64 = 1200;

/// Requests after which a worker leaves for good, and another comes.
const STAY: u64 = 100;

const WORKERS: u64 = 8;

/// Blocks of a prompt in a first turn, and more of each further one.
const FIRST: u64 = 12;
const MORE: u64 = 6;

/// Blocks that an engine has room for: those of a twentieth of a day.
const ENGINE_BLOCKS: usize = 200;

/// An engine that publishes which blocks it keeps, and evicts the oldest one first.
#[derive(Default)]
struct Engine {
    order: VecDeque<u64>,
    kept: HashSet<u64>,
}

impl Engine {
    /// Where the blocks that it has not kept begin, and the blocks that it evicts for them.
    fn serve(&mut self, chain: &[u64]) -> (usize, Vec<u64>) {
        let known = chain.iter().take_while(|hash| self.kept.contains(hash)).count();
        let fresh = chain[known..].iter().filter(|hash| self.kept.insert(**hash));
        self.order.extend(fresh);
        let excess = self.order.len().saturating_sub(ENGINE_BLOCKS);
        let gone: Vec<u64> = self.order.drain(..excess).collect();
        self.kept.retain(|hash| !gone.contains(hash));
        (known, gone)
    }
}

fn spec(number: u64) -> WorkerSpec {
    let kv_capacity_tokens = u32::try_from(ENGINE_BLOCKS * 16).ok();
    WorkerSpec {
        engine: EngineFacts { kv_capacity_tokens, ..EngineFacts::UNKNOWN },
        ..WorkerSpec::new(format!("http://w{number}"))
    }
}

/// The hashes of a turn of a conversation. All begin with the same system prompt.
fn chain(conversation: u64, turn: u64) -> Vec<u64> {
    let own = (4..FIRST + MORE * turn).map(|block| (conversation + 1) << 16 | block);
    (1..4).chain(own).collect()
}

/// One request: sent to a worker that goes by its conversation, which publishes what it does.
fn serve(workers: &Fleet, engines: &mut [Engine], number: u64) {
    let (conversation, turn) = (number / 5, number % 5);
    let chain = chain(conversation, turn);
    let index = workers.prefix_index().expect("it was started");
    let at = usize::try_from(conversation % WORKERS).expect("small");
    let table = workers.table();
    table.sent(at, &chain, Some(if conversation.is_multiple_of(2) { 16.0 } else { 13.0 }));
    let place = table.workers()[at].indexed().expect("it has one");
    let (known, gone) = engines[at].serve(&chain);
    index.stored(place, known.checked_sub(1).map(|before| chain[before]), &chain[known..]);
    index.removed(place, &gone);
}

fn month() -> Vec<PrefixIndexStats> {
    let workers = fleet(0);
    (0..WORKERS).for_each(|number| drop(workers.add(spec(number), true).expect("a new URL")));
    workers.start_prefix_index();
    let mut engines: Vec<Engine> = (0..WORKERS).map(|_| Engine::default()).collect();
    let mut told = Vec::new();
    for number in 0..DAYS * REQUESTS {
        serve(&workers, &mut engines, number);
        if number % STAY == STAY - 1 {
            let nth = number / STAY;
            workers.remove(&format!("http://w{nth}")).expect("it is there");
            workers.add(spec(WORKERS + nth), true).expect("a new URL");
            // The new one has the place of the one that left.
            engines[usize::try_from(nth % WORKERS).expect("small")] = Engine::default();
        }
        if number % REQUESTS == REQUESTS - 1 {
            told.push(workers.prefix_index().expect("it runs").stats());
        }
    }
    told
}

#[test]
fn index_takes_no_more_after_a_month_than_after_some_days() {
    let told = month();
    let settled = told[2].bytes;
    let most = usize::try_from(WORKERS).expect("small") * ENGINE_BLOCKS * 16 / 13 + 8;
    for (stats, day) in told.iter().zip(1..) {
        assert_eq!((stats.refused_blocks, stats.kept_beside), (0, 0), "day {day}");
        assert!(stats.sent_blocks <= most && stats.reported_blocks <= most, "day {day}: {stats:?}");
        assert!(day < 3 || stats.bytes <= settled + settled / 8, "day {day}: {stats:?}, {settled} before");
    }
    let last = told[told.len() - 1];
    assert!(last.sent_blocks > most / 4 && last.reported_blocks > most / 4, "{last:?}");
    assert!(last.evicted_blocks > 100_000, "{last:?}");
}
