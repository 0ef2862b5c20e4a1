//! The prefix index of a fleet, and how its workers stand in it.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use crate::core::fleet_worker::FleetWorker;
use crate::prefix_index::{ColumnOrder, PrefixIndex};

/// Bounds of a fleet's prefix index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixIndexLimits {
    /// Bytes that it takes at most; 0 = there is no index. Default: 256 MiB.
    pub max_bytes: usize,
    /// Tokens that a block has at least, from which it follows how many blocks fit into a worker's cache as
    /// long as nothing is known of the prompts that are sent there. Default: 12, which is what blocks of 64
    /// bytes of text have where tokens are long.
    pub min_block_tokens: u32,
}

impl Default for PrefixIndexLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, min_block_tokens: 12 }
    }
}

/// A prefix index that is there while somebody wants it.
#[derive(Debug, Default)]
pub(crate) struct FleetPrefixes {
    limits: PrefixIndexLimits,
    index: ArcSwapOption<PrefixIndex>,
}

impl FleetPrefixes {
    pub(crate) fn new(limits: PrefixIndexLimits) -> Self {
        Self { limits, index: ArcSwapOption::empty() }
    }

    /// The index, if it runs. Must not be held across an await.
    #[inline]
    pub(crate) fn get(&self) -> Guard<Option<Arc<PrefixIndex>>> {
        self.index.load()
    }

    /// The same, to be kept.
    pub(crate) fn kept(&self) -> Option<Arc<PrefixIndex>> {
        self.index.load_full()
    }

    /// Makes the index, unless it must not be.
    pub(crate) fn start(&self) -> bool {
        let may_start = self.limits.max_bytes > 0;
        if may_start {
            self.index.store(Some(Arc::new(PrefixIndex::new(self.limits.max_bytes))));
        }
        may_start
    }

    /// Takes the index away from all but those who are at it.
    pub(crate) fn stop(&self) -> Option<Arc<PrefixIndex>> {
        self.index.swap(None)
    }

    /// Gives a new worker its place in the index, if there is one.
    pub(crate) fn enter(&self, worker: &FleetWorker) {
        let entered = self.get().as_ref().and_then(|index| index.enter(worker.number()));
        worker.set_indexed(entered);
        self.fit(worker);
    }

    /// Tells the index how much the worker can hold, if that is known.
    pub(crate) fn fit(&self, worker: &FleetWorker) {
        let tokens = worker.spec().engine.kv_capacity_tokens;
        if let (Some(index), Some(place), Some(tokens)) = (&*self.get(), worker.indexed(), tokens) {
            index.set_token_capacity(place, tokens, self.limits.min_block_tokens);
        }
    }
}

/// How workers stand in a column, whose order is that of a table.
pub(crate) fn column_order<'a>(workers: impl Iterator<Item = &'a FleetWorker>) -> ColumnOrder {
    let numbers: Vec<usize> = workers.map(FleetWorker::number).collect();
    if numbers.iter().enumerate().all(|(position, number)| position == *number) {
        return ColumnOrder::Same;
    }
    let mut positions = vec![u32::MAX; numbers.iter().max().map_or(0, |last| last + 1)];
    for (position, number) in (0..).zip(numbers) {
        if let Some(own) = positions.get_mut(number) {
            *own = position;
        }
    }
    ColumnOrder::Mapped(positions.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::candidate_workers::CandidateWorkers;
    use crate::core::engine_facts::EngineFacts;
    use crate::core::fleet::Fleet;
    use crate::core::table::WorkerTable;
    use crate::core::worker::{Worker, WorkerSpec};
    use sgl_policy_abi::Column;

    fn fleet(count: usize) -> Fleet {
        let fleet = Fleet::new();
        for i in 0..count {
            fleet.add(WorkerSpec::new(format!("http://w{i}")), true).unwrap();
        }
        fleet
    }

    fn matches(table: &WorkerTable, hashes: &[u64]) -> Vec<i32> {
        let mut bytes = vec![0; table.len() * Column::WIDTH];
        table.fill_prefix_match(hashes, 16.0, &mut bytes);
        let all: Vec<i32> = bytes.as_chunks().0.iter().map(|cell| i32::from_le_bytes(*cell)).collect();
        let one = |index| table.prefix_match(index, hashes, 16.0).unwrap_or(-1);
        assert!((0..table.len()).map(one).eq(all.iter().copied()));
        all
    }

    /// What each worker holds of a prompt, in the order of their URLs: those come and go, and stand in
    /// the table as their slots do.
    fn by_url(fleet: &Fleet) -> Vec<(String, i32)> {
        let table = fleet.table();
        let held = matches(&table, &[7, 8]);
        let mut all: Vec<_> =
            table.workers().iter().map(|worker| worker.url().to_owned()).zip(held).collect();
        all.sort();
        all
    }

    #[test]
    fn an_engine_finds_whole_blocks_of_its_own_alone() {
        let fleet = fleet(1);
        let coarse = EngineFacts { block_size: Some(48), ..EngineFacts::default() };
        fleet.add(WorkerSpec { engine: coarse, ..WorkerSpec::new("http://coarse") }, true).unwrap();
        fleet.start_prefix_index();
        let table = fleet.table();
        let prompt = [7, 8, 9, 10];
        [0, 1].into_iter().for_each(|index| table.sent(index, &prompt, None));
        assert_eq!(matches(&table, &prompt), [64, 48]);
        assert_eq!(matches(&table, &prompt[..2]), [32, 0]);
    }

    #[test]
    fn prefixes_are_known_once_the_index_is_started_and_go_with_their_worker() {
        let fleet = fleet(3);
        fleet.table().sent(1, &[7, 8], None);
        assert_eq!(matches(&fleet.table(), &[7, 8]), [-1, -1, -1]);
        fleet.start_prefix_index();
        let table = fleet.table();
        table.sent(1, &[7, 8], None);
        table.sent(2, &[7], None);
        assert_eq!(matches(&table, &[7, 8]), [0, 32, 16]);
        fleet.replace(WorkerSpec { weight: 2.0, ..WorkerSpec::new("http://w1") }).unwrap();
        assert_eq!(matches(&fleet.table(), &[7, 8]), [0, 32, 16], "other facts change nothing");
        fleet.remove("http://w0").unwrap();
        assert_eq!(matches(&fleet.table(), &[7, 8]), [32, 16], "workers are not where their slots are");
        fleet.add(WorkerSpec::new("http://other"), true).unwrap();
        fleet.remove("http://w1").unwrap();
        table.sent(1, &[7, 8], None);
        assert_eq!(by_url(&fleet), [("http://other".to_owned(), 0), ("http://w2".to_owned(), 16)]);
        fleet.add(WorkerSpec::new("http://w1"), true).unwrap();
        table.sent(1, &[7, 8], None);
        assert_eq!(by_url(&fleet)[1], ("http://w1".to_owned(), 0), "the one before says nothing of it");
        assert_eq!(by_url(&fleet)[2], ("http://w2".to_owned(), 16));
        let last = fleet.table().workers().iter().find(|worker| worker.url() == "http://w2").map(Arc::clone);
        fleet.forget_prefixes(&last.unwrap());
        assert_eq!(matches(&fleet.table(), &[7, 8]), [0, 0, 0]);
    }

    #[test]
    fn index_that_is_stopped_is_gone_and_the_next_one_begins_with_nothing() {
        let fleet = fleet(2);
        fleet.start_prefix_index();
        let table = fleet.table();
        table.sent(0, &[7, 8], None);
        let place = table.workers()[0].indexed().expect("it has one");
        let before = Arc::downgrade(&fleet.prefix_index().expect("it runs"));
        let replaced = fleet.replace(WorkerSpec::new("http://w0")).unwrap();
        drop(fleet.stop_prefix_index().expect("it ran"));
        assert_eq!((before.strong_count(), fleet.has_prefix_index()), (0, false));
        table.sent(0, &[7, 8], None);
        assert_eq!((matches(&table, &[7, 8]), replaced.indexed()), (vec![-1, -1], None));
        assert!(fleet.stop_prefix_index().is_none());
        fleet.start_prefix_index();
        assert_eq!(matches(&table, &[7, 8]), [0, 0]);
        let index = fleet.prefix_index().expect("it runs");
        assert_eq!(index.stored(place, None, &[7, 8]), None, "a place in another index");
        table.sent(1, &[7, 8], None);
        assert_eq!(matches(&fleet.table(), &[7, 8]), [0, 32]);
        assert_eq!(table.workers()[0].indexed(), replaced.indexed(), "those before it in its slot know, too");
    }

    #[test]
    fn worker_holds_as_much_as_its_engine_says() {
        let limits = PrefixIndexLimits { min_block_tokens: 16, ..PrefixIndexLimits::default() };
        let fleet = Fleet::with_prefix_index(limits);
        fleet.start_prefix_index();
        let tokens = |tokens: u32| WorkerSpec {
            engine: EngineFacts { kv_capacity_tokens: Some(tokens), ..EngineFacts::UNKNOWN },
            ..WorkerSpec::new("http://w0")
        };
        fleet.add(tokens(47), true).unwrap();
        fleet.table().sent(0, &[1, 2, 3, 4], None);
        assert_eq!(matches(&fleet.table(), &[1, 2, 3, 4]), [48]);
        fleet.replace(tokens(16)).unwrap();
        assert_eq!(matches(&fleet.table(), &[1, 2, 3, 4]), [16]);
    }

    #[test]
    fn worker_holds_as_many_blocks_as_tokens_fit_in_once_their_length_is_known() {
        let fleet = Fleet::new();
        fleet.start_prefix_index();
        let spec = |tokens: u32| WorkerSpec {
            engine: EngineFacts { kv_capacity_tokens: Some(tokens), ..EngineFacts::UNKNOWN },
            ..WorkerSpec::new("http://w0")
        };
        fleet.add(spec(48), true).unwrap();
        let chain = [1, 2, 3, 4, 5, 6];
        fleet.table().sent(0, &chain, None);
        assert_eq!(matches(&fleet.table(), &chain), [64], "12 tokens a block are assumed");
        fleet.table().sent(0, &chain, Some(16.0));
        assert_eq!(matches(&fleet.table(), &chain), [48]);
        fleet.replace(spec(80)).unwrap();
        fleet.table().sent(0, &chain, None);
        assert_eq!(matches(&fleet.table(), &chain), [80], "what was learnt stays");
        fleet.table().sent(0, &chain, Some(8.0));
        assert_eq!(matches(&fleet.table(), &chain), [96], "text that needs fewer tokens");
    }

    #[test]
    fn index_without_memory_is_off() {
        let fleet = Fleet::with_prefix_index(PrefixIndexLimits { max_bytes: 0, ..Default::default() });
        fleet.add(WorkerSpec::new("http://w0"), true).unwrap();
        fleet.start_prefix_index();
        fleet.table().sent(0, &[7], None);
        assert_eq!((matches(&fleet.table(), &[7]), fleet.prefix_index().is_none()), (vec![-1], true));
    }
}
