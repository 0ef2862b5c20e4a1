//! What is counted of requests that another proxy carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::{Metrics, catalogue};

/// Counters of picks.
#[derive(Debug, Default)]
pub(crate) struct CarriedCounts {
    late: AtomicU64,
    cut: AtomicU64,
    moved: AtomicU64,
    told: Mutex<Option<Instant>>,
}

/// The log says at most once in so long that requests are moved.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

impl CarriedCounts {
    /// The policy was too late.
    pub(crate) fn late(&self) {
        // Relaxed, as all of it: counters that order nothing.
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// A body was not whole when it was looked at.
    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Another worker served a request than the one picked.
    pub(crate) fn moved(&self, picked: &str, served: &str) {
        let moved = self.moved.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let mut told = self.told.lock();
        if told.is_some_and(|told| now.duration_since(told) < TELL_INTERVAL) {
            return;
        }
        *told = Some(now);
        tracing::warn!(
            picked,
            served,
            moved,
            "another worker served a request than the one picked: by a retry, or because Envoy's cluster does not \
             have the picked one; its endpoints must be the picker's workers"
        );
    }

    /// Has everything shown by `metrics`.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        let own = Arc::clone(self);
        metrics.register(move |families| {
            for (metric, count) in [
                (&catalogue::PICKER_LATE_PICKS, &own.late),
                (&catalogue::PICKER_CUT_PROMPTS, &own.cut),
                (&catalogue::PICKER_MOVED_REQUESTS, &own.moved),
            ] {
                families.family(metric).count(&[], count.load(Ordering::Relaxed));
            }
        });
    }
}
