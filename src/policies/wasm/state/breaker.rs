//! Takes a plugin that keeps failing out of the path, and probes whether it is well again.
//!
//! Failures in a row open it. So does time lost to calls that run out of their budget: a few requests
//! that make a plugin spin could otherwise take cores from all others.
//!
//! ```text
//!  closed ── too many failures ──► open ── pause over ──► one probe
//!    ▲                              ▲                        │
//!    └───────── it succeeds ────────┼────────────────────────┤
//!                                   └── it fails: pause × 2 ─┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::plugin::BreakerOptions;
use crate::types::virtual_time;

/// Lost time is added up over this window.
const WINDOW: Duration = Duration::from_secs(5);

/// A plugin that is back after it was out for lost time may lose only this part of the usual limit, for
/// as long as its pause was and at least for a [`WINDOW`]. Otherwise the requests that make it spin
/// could lose the whole limit again after each probe.
const RELAPSE: u32 = 10;

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
    /// When it closed last.
    closed: Option<Instant>,
    lost: LostTime,
    /// True if lost time was why it opened last.
    spun: bool,
    /// When a probe is due; `None` while one is under way, or the breaker is closed.
    next_probe: Option<Instant>,
}

/// Time lost to calls that ran out of their budget, since some moment in the last [`WINDOW`].
#[derive(Debug, Default)]
struct LostTime {
    since: Option<Instant>,
    time: Duration,
}

impl LostTime {
    /// Adds a call; true if it is more than this part of the limit now.
    fn add(&mut self, now: Instant, time: Duration, options: &BreakerOptions, part: u32) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > WINDOW) {
            *self = Self { since: Some(now), time: Duration::ZERO };
        }
        self.time += time;
        let limit = WINDOW * options.max_lost_percent / 100 / part;
        options.max_lost_percent > 0 && self.time >= limit
    }
}

/// Permission to ask the plugin for one decision.
///
/// A probe dropped before it succeeds or fails (its caller was cancelled, or no instance was free) says
/// nothing about the plugin: the next decision is the probe.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl State {
    fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            pause: Duration::from_millis(options.backoff_ms),
            closed: None,
            lost: LostTime::default(),
            spun: false,
            next_probe: None,
        }
    }

    /// True if it closed only recently: a plugin that works for a shorter time than its pause has not
    /// recovered.
    fn is_back_only_now(&self, now: Instant) -> bool {
        let enough = self.pause.max(WINDOW);
        self.closed.is_some_and(|closed| now.saturating_duration_since(closed) < enough)
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).min(Duration::from_millis(self.options.max_backoff_ms));
    }
}

impl Breaker {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        Self {
            open: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            state: Mutex::new(State::new(options)),
        }
    }

    /// A breaker that only adds up lost time: for a generation that decides nothing, or whose failures
    /// the stable generation makes up for.
    pub(crate) fn for_lost_time(options: BreakerOptions) -> Self {
        Self::new(BreakerOptions { failures: 0, ..options })
    }

    /// True while the plugin is out of the path.
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: a decision more or less on either side of the change is fine.
        self.open.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn admit(&self) -> Option<Pass<'_>> {
        if self.is_open() {
            return self.admit_open(virtual_time::now());
        }
        Some(Pass { breaker: self, probe: false })
    }

    #[cold]
    fn admit_open(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        let due = state.next_probe.take_if(|due| now >= *due);
        due.map(|_| Pass { breaker: self, probe: true })
    }

    /// Notes the success of a decision that had no pass because the breaker was closed.
    #[inline]
    pub(crate) fn note_success(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.recover(false);
        }
    }

    #[cold]
    fn recover(&self, probe: bool) {
        // A success that began before the breaker opened does not close it: only a probe does.
        if !probe && self.is_open() {
            return;
        }
        let mut state = self.state.lock();
        if self.is_open() {
            state.closed = Some(virtual_time::now());
            state.lost = LostTime::default();
        }
        state.next_probe = None;
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    fn fail(&self, probe: bool, lost: Duration, now: Instant) -> bool {
        let mut state = self.state.lock();
        if probe {
            state.lengthen_pause();
            state.next_probe = Some(now + state.pause);
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = state.options.failures;
        self.add(&mut state, limit > 0 && failures >= limit, lost, now)
    }

    /// Adds lost time. Opens if that is too much, or if there are `too_many` failures; true if it
    /// opened.
    fn add(&self, state: &mut State, too_many: bool, lost: Duration, now: Instant) -> bool {
        let options = state.options;
        let relapses = state.is_back_only_now(now);
        let part = if state.spun && relapses { RELAPSE } else { 1 };
        let too_long = state.lost.add(now, lost, &options, part);
        if self.is_open() || !(too_many || too_long) {
            return false;
        }
        state.spun = too_long;
        if relapses {
            state.lengthen_pause();
        } else {
            state.pause = Duration::from_millis(options.backoff_ms);
        }
        state.next_probe = Some(now + state.pause);
        self.open.store(true, Ordering::Relaxed);
        true
    }

    /// Adds the time of a call, beside the decisions, that ran out of its budget; true if that opened
    /// the breaker. It is not one of the failures in a row: decisions succeed meanwhile.
    #[cold]
    pub(crate) fn lose(&self, lost: Duration) -> bool {
        self.add(&mut self.state.lock(), false, lost, virtual_time::now())
    }

    /// A new generation starts with a clean slate, and with its own options.
    pub(crate) fn reset(&self, options: BreakerOptions) {
        let mut state = self.state.lock();
        *state = State::new(options);
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    #[cold]
    fn give_back_probe(&self) {
        if self.is_open() {
            self.state.lock().next_probe = Some(virtual_time::now());
        }
    }
}

impl Pass<'_> {
    /// The plugin has decided.
    #[inline]
    pub(crate) fn succeed(mut self) {
        let probe = std::mem::take(&mut self.probe);
        if probe {
            self.breaker.recover(true);
        } else {
            self.breaker.note_success();
        }
    }

    /// The plugin has failed, and `lost` is the time of a call that ran out of its budget; true if
    /// that opened the breaker.
    #[cold]
    pub(crate) fn fail(self, lost: Duration) -> bool {
        self.fail_at(lost, virtual_time::now())
    }

    fn fail_at(mut self, lost: Duration, now: Instant) -> bool {
        let probe = std::mem::take(&mut self.probe);
        self.breaker.fail(probe, lost, now)
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

    const OPTIONS: BreakerOptions =
        BreakerOptions { failures: 3, max_lost_percent: 10, backoff_ms: 100, max_backoff_ms: 250 };

    fn passed(breaker: &Breaker) -> Pass<'_> {
        Pass { breaker, probe: false }
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new(OPTIONS);
        assert!(!passed(&breaker).fail_at(Duration::ZERO, now));
        assert!(!passed(&breaker).fail_at(Duration::ZERO, now));
        assert!(passed(&breaker).fail_at(Duration::ZERO, now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let breaker = Breaker::new(OPTIONS);
        passed(&breaker).fail_at(Duration::ZERO, now);
        passed(&breaker).fail_at(Duration::ZERO, now);
        passed(&breaker).succeed();
        passed(&breaker).fail_at(Duration::ZERO, now);
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
            breaker.admit_open(now).unwrap().fail_at(Duration::ZERO, now);
        }
    }

    #[test]
    fn success_that_began_before_it_opened_does_not_close_it() {
        let breaker = opened(Instant::now());
        passed(&breaker).succeed();
        assert!(breaker.is_open());
    }

    #[test]
    fn lost_time_opens_it_whatever_succeeds_in_between_and_is_forgotten_after_a_while() {
        let breaker = Breaker::new(OPTIONS);
        let mut now = Instant::now();
        let mut lose = |millis, pause| {
            now += pause;
            passed(&breaker).succeed();
            passed(&breaker).fail_at(Duration::from_millis(millis), now)
        };
        assert!((0..49).all(|_| !lose(10, Duration::ZERO)));
        assert!(!lose(10, WINDOW * 2), "another window");
        assert!((0..48).all(|_| !lose(10, Duration::ZERO)));
        assert!(lose(10, Duration::ZERO), "a tenth of five seconds");
    }

    #[test]
    fn pause_grows_for_a_plugin_that_fails_again_soon_after_a_probe() {
        let breaker = Breaker::new(OPTIONS);
        for pause in [100, 200, 250] {
            let now = Instant::now();
            assert!((0..3).any(|_| passed(&breaker).fail_at(Duration::ZERO, now)));
            assert!(breaker.admit_open(now + Duration::from_millis(pause - 1)).is_none());
            breaker.admit_open(now + Duration::from_millis(pause)).unwrap().succeed();
            assert!(!breaker.is_open());
        }
    }

    #[test]
    fn plugin_that_spins_again_soon_after_a_probe_has_a_tenth_of_the_time() {
        let breaker = Breaker::new(BreakerOptions { failures: 0, ..OPTIONS });
        let lose = |now| passed(&breaker).fail_at(Duration::from_millis(10), now);
        let now = Instant::now();
        assert_eq!((0..100).position(|_| lose(now)), Some(49));
        breaker.admit_open(now + Duration::from_millis(100)).unwrap().succeed();
        let back = Instant::now();
        assert_eq!((0..100).position(|_| lose(back)), Some(4));
        breaker.admit_open(back + Duration::from_millis(200)).unwrap().succeed();
        let later = Instant::now() + WINDOW;
        assert_eq!((0..100).position(|_| lose(later)), Some(49), "it was well for a while");
    }

    #[test]
    fn time_that_is_lost_beside_decisions_opens_it_too() {
        let breaker = Breaker::new(OPTIONS);
        let lose = || {
            passed(&breaker).succeed();
            breaker.lose(Duration::from_millis(10))
        };
        assert_eq!((0..100).position(|_| lose()), Some(49), "a tenth of five seconds");
        assert!(breaker.is_open());
    }

    #[test]
    fn breaker_without_a_limit_never_opens() {
        let breaker = Breaker::new(BreakerOptions { failures: 0, ..OPTIONS });
        assert!((0..100).all(|_| !passed(&breaker).fail(Duration::ZERO)));
    }
}
