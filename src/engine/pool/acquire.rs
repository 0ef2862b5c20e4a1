//! Takes an instance out of its pool, or waits for one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::utils::Backoff;

use crate::engine::background::block_on;
use crate::engine::error::CallError;
use crate::engine::pool::idle::full_barrier;
use crate::engine::pool::instance_pool::{Handed, Pool};
use crate::engine::pool::lease::Lease;
use crate::engine::pool::waiters::Place;

impl Pool {
    /// An idle instance, if there is one, even if others wait. Never blocks.
    #[inline]
    pub fn try_acquire(&self) -> Option<Lease> {
        self.idle.take().map(Lease::new)
    }

    /// An instance; waits for one up to `wait` if need be. It succeeds if one is there when this future
    /// is polled, even if its executor comes back to it late.
    ///
    /// # Errors
    ///
    /// [`CallError::QueueFull`] at once, [`CallError::Saturated`] after `wait`, or
    /// [`CallError::OutOfUse`] if the pool is closed, [`CallError::Unavailable`] if it has no instance
    /// and none can be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place; an instance handed over already goes back.
    pub async fn acquire(self: &Arc<Self>, wait: Duration) -> Result<Lease, CallError> {
        if let Some(lease) = self.acquire_soon() {
            return Ok(lease);
        }
        let mut place = self.join()?;
        let sleep = self.compiled.engine.background.sleep(wait);
        tokio::select! {
            biased;
            served = self.served(&mut place) => served.ok_or_else(|| self.unavailable()),
            () = sleep => self.acquire_soon().ok_or_else(|| self.saturated(wait)),
        }
    }

    /// Like [`acquire`](Self::acquire), blocking this thread. Needs no async runtime.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub(crate) fn acquire_blocking(self: &Arc<Self>, wait: Duration) -> Result<Lease, CallError> {
        if let Some(lease) = self.acquire_soon() {
            return Ok(lease);
        }
        let mut place = self.join()?;
        match block_on(self.served(&mut place), Instant::now() + wait) {
            Some(served) => served.ok_or_else(|| self.unavailable()),
            None => self.acquire_soon().ok_or_else(|| self.saturated(wait)),
        }
    }

    /// An idle instance; tries for some microseconds: most calls are over by then, and sleeping costs a
    /// turn of the executor. At the end it lets other threads run: the system may have stopped one in
    /// the middle of a call, and meanwhile all callers would go to sleep.
    #[cold]
    fn acquire_soon(&self) -> Option<Lease> {
        let backoff = Backoff::new();
        loop {
            let lease = self.try_acquire();
            if lease.is_some() || backoff.is_completed() {
                return lease;
            }
            backoff.snooze();
        }
    }

    async fn served(&self, place: &mut Place<'_, Handed>) -> Option<Lease> {
        let handed = poll_fn(|context| place.poll(context, || self.hand())).await;
        handed.and_then(Handed::take).map(Lease::new)
    }

    fn join(self: &Arc<Self>) -> Result<Place<'_, Handed>, CallError> {
        if self.turns_away() {
            return Err(self.unavailable());
        }
        let place = self.waiters.join().map_err(|waiting| CallError::QueueFull { waiting })?;
        full_barrier();
        if self.turns_away() {
            self.waiters.dismiss();
        } else {
            self.grow();
        }
        Ok(place)
    }

    fn saturated(&self, waited: Duration) -> CallError {
        // All live instances are still being made: the guest's `init` holds them up.
        if self.live.load(Ordering::Relaxed) <= self.making.load(Ordering::Relaxed) {
            return CallError::Unavailable { reason: format!("it is not made within {waited:?}") };
        }
        CallError::Saturated { waited, size: self.options.max_instances }
    }

    fn unavailable(&self) -> CallError {
        if self.turns_away() {
            return CallError::OutOfUse;
        }
        CallError::Unavailable { reason: "making one failed, see the log".to_owned() }
    }
}
