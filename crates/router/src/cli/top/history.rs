//! The looks at a router so far, and what happened between them.

use std::collections::VecDeque;
use std::time::Instant;

use sgl_api::{EventView, LatencyView, RouterStatus, WorkerView};

/// Looks that are kept: five minutes of them at one a second.
const KEPT: usize = 300;

/// Looks over which rates and quantiles are taken.
const WINDOW: usize = 10;

/// What a router told at one moment.
#[derive(Clone, Debug)]
pub(crate) struct RouterLook {
    pub at: Instant,
    pub status: RouterStatus,
    pub workers: Vec<WorkerView>,
    pub events: Vec<EventView>,
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Interval {
    /// Answers a second.
    pub rate: f64,
    /// Answers with 5xx and answers that broke off, a second.
    pub failed: f64,
    /// Times to the first byte, in seconds: median and 99 %.
    pub first_byte: [Option<f64>; 2],
    /// Times of a plugin's decision, in seconds: median and 99 %.
    pub decision: [Option<f64>; 2],
}

/// The looks so far; there is one at least.
#[derive(Debug)]
pub(crate) struct History {
    earlier: VecDeque<RouterLook>,
    now: RouterLook,
}

impl History {
    pub(crate) fn new(first: RouterLook) -> Self {
        Self { earlier: VecDeque::new(), now: first }
    }

    /// A router that began anew counts from zero: what was before it is forgotten.
    pub(crate) fn push(&mut self, look: RouterLook) {
        let is_another = look.status.uptime_ms < self.now.status.uptime_ms;
        let last = std::mem::replace(&mut self.now, look);
        if is_another {
            self.earlier.clear();
            return;
        }
        if self.earlier.len() >= KEPT {
            self.earlier.pop_front();
        }
        self.earlier.push_back(last);
    }

    /// The newest look.
    pub(crate) fn now(&self) -> &RouterLook {
        &self.now
    }

    /// The look a few before the newest.
    fn then(&self) -> &RouterLook {
        let place = self.earlier.len().saturating_sub(WINDOW);
        self.earlier.get(place).unwrap_or(&self.now)
    }

    /// What happened of late.
    pub(crate) fn lately(&self) -> Interval {
        between(self.then(), &self.now)
    }

    /// What happened from each look to the next, the oldest first.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Interval> {
        let next = self.earlier.iter().skip(1).chain(std::iter::once(&self.now));
        self.earlier.iter().zip(next).map(|(then, now)| between(then, now))
    }

    /// The share of the requests that a worker answered of late, 0 to 1; none while there are none.
    pub(crate) fn share(&self, url: &str) -> Option<f64> {
        let total = |look: &RouterLook| look.workers.iter().map(answered).sum::<u64>();
        let one =
            |look: &RouterLook| look.workers.iter().find(|worker| worker.url == url).map_or(0, answered);
        let (all, mine) = (
            total(&self.now).saturating_sub(total(self.then())),
            one(&self.now).saturating_sub(one(self.then())),
        );
        (all > 0).then(|| number(mine) / number(all))
    }
}

fn answered(worker: &WorkerView) -> u64 {
    worker.succeeded + worker.failed
}

fn between(then: &RouterLook, now: &RouterLook) -> Interval {
    let seconds = now.at.saturating_duration_since(then.at).as_secs_f64();
    if seconds <= 0.0 {
        return Interval::default();
    }
    let answers = |look: &RouterLook| {
        let requests = look.status.requests;
        requests.succeeded + requests.client_errors + requests.server_errors
    };
    let failures = |look: &RouterLook| look.status.requests.server_errors + look.status.requests.broken;
    let rate = |of: &dyn Fn(&RouterLook) -> u64| number(of(now).saturating_sub(of(then))) / seconds;
    let times = |then: Option<&LatencyView>, now: Option<&LatencyView>| {
        let grown = now.map(|now| then.map_or_else(|| now.clone(), |then| now.since(then)));
        [0.5, 0.99].map(|share| grown.as_ref().and_then(|times| times.quantile(share)))
    };
    Interval {
        rate: rate(&answers),
        failed: rate(&failures),
        first_byte: times(Some(&then.status.first_byte), Some(&now.status.first_byte)),
        decision: times(then.status.decision.as_ref(), now.status.decision.as_ref()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests, for people")]
fn number(count: u64) -> f64 {
    count as f64
}

/// A router that has answered so many requests after so many seconds.
#[cfg(test)]
pub(crate) fn look(secs: u64, succeeded: u64) -> RouterLook {
    let times = |count| LatencyView { bounds_secs: vec![0.1, 1.0], counts: vec![count, 0, 0], sum_secs: 0.0 };
    let requests = sgl_api::RequestCounts {
        succeeded,
        client_errors: 0,
        server_errors: 0,
        disconnects: 0,
        broken: 0,
        retries: 0,
        unplaced: 0,
        waiting: 3,
    };
    // Any moment will do; that of the process's start cannot be had.
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    RouterLook {
        at: *START.get_or_init(Instant::now) + std::time::Duration::from_secs(secs),
        status: RouterStatus {
            configured_policy: String::new(),
            policy_trial: None,
            version: "1.2.3".to_owned(),
            uptime_ms: secs * 1000,
            ready: true,
            unready: None,
            asks_token: false,
            records_decisions: false,
            policy: "least_load".to_owned(),
            policy_is_plugin: false,
            policy_stand_in: None,
            workers: sgl_api::WorkerCounts { all: 2, healthy: 1, draining: 1, full: 0, in_flight: 5 },
            requests,
            own_errors: std::collections::BTreeMap::new(),
            first_byte: times(succeeded),
            duration: times(succeeded),
            decision: None,
        },
        workers: Vec::new(),
        events: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_happened_between_looks() {
        let mut history = History::new(look(1, 100));
        assert_eq!(history.lately(), Interval::default());
        history.push(look(3, 140));
        let step = history.lately();
        assert!((step.rate - 20.0).abs() < 1e-9, "{step:?}");
        assert!((step.first_byte[0].unwrap() - 0.05).abs() < 1e-9, "{step:?}");
        assert_eq!(history.steps().count(), 1);
    }

    #[test]
    fn router_that_began_anew_is_looked_at_anew() {
        let mut history = History::new(look(50, 1000));
        history.push(look(51, 1010));
        history.push(look(1, 5));
        assert_eq!(history.steps().count(), 0);
        assert_eq!(history.lately(), Interval::default());
    }

    #[test]
    fn looks_that_are_kept_are_bounded() {
        let mut history = History::new(look(0, 0));
        (1..1000).for_each(|second| history.push(look(second, second)));
        assert_eq!(history.steps().count(), KEPT);
    }
}
