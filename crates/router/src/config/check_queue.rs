//! The check of what may wait.

use std::time::Duration;

use crate::config::checked::{DAY_SECS, QueueSettings};
use crate::config::queue_section::QueueSection;
use sglang_router_rs::config::Fault;

/// Most requests that can be let wait, or served at a time where there is a limit.
const MAX_REQUESTS: usize = 1_000_000;

/// Often enough for reports of engines, which come once a second, and seldom enough to cost nothing.
const STIR_INTERVAL: Duration = Duration::from_millis(250);

/// The settings; what is beyond its limits adds to `faults`.
pub(crate) fn check_queue(section: &QueueSection, faults: &mut Vec<Fault>) -> QueueSettings {
    let mut count = |key: &str, value: usize| {
        if value > MAX_REQUESTS {
            faults.push(Fault::value(key, value, format!("0 to {MAX_REQUESTS}")));
        }
        value
    };
    let most = count("queue.max_concurrent_requests", section.max_concurrent_requests);
    let size = count("queue.size", section.size);
    if !(1..=DAY_SECS).contains(&section.timeout_secs) {
        faults.push(Fault::value("queue.timeout_secs", section.timeout_secs, format!("1 to {DAY_SECS}")));
    }
    QueueSettings {
        max_concurrent: (most > 0).then_some(most),
        size,
        timeout: Duration::from_secs(section.timeout_secs),
        wait_for_workers: section.wait_for_workers,
        stir_interval: STIR_INTERVAL,
    }
}
