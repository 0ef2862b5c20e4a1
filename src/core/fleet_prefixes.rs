//! The prefix index of a fleet, and how its workers stand in it.

use std::sync::OnceLock;

use crate::core::fleet_worker::FleetWorker;
use crate::prefix_index::{ColumnOrder, PrefixIndex};

/// Bounds of a fleet's prefix index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixIndexLimits {
    /// Bytes that it takes at most; 0 = there is no index. Default: 256 MiB.
    pub max_bytes: usize,
    /// Tokens that a block has at least, from which it follows how many blocks fit into a worker's cache.
    /// Default: 12, which is what blocks of 64 bytes of text have where tokens are long.
    pub min_block_tokens: u32,
}

impl Default for PrefixIndexLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, min_block_tokens: 12 }
    }
}

/// A prefix index that is made when somebody wants it.
#[derive(Debug, Default)]
pub(crate) struct FleetPrefixes {
    limits: PrefixIndexLimits,
    index: OnceLock<PrefixIndex>,
}

impl FleetPrefixes {
    pub(crate) fn new(limits: PrefixIndexLimits) -> Self {
        Self { limits, index: OnceLock::new() }
    }

    /// The index, if it was made.
    #[inline]
    pub(crate) fn get(&self) -> Option<&PrefixIndex> {
        self.index.get()
    }

    /// Makes the index, unless it is there or must not be.
    pub(crate) fn start(&self) -> Option<&PrefixIndex> {
        let is_wanted = self.limits.max_bytes > 0;
        is_wanted.then(|| self.index.get_or_init(|| PrefixIndex::new(self.limits.max_bytes)))
    }

    /// Gives a new worker its place in the index, if there is one.
    pub(crate) fn enter(&self, worker: &FleetWorker) {
        let entered = self.get().and_then(|index| index.enter(worker.number()));
        if let Some(place) = entered {
            worker.set_indexed(place);
            self.fit(worker);
        }
    }

    /// Tells the index how much the worker can hold, if that is known.
    pub(crate) fn fit(&self, worker: &FleetWorker) {
        let tokens = worker.spec().engine.kv_capacity_tokens;
        if let (Some(index), Some(place), Some(tokens)) = (self.get(), worker.indexed(), tokens) {
            index.set_capacity(place, tokens.div_ceil(self.limits.min_block_tokens.max(1)).max(1));
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
