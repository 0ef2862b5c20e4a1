//! What befalls workers while a simulation runs.

use serde::{Deserialize, Serialize};

/// What befalls a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerEventKind {
    /// It has another speed, `speed`.
    Slow,
    /// It dies: what it did is cut off, what it knew is lost, and it takes no connections. After `secs` it
    /// is there again.
    Crash,
    /// It stands still: it takes requests and does nothing. After `secs`, which it needs, it goes on.
    Hang,
    /// It answers the share `share` of the requests that come with an error (500).
    Fail,
    /// It is taken out of the fleet; what it does it ends.
    Leave,
    /// It is added to the fleet, with an empty cache. A worker whose first event this is is not there before.
    Join,
}

/// One event, as a TOML file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerEvent {
    /// Seconds from the beginning of the run, whatever the load.
    pub at: f64,
    /// The numbers of the workers, from 0.
    pub workers: Vec<u32>,
    /// What befalls them.
    pub what: WorkerEventKind,
    /// How long it lasts; without it for good. Not for `leave` and `join`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secs: Option<f64>,
    /// For `slow`: 0.5 takes twice as long for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// For `fail`: the share of requests, 0 to 1. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// A file of events.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerEvents {
    /// In any order.
    #[serde(default)]
    pub events: Vec<WorkerEvent>,
}

impl WorkerEvent {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let is_time = |time: f64| (0.0..=1e9).contains(&time);
        // Reports and checks go on while a request waits for a worker that stands still.
        let is_span = |secs: f64| secs > 0.0 && secs <= 1e6;
        let is_slow = self.what == WorkerEventKind::Slow;
        let stays = matches!(self.what, WorkerEventKind::Leave | WorkerEventKind::Join);
        if !is_time(self.at) {
            Some("at: allowed: 0 to 1000000000 seconds")
        } else if self.workers.is_empty() {
            Some("workers: allowed: a list of numbers, from 0")
        } else if self.secs.is_some_and(|secs| !is_span(secs) || stays) {
            Some("secs: allowed: above 0, up to 1000000, and not for `leave` and `join`")
        } else if self.what == WorkerEventKind::Hang && self.secs.is_none() {
            Some("secs: needed for `hang`")
        } else if is_slow != self.speed.is_some_and(|speed| (0.001..=1000.0).contains(&speed)) {
            Some("speed: allowed: 0.001 to 1000, for `slow` and only for it")
        } else if self
            .share
            .is_some_and(|share| self.what != WorkerEventKind::Fail || !(0.0..=1.0).contains(&share))
        {
            Some("share: allowed: 0 to 1, only for `fail`")
        } else {
            None
        }
    }
}
