//! Spans on their way to whoever sends them.

use std::sync::Arc;

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use crate::metrics::DeliveryCounts;

/// Requests whose spans may wait; those of others are dropped and counted.
const QUEUE: usize = 2048;

/// The end of the queue that requests push to.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    queue: mpsc::Sender<Vec<SpanData>>,
    counts: Arc<DeliveryCounts>,
}

impl SpanQueue {
    /// A queue, and its other end.
    pub(crate) fn new(counts: Arc<DeliveryCounts>) -> (Self, mpsc::Receiver<Vec<SpanData>>) {
        let (queue, spans) = mpsc::channel(QUEUE);
        (Self { queue, counts }, spans)
    }

    /// The spans of one request. Never blocks.
    pub(crate) fn push(&self, spans: Vec<SpanData>) {
        let count = spans.len();
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped(count as u64);
        }
    }
}
