//! The circuit of one worker: it opens when too many requests failed there.
//!
//! ```text
//!            failures in a row               time is over
//!  Closed ───────────────────────► Open ───────────────────► HalfOpen
//!    ▲                              ▲                          │  │ one probe at a time,
//!    │                              │                          │  │ another when it lasts
//!    │                              └──────── probe failed ────┘  │
//!    └──────────────────── enough probes succeeded ───────────────┘
//! ```

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::checked::CircuitSettings;
use sgl_api::CircuitState;

/// What a request that was let through is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitPass {
    /// One of many.
    Ordinary,
    /// The one that decides whether the circuit closes again. Its outcome must be told.
    Probe,
}

/// Counts failures in a row and takes the worker out of the path.
///
/// # Concurrency
///
/// A closed circuit without failures costs a relaxed load to enter and another to leave. Changes
/// of state take the lock; `state` mirrors what is under it.
#[derive(Debug)]
pub struct Circuit {
    settings: CircuitSettings,
    state: AtomicU8,
    failures: AtomicU32,
    inner: Mutex<Inner>,
    opened: Notify,
}

#[derive(Debug)]
struct Inner {
    state: CircuitState,
    /// When the next probe may go through, though one may still be on its way.
    probe_at: Option<Instant>,
    probing: bool,
    successes: u32,
}

impl Circuit {
    /// A closed circuit.
    pub fn new(settings: CircuitSettings) -> Self {
        Self {
            settings,
            state: AtomicU8::new(CircuitState::Closed as u8),
            failures: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                state: CircuitState::Closed,
                probe_at: None,
                probing: false,
                successes: 0,
            }),
            opened: Notify::new(),
        }
    }

    /// The state now.
    pub fn state(&self) -> CircuitState {
        self.inner.lock().state
    }

    /// True if a request that came now would be let through.
    pub fn admits(&self) -> bool {
        let inner = self.inner.lock();
        match inner.state {
            CircuitState::Closed => true,
            CircuitState::Open => false,
            CircuitState::HalfOpen => !inner.probing,
        }
    }

    /// Lets a request through, or not.
    #[inline]
    pub fn enter(&self) -> Option<CircuitPass> {
        // Relaxed: a request that slips through while the circuit opens is one more failure at
        // worst.
        if self.state.load(Ordering::Relaxed) == CircuitState::Closed as u8 {
            return Some(CircuitPass::Ordinary);
        }
        let mut inner = self.inner.lock();
        match inner.state {
            CircuitState::Closed => Some(CircuitPass::Ordinary),
            CircuitState::HalfOpen if !inner.probing => {
                inner.probing = true;
                self.schedule(&mut inner);
                Some(CircuitPass::Probe)
            }
            CircuitState::Open | CircuitState::HalfOpen => None,
        }
    }

    /// A request succeeded. True if that changed what [`admits`](Self::admits) says.
    #[inline]
    pub fn succeed(&self, pass: CircuitPass) -> bool {
        if pass == CircuitPass::Ordinary {
            // Relaxed: counts only. Not written while zero, so that cores do not share the line.
            if self.failures.load(Ordering::Relaxed) != 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let mut inner = self.inner.lock();
        if inner.state != CircuitState::HalfOpen {
            // Another probe was faster.
            return false;
        }
        inner.probing = false;
        inner.successes += 1;
        if inner.successes >= self.settings.successes {
            self.change(&mut inner, CircuitState::Closed);
        }
        true
    }

    /// A request failed. True if that changed what [`admits`](Self::admits) says.
    pub fn fail(&self, pass: CircuitPass) -> bool {
        if self.settings.failures == 0 {
            return false;
        }
        let mut inner = self.inner.lock();
        match (inner.state, pass) {
            (CircuitState::HalfOpen, CircuitPass::Probe) => inner.probing = false,
            // Relaxed: see `succeed`.
            (CircuitState::Closed, _) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < self.settings.failures {
                    return false;
                }
            }
            // What was on its way when the circuit opened says nothing new.
            (CircuitState::Open, _) | (CircuitState::HalfOpen, CircuitPass::Ordinary) => return false,
        }
        self.schedule(&mut inner);
        self.change(&mut inner, CircuitState::Open);
        true
    }

    /// The next probe may go through after the usual time.
    fn schedule(&self, inner: &mut Inner) {
        inner.probe_at = Some(Instant::now() + self.settings.timeout);
        self.opened.notify_one();
    }

    /// A request ended without an outcome. True if that changed what [`admits`](Self::admits) says.
    pub fn abandon(&self, pass: CircuitPass) -> bool {
        if pass == CircuitPass::Ordinary {
            return false;
        }
        self.inner.lock().probing = false;
        true
    }

    /// Waits until an open circuit turns half-open, or a half-open one admits another probe because the
    /// last one lasts. For one caller.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on waiting for the same moment.
    pub async fn half_opened(&self) {
        loop {
            let probe_at = self.inner.lock().probe_at;
            match probe_at {
                None => self.opened.notified().await,
                Some(at) => {
                    tokio::time::sleep_until(at).await;
                    let mut inner = self.inner.lock();
                    // Another probe may have gone through meanwhile, or failed.
                    if inner.probe_at.is_some_and(|next| next > at) {
                        continue;
                    }
                    inner.probe_at = None;
                    match inner.state {
                        CircuitState::Open => self.change(&mut inner, CircuitState::HalfOpen),
                        CircuitState::HalfOpen if inner.probing => {}
                        CircuitState::HalfOpen | CircuitState::Closed => continue,
                    }
                    inner.probing = false;
                    return;
                }
            }
        }
    }

    fn change(&self, inner: &mut Inner, state: CircuitState) {
        inner.state = state;
        inner.successes = 0;
        // Relaxed: see `enter` and `succeed`.
        self.failures.store(0, Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn circuit(failures: u32, successes: u32) -> Circuit {
        Circuit::new(CircuitSettings { failures, successes, timeout: Duration::from_secs(10) })
    }

    #[test]
    fn circuit_opens_after_failures_in_a_row_only() {
        let circuit = circuit(3, 1);
        for _ in 0..2 {
            assert!(!circuit.fail(CircuitPass::Ordinary));
        }
        circuit.succeed(CircuitPass::Ordinary);
        for _ in 0..2 {
            assert!(!circuit.fail(CircuitPass::Ordinary));
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert!(circuit.fail(CircuitPass::Ordinary));
        assert_eq!((circuit.state(), circuit.enter()), (CircuitState::Open, None));
    }

    #[test]
    fn circuit_without_threshold_never_opens() {
        let circuit = circuit(0, 1);
        (0..100).for_each(|_| assert!(!circuit.fail(CircuitPass::Ordinary)));
        assert_eq!(circuit.enter(), Some(CircuitPass::Ordinary));
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_circuit_lets_one_probe_at_a_time_through_and_closes_after_enough() {
        let circuit = circuit(1, 2);
        circuit.fail(CircuitPass::Ordinary);
        let before = Instant::now();
        circuit.half_opened().await;
        assert_eq!(before.elapsed(), Duration::from_secs(10));
        for _ in 0..2 {
            assert!(circuit.admits());
            assert_eq!(circuit.enter(), Some(CircuitPass::Probe));
            assert!(!circuit.admits());
            assert_eq!(circuit.enter(), None, "one probe at a time");
            assert!(circuit.succeed(CircuitPass::Probe));
        }
        assert_eq!((circuit.state(), circuit.enter()), (CircuitState::Closed, Some(CircuitPass::Ordinary)));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_probe_opens_again_and_abandoned_probe_makes_room_for_the_next() {
        let circuit = circuit(1, 1);
        circuit.fail(CircuitPass::Ordinary);
        circuit.half_opened().await;
        assert_eq!(circuit.enter(), Some(CircuitPass::Probe));
        assert!(circuit.abandon(CircuitPass::Probe));
        assert_eq!(circuit.enter(), Some(CircuitPass::Probe));
        assert!(circuit.fail(CircuitPass::Probe));
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.half_opened().await;
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn probe_that_lasts_makes_room_for_another_and_counts_as_any_request_if_that_was_faster() {
        let circuit = circuit(2, 1);
        assert_eq!([circuit.fail(CircuitPass::Ordinary), circuit.fail(CircuitPass::Ordinary)], [false, true]);
        circuit.half_opened().await;
        let before = Instant::now();
        for _ in 0..2 {
            assert_eq!((circuit.enter(), circuit.enter()), (Some(CircuitPass::Probe), None));
            circuit.half_opened().await;
        }
        assert_eq!(before.elapsed(), Duration::from_secs(20));
        assert_eq!(circuit.enter(), Some(CircuitPass::Probe));
        assert!(circuit.succeed(CircuitPass::Probe));
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert!(!circuit.succeed(CircuitPass::Probe), "it says nothing new");
        assert!(!circuit.fail(CircuitPass::Probe), "one failure of the two that open it");
        assert!(circuit.fail(CircuitPass::Ordinary));
        assert!(!circuit.succeed(CircuitPass::Probe));
        assert_eq!(circuit.state(), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_half_open_can_be_dropped_and_taken_up_again() {
        let circuit = circuit(1, 1);
        circuit.fail(CircuitPass::Ordinary);
        let wait = tokio::time::timeout(Duration::from_secs(5), circuit.half_opened()).await;
        assert!(wait.is_err());
        circuit.half_opened().await;
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
    }
}
