//! Spans on their way to whoever sends them, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use crate::metrics::{Metrics, catalogue};

/// Requests whose spans may wait; those of others are dropped and counted.
const QUEUE: usize = 2048;

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl SpanCounts {
    /// The collector took so many.
    pub(crate) fn sent(&self, spans: usize) {
        // Relaxed: a counter, here and below.
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// The collector did not take so many.
    pub(crate) fn failed(&self, spans: usize) {
        self.failed.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Registers metrics of them.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        let counts = Arc::clone(self);
        metrics.register(move |families| {
            let spans = families.family(&catalogue::TRACE_SPANS);
            let all = [("sent", &counts.sent), ("dropped", &counts.dropped), ("failed", &counts.failed)];
            for (name, count) in all {
                spans.count(&[name], count.load(Ordering::Relaxed));
            }
        });
    }
}

/// The end of the queue that requests push to.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    queue: mpsc::Sender<Vec<SpanData>>,
    counts: Arc<SpanCounts>,
}

impl SpanQueue {
    /// A queue, and its other end.
    pub(crate) fn new(counts: Arc<SpanCounts>) -> (Self, mpsc::Receiver<Vec<SpanData>>) {
        let (queue, spans) = mpsc::channel(QUEUE);
        (Self { queue, counts }, spans)
    }

    /// The spans of one request. Never blocks.
    pub(crate) fn push(&self, spans: Vec<SpanData>) {
        let count = spans.len();
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
