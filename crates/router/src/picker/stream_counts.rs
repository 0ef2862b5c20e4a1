//! What is counted of Envoy's streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{CounterSet, Metrics, catalogue};
use crate::picker::body_mode::BodyMode;

/// How far a stream came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// Nobody was picked: the client left, or the request was refused.
    Unpicked,
    /// A worker was picked, and nothing was seen of an answer.
    Picked,
    /// The head of an answer was seen.
    Answered,
    /// All of an answer was seen.
    Complete,
}

const ENDS: [(StreamEnd, &str); 4] = [
    (StreamEnd::Unpicked, "unpicked"),
    (StreamEnd::Picked, "picked"),
    (StreamEnd::Answered, "answered"),
    (StreamEnd::Complete, "complete"),
];

/// Counters of streams.
#[derive(Debug)]
pub(crate) struct StreamCounts {
    ended: CounterSet,
    open: AtomicU64,
}

/// A stream that counts as open until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream {
    counts: Arc<StreamCounts>,
    pub(crate) mode: BodyMode,
    pub(crate) end: StreamEnd,
}

impl StreamCounts {
    /// Counters that `metrics` shows.
    pub(crate) fn new(metrics: &Metrics) -> Arc<Self> {
        let ended = CounterSet::new(BodyMode::ALL.len() * ENDS.len());
        let counts = Arc::new(Self { ended, open: AtomicU64::new(0) });
        let own = Arc::clone(&counts);
        metrics.register(move |families| {
            families.family(&catalogue::PICKER_OPEN_STREAMS).gauge(&[], own.open());
            let family = families.family(&catalogue::PICKER_STREAMS);
            for (mode, mode_name) in BodyMode::ALL {
                for (end, end_name) in ENDS {
                    let total = own.ended.total(place(mode, end));
                    if total > 0 {
                        family.count(&[mode_name, end_name], total);
                    }
                }
            }
        });
        counts
    }

    /// A stream has begun.
    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        // Relaxed, as all of it: counters that order nothing.
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenStream { counts: Arc::clone(self), mode: BodyMode::default(), end: StreamEnd::Unpicked }
    }

    fn open(&self) -> f64 {
        f64::from(u32::try_from(self.open.load(Ordering::Relaxed)).unwrap_or(u32::MAX))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        self.counts.ended.increment(place(self.mode, self.end));
    }
}

fn place(mode: BodyMode, end: StreamEnd) -> usize {
    mode as usize * ENDS.len() + end as usize
}
