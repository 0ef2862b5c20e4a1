//! The state that plugins in the row form return: a whole call holds it, so that no update is lost.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam::utils::Backoff;
use parking_lot::Mutex;

use crate::engine::background;
use crate::engine::error::CallError;
use crate::engine::pool::waiters::{Place, Waiters};
use crate::engine::wasm_engine::Engine;

/// The encoded `state` map, and who waits for it.
///
/// # Concurrency
///
/// Whoever holds the state has taken it out of `free`. As in a pool, a running caller may overtake one
/// that waits: a state handed to a task that does not run lies idle until the executor gets to it, and
/// many tasks make that a convoy. A caller raises the count of the queue and then checks `free` once
/// more; whoever puts the state back reads that count afterwards. A fence on each side keeps one from
/// missing the other.
#[derive(Debug)]
pub(crate) struct RowState {
    /// Empty = none yet; `None` while a call has it.
    free: Mutex<Option<Vec<u8>>>,
    /// True once a generation has returned state: calls in the row form must not overlap then.
    returned: AtomicBool,
    waiters: Waiters<StateGuard>,
}

/// The state, which goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct StateGuard {
    rows: Arc<RowState>,
    state: Vec<u8>,
}

impl Default for RowState {
    fn default() -> Self {
        Self {
            free: Mutex::new(Some(Vec::new())),
            returned: AtomicBool::new(false),
            // Generations with limits of their own share it: see `lock_within`.
            waiters: Waiters::new(usize::MAX),
        }
    }
}

impl RowState {
    /// True once a generation has returned state in the row form.
    #[inline]
    pub(crate) fn is_returned(&self) -> bool {
        // Acquire: pairs with `expect`; a call that misses it discards its state and asks again.
        self.returned.load(Ordering::Acquire)
    }

    /// From now on calls in the row form do not overlap.
    #[cold]
    pub(crate) fn expect(&self) {
        self.returned.store(true, Ordering::Release);
    }

    /// The state, if nobody has it.
    pub(crate) fn try_lock(self: &Arc<Self>) -> Option<StateGuard> {
        let state = self.free.lock().take()?;
        Some(StateGuard { rows: Arc::clone(self), state })
    }

    /// The state, however long that takes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn lock(self: &Arc<Self>) -> StateGuard {
        loop {
            // The queue has room for all and turns nobody away: the first round ends the loop.
            if let Ok(mut place) = self.waiters.join()
                && let Some(state) = self.served(&mut place).await
            {
                return state;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The state, if it comes within `wait` and fewer than `limit` callers wait already. Blocks the
    /// thread if `blocking`.
    ///
    /// # Errors
    ///
    /// [`CallError::QueueFull`] at once, [`CallError::Saturated`] after `wait`.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub(crate) async fn lock_within(
        self: &Arc<Self>,
        engine: &Engine,
        limit: usize,
        wait: Duration,
        blocking: bool,
    ) -> Result<StateGuard, CallError> {
        if let Some(state) = self.lock_soon() {
            return Ok(state);
        }
        let waiting = self.waiters.count();
        let full = |waiting| CallError::QueueFull { waiting };
        if waiting >= limit {
            return Err(full(waiting));
        }
        let mut place = self.waiters.join().map_err(full)?;
        let served = self.served(&mut place);
        let got = if blocking {
            background::block_on(served, Instant::now() + wait)
        } else {
            tokio::select! {
                biased;
                served = served => Some(served),
                () = engine.background.sleep(wait) => None,
            }
        };
        got.flatten().ok_or(CallError::Saturated { waited: wait, size: 1 })
    }

    /// Tries for some microseconds: most calls are over by then, and sleeping costs a turn of the
    /// executor.
    fn lock_soon(self: &Arc<Self>) -> Option<StateGuard> {
        let backoff = Backoff::new();
        loop {
            let state = self.try_lock();
            if state.is_some() || backoff.is_completed() {
                return state;
            }
            backoff.snooze();
        }
    }

    async fn served(self: &Arc<Self>, place: &mut Place<'_, StateGuard>) -> Option<StateGuard> {
        // Pairs with the fence in `drop`.
        fence(Ordering::SeqCst);
        poll_fn(|context| place.poll(context, || self.try_lock())).await
    }
}

impl Drop for StateGuard {
    fn drop(&mut self) {
        *self.rows.free.lock() = Some(std::mem::take(&mut self.state));
        // Pairs with the fence in `served`.
        fence(Ordering::SeqCst);
        if self.rows.waiters.count() > 0 {
            self.rows.waiters.serve(|| self.rows.try_lock());
        }
    }
}

impl Deref for StateGuard {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.state
    }
}

impl DerefMut for StateGuard {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn caller_that_runs_takes_the_state_before_one_that_waits_and_that_one_gets_it_too() {
        let rows = Arc::<RowState>::default();
        let held = rows.try_lock().unwrap();
        let mut waits = Box::pin(rows.lock());
        assert!(
            background::ready(poll_fn(|context| {
                let polled = waits.as_mut().poll(context);
                std::task::Poll::Ready(polled.is_pending())
            }))
            .unwrap()
        );
        drop(held);
        let mut faster = rows.try_lock().expect("it was woken, and did not run yet");
        faster.push(1);
        drop(faster);
        assert_eq!(*waits.await, [1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_update_is_lost_and_nobody_waits_for_ever() {
        let rows = Arc::<RowState>::default();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..32_u32 {
            let rows = Arc::clone(&rows);
            callers.spawn(async move {
                for _ in 0..100 {
                    let mut state = rows.lock().await;
                    state.push(0);
                    if caller.is_multiple_of(4) {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        assert_eq!(rows.try_lock().unwrap().len(), 3200);
    }
}
