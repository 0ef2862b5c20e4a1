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
    /// When a probe is due; `None` while one is under way, or the breaker is closed.
    next_probe: Option<Instant>,
}

/// Leave to ask the plugin for one decision.
///
/// A probe that is dropped without having succeeded or failed (its caller was cancelled, or there
/// was no instance to ask) says nothing of the plugin: the next decision is the probe.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
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
    pub(crate) fn admit(&self) -> Option<Pass<'_>> {
        if self.is_open() {
            return self.admit_open(Instant::now());
        }
        Some(Pass { breaker: self, probe: false })
    }

    #[cold]
    fn admit_open(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        let due = state.next_probe.take_if(|due| now >= *due);
        due.map(|_| Pass { breaker: self, probe: true })
    }

    #[cold]
    fn recover(&self, probe: bool) {
        // A success that began before the breaker opened does not close it: only a probe does.
        if !probe && self.is_open() {
            return;
        }
        let mut state = self.state.lock();
        state.pause = Duration::from_millis(state.options.backoff_ms);
        state.next_probe = None;
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    fn fail(&self, probe: bool, now: Instant) -> bool {
        let mut state = self.state.lock();
        if probe {
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

    #[cold]
    fn give_back_probe(&self) {
        if self.is_open() {
            self.state.lock().next_probe = Some(Instant::now());
        }
    }
}

impl Pass<'_> {
    /// The plugin has decided.
    #[inline]
    pub(crate) fn succeed(mut self) {
        let probe = std::mem::take(&mut self.probe);
        if probe || self.breaker.failures.load(Ordering::Relaxed) > 0 {
            self.breaker.recover(probe);
        }
    }

    /// The plugin has failed; true if that opened the breaker.
    #[cold]
    pub(crate) fn fail(self) -> bool {
        self.fail_at(Instant::now())
    }

    fn fail_at(mut self, now: Instant) -> bool {
        let probe = std::mem::take(&mut self.probe);
        self.breaker.fail(probe, now)
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.probe {
            self.breaker.give_back_probe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions { failures: 3, backoff_ms: 100, max_backoff_ms: 250 };

    fn passed(breaker: &Breaker) -> Pass<'_> {
        Pass { breaker, probe: false }
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new(OPTIONS);
        assert!(!passed(&breaker).fail_at(now));
        assert!(!passed(&breaker).fail_at(now));
        assert!(passed(&breaker).fail_at(now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let breaker = Breaker::new(OPTIONS);
        passed(&breaker).fail_at(now);
        passed(&breaker).fail_at(now);
        passed(&breaker).succeed();
        passed(&breaker).fail_at(now);
        assert!(!breaker.is_open());
        assert!(opened(now).is_open());
    }

    #[test]
    fn one_probe_at_a_time_after_the_pause() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(breaker.admit_open(now + Duration::from_millis(99)).is_none());
        let probe = breaker.admit_open(now + Duration::from_millis(100)).unwrap();
        assert!(breaker.admit_open(now + Duration::from_millis(101)).is_none());
        assert!(breaker.admit_open(now + Duration::from_secs(1000)).is_none(), "however long it takes");
        probe.succeed();
        assert!(!breaker.is_open());
    }

    #[test]
    fn probe_that_says_nothing_of_the_plugin_is_made_again_at_once() {
        let breaker = opened(Instant::now() - Duration::from_secs(1));
        drop(breaker.admit().unwrap());
        assert!(breaker.is_open());
        breaker.admit().unwrap().succeed();
        assert!(!breaker.is_open());
    }

    #[test]
    fn pause_doubles_up_to_its_limit_while_probes_fail() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for pause in [100, 200, 250, 250] {
            assert!(breaker.admit_open(now + Duration::from_millis(pause - 1)).is_none());
            now += Duration::from_millis(pause);
            breaker.admit_open(now).unwrap().fail_at(now);
        }
    }

    #[test]
    fn success_that_began_before_it_opened_does_not_close_it() {
        let breaker = opened(Instant::now());
        passed(&breaker).succeed();
        assert!(breaker.is_open());
    }

    #[test]
    fn breaker_without_a_limit_never_opens() {
        let breaker = Breaker::new(BreakerOptions { failures: 0, ..OPTIONS });
        assert!((0..100).all(|_| !passed(&breaker).fail()));
    }
}
