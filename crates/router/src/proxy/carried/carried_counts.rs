//! What is counted of requests that another proxy carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Metrics, catalogue};

/// Counters of picks.
#[derive(Debug, Default)]
pub(crate) struct CarriedCounts {
    late: AtomicU64,
    cut: AtomicU64,
    moved: AtomicU64,
}

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

    /// Another worker served a request.
    pub(crate) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
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
