//! What is counted of waiting.

use std::time::Duration;

use crate::metrics::{CounterSet, DurationHistogram, Families, catalogue};
use crate::proxy::queue::wait_end::WaitEnd;
use sgl_api::WaitsFor;

/// How often requests waited for what, how it ended and how long it took.
#[derive(Debug)]
pub(crate) struct WaitCounts {
    ends: CounterSet,
    times: [DurationHistogram; WaitsFor::ALL.len()],
}

impl Default for WaitCounts {
    fn default() -> Self {
        Self {
            ends: CounterSet::new(WaitsFor::ALL.len() * WaitEnd::ALL.len()),
            times: std::array::from_fn(|_| DurationHistogram::new(DurationHistogram::REQUEST_BOUNDS)),
        }
    }
}

impl WaitCounts {
    /// A request has waited so long.
    pub(crate) fn ended(&self, waits_for: WaitsFor, end: WaitEnd, after: Duration) {
        self.ends.increment(place(waits_for, end));
        if let Some(times) = self.times.get(waits_for as usize) {
            times.observe(after);
        }
    }

    /// A request was not let wait.
    pub(crate) fn refused(&self, waits_for: WaitsFor) {
        self.ends.increment(place(waits_for, WaitEnd::Refused));
    }

    /// Tells the metrics what has happened at least once.
    pub(crate) fn tell(&self, families: &mut Families) {
        let ends = families.family(&catalogue::QUEUE_WAITS);
        for waits_for in WaitsFor::ALL {
            for (end, how) in WaitEnd::ALL {
                let total = self.ends.total(place(waits_for, end));
                if total > 0 {
                    ends.count(&[waits_for.as_str(), how], total);
                }
            }
        }
        let times = families.family(&catalogue::QUEUE_WAIT_TIME);
        for (waits_for, histogram) in WaitsFor::ALL.iter().zip(&self.times) {
            let snapshot = histogram.snapshot();
            if snapshot.count > 0 {
                times.histogram(&[waits_for.as_str()], snapshot);
            }
        }
    }
}

fn place(waits_for: WaitsFor, end: WaitEnd) -> usize {
    waits_for as usize * WaitEnd::ALL.len() + end as usize
}
