//! What became of what was handed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Metric, Metrics};

/// Counts of things that go through a bounded queue to whoever delivers them.
#[derive(Debug, Default)]
pub(crate) struct DeliveryCounts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl DeliveryCounts {
    /// So many arrived.
    pub(crate) fn delivered(&self, count: u64) {
        // Relaxed: a counter, here and below.
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// So many found no room in the queue.
    pub(crate) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// So many could not be delivered.
    pub(crate) fn failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// Registers a metric with one label: `delivered` is its value for those that arrived.
    pub(crate) fn register(
        self: &Arc<Self>,
        metrics: &Metrics,
        metric: &'static Metric,
        delivered: &'static str,
    ) {
        let counts = Arc::clone(self);
        metrics.register(move |families| {
            let family = families.family(metric);
            let all =
                [(delivered, &counts.delivered), ("dropped", &counts.dropped), ("failed", &counts.failed)];
            for (name, count) in all {
                family.count(&[name], count.load(Ordering::Relaxed));
            }
        });
    }
}
