//! What a router is and does, in one answer: for the operators' page, `sgl-router status` and
//! `sgl-router top`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy_view::PolicyTrialView;
use sglang_router_rs::policies::StandIn;

/// What a router is and does. Counts are of the time since it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RouterStatus {
    /// Its version.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// False once it was told to stop.
    pub ready: bool,
    /// Why `/readiness` says that it is not ready; left out where it says that it is. A router before this field
    /// tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// True if the operators' listener asks for a token.
    pub asks_token: bool,
    /// True if decisions are recorded, of some requests at least.
    pub records_decisions: bool,
    /// The policy that places requests.
    pub policy: String,
    /// True if that is a plugin: `GET /v1/plugins/{name}` tells of it.
    pub policy_is_plugin: bool,
    /// What decides in its place, while it is a plugin that was paused or whose breaker is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_stand_in: Option<StandIn>,
    /// The policy of the configuration; an operator may have chosen another one. A router before this field
    /// tells none.
    #[serde(default)]
    pub configured_policy: String,
    /// The policy that has a share of the decisions on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_trial: Option<PolicyTrialView>,
    /// How many workers there are.
    pub workers: WorkerCounts,
    /// What became of requests.
    pub requests: RequestCounts,
    /// How many requests the router answered with an error of its own, by its code. A router before this field
    /// tells none.
    #[serde(default)]
    pub own_errors: BTreeMap<String, u64>,
    /// Times to the first byte of an answer's body.
    pub first_byte: LatencyView,
    /// Times to the last byte of an answer.
    pub duration: LatencyView,
    /// Times of the plugin's decisions, of which one in sixteen is measured; null where the policy is none.
    pub decision: Option<LatencyView>,
}

/// How many workers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerCounts {
    /// All, a rank that is a candidate of its own counted as one.
    pub all: usize,
    /// Those that policies may choose.
    pub healthy: usize,
    /// Those that get no new requests.
    pub draining: usize,
    /// Those that said a moment ago that they are full. A router before this field tells none.
    #[serde(default)]
    pub full: usize,
    /// Requests in flight to all of them.
    pub in_flight: usize,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RequestCounts {
    /// Answers with a status of 200 to 299.
    pub succeeded: u64,
    /// Answers with a status of 400 to 499.
    pub client_errors: u64,
    /// Answers with a status of 500 to 599.
    pub server_errors: u64,
    /// Clients that hung up before their answer was complete.
    pub disconnects: u64,
    /// Answers that broke off after their head.
    pub broken: u64,
    /// Requests tried again on another worker.
    pub retries: u64,
    /// Requests that got no worker.
    pub unplaced: u64,
    /// Requests that wait in the router now.
    pub waiting: usize,
}

/// A histogram of times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LatencyView {
    /// Upper bounds in seconds, ascending.
    pub bounds_secs: Vec<f64>,
    /// How many times are up to each bound and above the one before; one number more than there are bounds,
    /// for what is above them all.
    pub counts: Vec<u64>,
    /// All times together, in seconds.
    pub sum_secs: f64,
}

impl LatencyView {
    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that a share of all times does not exceed, in seconds, taken to be spread evenly within the
    /// bounds that it falls between; the last bound for what is above it. None if there are no times.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let (rank, number) = (share * total as f64, |count: u64| count as f64);
        let (mut below, mut from) = (0.0, 0.0);
        for (bound, count) in self.bounds_secs.iter().zip(&self.counts) {
            let within = number(*count);
            if within > 0.0 && below + within >= rank {
                return Some(from + (bound - from) * ((rank - below) / within).clamp(0.0, 1.0));
            }
            (below, from) = (below + within, *bound);
        }
        self.bounds_secs.last().copied()
    }

    /// What came since an earlier look; everything if that was of another router.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grew = |(now, then): (&u64, &u64)| now.checked_sub(*then);
        let counts: Option<Vec<u64>> = self.counts.iter().zip(&earlier.counts).map(grew).collect();
        match counts {
            Some(counts) if self.bounds_secs == earlier.bounds_secs => Self {
                counts,
                sum_secs: self.sum_secs - earlier.sum_secs,
                bounds_secs: self.bounds_secs.clone(),
            },
            _ => self.clone(),
        }
    }
}

/// What happened last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventList {
    /// The newest first.
    pub events: Vec<EventView>,
}

/// A line of the router's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventView {
    /// Milliseconds since 1970, UTC.
    pub at_unix_ms: u64,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// What happened.
    pub what: String,
    /// What it happened to, as `name=value`.
    pub about: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(counts: [u64; 3]) -> LatencyView {
        LatencyView { bounds_secs: vec![0.1, 0.3], counts: counts.to_vec(), sum_secs: 1.0 }
    }

    #[test]
    fn quantile_lies_within_the_bounds_that_it_falls_between() {
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
        assert_eq!(times([0, 0, 0]).quantile(0.5), None);
        assert!(close(times([10, 0, 0]).quantile(0.5), 0.05));
        assert!(close(times([5, 5, 0]).quantile(0.75), 0.2));
        // Above all bounds nothing is known but that.
        assert!(close(times([0, 1, 9]).quantile(0.99), 0.3));
        // A bound without times is passed over.
        assert!(close(times([0, 4, 0]).quantile(0.0), 0.1));
    }

    #[test]
    fn growth_is_told_and_a_router_that_began_anew_is_taken_whole() {
        assert_eq!(times([3, 4, 5]).since(&times([1, 4, 0])).counts, [2, 0, 5]);
        assert_eq!(times([3, 4, 5]).since(&times([4, 0, 0])), times([3, 4, 5]));
    }
}
