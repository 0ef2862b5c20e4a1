//! The data-parallel ranks of a worker: each is an engine of its own behind the one address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sim::accelerator::Accelerator;
use crate::sim::config::SimConfig;
use crate::sim::control::Control;
use crate::sim::counters::Changes;
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::kv_sockets::KvSockets;

/// All ranks, at least one.
#[derive(Debug)]
pub(crate) struct Ranks {
    first: Arc<Accelerator>,
    others: Vec<Arc<Accelerator>>,
    pub(crate) sockets: Option<KvSockets>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) control: Arc<Control>,
    /// Requests that named no rank.
    turn: AtomicUsize,
}

impl Ranks {
    /// Idle ranks. `config` has been checked.
    pub(crate) fn new(config: &SimConfig, sockets: Option<KvSockets>) -> Self {
        let changes: Arc<Changes> = Arc::default();
        let control = Arc::new(Control::new(config.fail_rate));
        let rank = |rank: usize| {
            let feed = sockets.as_ref().and_then(|sockets| sockets.feeds.get(rank)).cloned();
            let (changes, control) = (Arc::clone(&changes), Arc::clone(&control));
            Arc::new(Accelerator::of_rank(config.clone(), rank as u64, changes, control, feed))
        };
        let (first, others) = (rank(0), (1..config.dp_size).map(rank).collect());
        Self { first, others, sockets, changes, control, turn: AtomicUsize::new(0) }
    }

    pub(crate) fn first(&self) -> &Arc<Accelerator> {
        &self.first
    }

    pub(crate) fn config(&self) -> &SimConfig {
        self.first.config()
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Accelerator>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The rank that a request names, or the next in turn.
    ///
    /// # Errors
    /// There is no such rank.
    pub(crate) fn pick(&self, named: Option<u32>) -> Result<&Arc<Accelerator>, ApiError> {
        let count = 1 + self.others.len();
        let at = match named {
            Some(rank) => usize::try_from(rank).unwrap_or(usize::MAX),
            None if count == 1 => 0,
            // Relaxed: turns only have to differ.
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        self.iter().nth(at).ok_or_else(|| {
            if self.config().engine == Some(Dialect::Vllm) {
                let message = format!("data_parallel_rank {at} is out of range [0, {count}).");
                return ApiError::parameter("data_parallel_rank", message);
            }
            ApiError::parameter("routed_dp_rank", format!("routed_dp_rank={at} out of range [0, {count})"))
        })
    }

    /// The sum over all ranks.
    pub(crate) fn sum<N: std::iter::Sum>(&self, of: impl Fn(&Accelerator) -> N) -> N {
        self.iter().map(|rank| of(rank)).sum()
    }
}
