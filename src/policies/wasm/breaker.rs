//! Takes a plugin that keeps failing out of the path, and probes whether it is well again.
//!
//! ```text
//!  closed ── failures in a row ──► open ── pause over ──► one probe
//!    ▲                              ▲                        │
//!    └───────── it succeeds ────────┼────────────────────────┤
//!                                   └── it fails: pause × 2 ─┘
//! ```

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::plugin::BreakerOptions;

/// Longest time that a probe may take before another may start, should its caller vanish.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The breaker of one plugin.
///
/// # Concurrency
///
/// While all is well a decision reads `open` and `failures`, which nobody writes. The lock is
/// taken only after a failure, or while the breaker is open.
#[derive(Debug)]
pub(crate) struct Breaker {
    open: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    options: BreakerOptions,
    pause: Duration,
    next_probe: Option<Instant>,
}

/// Whether a decision may be asked of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Closed,
    /// It may, and the breaker depends on what comes of it.
    Probe,
    /// It may not.
    Refused,
}

impl Breaker {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        let state = State { options, pause: Duration::from_millis(options.backoff_ms), next_probe: None };
        Self { open: AtomicBool::new(false), failures: AtomicU32::new(0), state: Mutex::new(state) }
    }

    /// True while the plugin is out of the path.
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: a decision more or less on either side of the change is fine.
        self.open.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn admit(&self) -> Admission {
        if self.is_open() { self.admit_open(Instant::now()) } else { Admission::Closed }
    }

    #[cold]
    fn admit_open(&self, now: Instant) -> Admission {
        let mut state = self.state.lock();
        match state.next_probe {
            Some(due) if now >= due => {
                state.next_probe = Some(now + PROBE_TIMEOUT);
                Admission::Probe
            }
            _ => Admission::Refused,
        }
    }

    #[inline]
    pub(crate) fn succeed(&self, admission: Admission) {
        if admission == Admission::Probe || self.failures.load(Ordering::Relaxed) > 0 {
            self.recover(admission);
        }
    }

    #[cold]
    fn recover(&self, admission: Admission) {
        // A success that began before the breaker opened does not close it: only a probe does.
        if admission == Admission::Closed && self.is_open() {
            return;
        }
        let mut state = self.state.lock();
        state.pause = Duration::from_millis(state.options.backoff_ms);
        state.next_probe = None;
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    /// Counts a failure; true if it opened the breaker.
    #[cold]
    pub(crate) fn fail(&self, admission: Admission) -> bool {
        self.fail_at(admission, Instant::now())
    }

    fn fail_at(&self, admission: Admission, now: Instant) -> bool {
        let mut state = self.state.lock();
        if admission == Admission::Probe {
            let longest = Duration::from_millis(state.options.max_backoff_ms);
            state.pause = (state.pause * 2).min(longest);
            state.next_probe = Some(now + state.pause);
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = state.options.failures;
        if limit == 0 || failures < limit || self.is_open() {
            return false;
        }
        state.next_probe = Some(now + state.pause);
        self.open.store(true, Ordering::Relaxed);
        true
    }

    /// A new generation starts with a clean slate, and with its own options.
    pub(crate) fn reset(&self, options: BreakerOptions) {
        let mut state = self.state.lock();
        *state = State { options, pause: Duration::from_millis(options.backoff_ms), next_probe: None };
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions { failures: 3, backoff_ms: 100, max_backoff_ms: 250 };

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new(OPTIONS);
        assert!(!breaker.fail_at(Admission::Closed, now));
        assert!(!breaker.fail_at(Admission::Closed, now));
        assert!(breaker.fail_at(Admission::Closed, now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let breaker = Breaker::new(OPTIONS);
        breaker.fail_at(Admission::Closed, now);
        breaker.fail_at(Admission::Closed, now);
        breaker.succeed(Admission::Closed);
        breaker.fail_at(Admission::Closed, now);
        assert!(!breaker.is_open());
        assert!(opened(now).is_open());
    }

    #[test]
    fn one_probe_at_a_time_after_the_pause() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.admit_open(now + Duration::from_millis(99)), Admission::Refused);
        assert_eq!(breaker.admit_open(now + Duration::from_millis(100)), Admission::Probe);
        assert_eq!(breaker.admit_open(now + Duration::from_millis(101)), Admission::Refused);
        breaker.succeed(Admission::Probe);
        assert!(!breaker.is_open());
    }

    #[test]
    fn pause_doubles_up_to_its_limit_while_probes_fail() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for pause in [100, 200, 250, 250] {
            assert_eq!(breaker.admit_open(now + Duration::from_millis(pause - 1)), Admission::Refused);
            now += Duration::from_millis(pause);
            assert_eq!(breaker.admit_open(now), Admission::Probe);
            breaker.fail_at(Admission::Probe, now);
        }
    }

    #[test]
    fn success_that_began_before_it_opened_does_not_close_it() {
        let breaker = opened(Instant::now());
        breaker.succeed(Admission::Closed);
        assert!(breaker.is_open());
    }

    #[test]
    fn breaker_without_a_limit_never_opens() {
        let breaker = Breaker::new(BreakerOptions { failures: 0, ..OPTIONS });
        assert!((0..100).all(|_| !breaker.fail(Admission::Closed)));
    }
}
