//! Pre-warmed instances of one generation: idle ones, callers that wait, recycling.
//!
//! ```text
//!            acquire                            release
//!   this thread's slot ──► shared queue    slot, else queue ◄── clean, young ── Lease
//!            │ empty                            │ somebody waits: wake the first to try
//!            ▼                                  │ used up, dirty, closed
//!   others' slots, for a moment again and again ▼
//!            │                               destroyed in the background, refilled
//!            ├── below the limit: make one
//!            └── wait in order
//! ```

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::Backoff;
use parking_lot::Mutex;

use crate::engine::background::block_on;
use crate::engine::capacity::Reservation;
use crate::engine::clock::CallMark;
use crate::engine::compiled::Compiled;
use crate::engine::error::CallError;
use crate::engine::error::EngineError;
use crate::engine::idle::Idle;
use crate::engine::idle::full_barrier;
use crate::engine::instance::Instance;
use crate::engine::instance::StepError;
use crate::engine::lease::Lease;
use crate::engine::pool_options::PoolOptions;
use crate::engine::recipe::PoolTally;
use crate::engine::recipe::Recipe;
use crate::engine::waiters::Place;
use crate::engine::waiters::Waiters;

/// An instance with what the pool knows of it.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) instance: Instance,
    /// The pool that made it. An idle instance and its pool hold each other; `close` ends that.
    pub(crate) home: Arc<Pool>,
    pub(crate) recycle_at_calls: u64,
    /// In periods of maintenance since the pool's start.
    pub(crate) recycle_at_age: u64,
}

/// A count of what a pool has and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Instances that live or are being made.
    pub live: usize,
    /// Instances that wait for a call.
    pub idle: usize,
    /// Callers that wait for an instance.
    pub waiting: usize,
    /// Instances made so far; this and the following over all pools that share the tally.
    pub created: u64,
    /// Instances replaced for their age, use or growth, and after each call if isolation is fresh.
    pub recycled: u64,
    /// Instances discarded after a failure or a cancelled call.
    pub discarded: u64,
}

/// Instances of one generation.
///
/// # Concurrency
///
/// A release puts an instance among the idle ones and *then* reads the number of waiting callers,
/// and a caller raises that number and *then* looks for an idle one, so one of them always sees the
/// other. Putting into a slot is an atomic swap, which on x86-64 is a full barrier; on other targets
/// a fence stands in between (see `full_barrier`). `closed` works the same way.
///
/// A caller that runs takes what is idle although others wait: see [`crate::engine::waiters`].
pub struct Pool {
    idle: Idle<Pooled>,
    /// Instances that are used up, until the background drops them.
    pub(crate) spent: ArrayQueue<Box<Pooled>>,
    /// True while the background is about to look at `spent`.
    pub(crate) sweeping: AtomicBool,
    pub(crate) waiters: Waiters<Lease>,
    closed: AtomicBool,
    /// True while nobody may wait for an instance.
    suspended: AtomicBool,
    /// Instances that live or are being made.
    pub(crate) live: AtomicUsize,
    /// Instances that are being made.
    pub(crate) making: AtomicUsize,
    /// Periods of maintenance since the start: a clock that costs a call one read.
    pub(crate) age: AtomicU64,
    /// Marks of the live instances, to count those in a call.
    pub(crate) marks: Mutex<Vec<Weak<CallMark>>>,
    pub(crate) tally: Arc<PoolTally>,
    /// Instances that could not be made.
    pub(crate) unmade: AtomicU64,
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) recipe: Arc<dyn Recipe>,
    pub(crate) options: PoolOptions,
    reservation: Reservation,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Makes a pool with its `min_warm` instances ready.
    ///
    /// # Errors
    ///
    /// [`EngineError::Capacity`] if the engine has no room for `max_instances` more,
    /// [`EngineError::FirstInstance`] if one could not be made; nothing is left behind.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops what was made so far.
    pub async fn new(
        compiled: Arc<Compiled>,
        recipe: Arc<dyn Recipe>,
        options: PoolOptions,
    ) -> Result<Arc<Self>, EngineError> {
        let reservation =
            compiled.engine.capacity.reserve(options.max_instances, compiled.max_instance_bytes())?;
        let pool = Arc::new(Self {
            idle: Idle::new(options.max_instances),
            spent: ArrayQueue::new(options.max_instances.max(1)),
            sweeping: AtomicBool::new(false),
            waiters: Waiters::new(options.max_waiting),
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            making: AtomicUsize::new(0),
            age: AtomicU64::new(0),
            marks: Mutex::new(Vec::new()),
            tally: recipe.tally(),
            unmade: AtomicU64::new(0),
            compiled,
            recipe,
            options,
            reservation,
        });
        // Closes the pool if this future is dropped or fails: idle instances hold their pool.
        let guard = CloseOnDrop(Some(Arc::clone(&pool)));
        for _ in 0..pool.options.warm_target() {
            let Some(vacancy) = pool.claim() else { break };
            let made = pool.make(vacancy).await;
            pool.put(
                made.map_err(|StepError { step, error }| EngineError::FirstInstance { step, source: error })?,
            );
        }
        pool.spawn_maintenance();
        guard.disarm();
        Ok(pool)
    }

    /// An idle instance, if there is one, whoever waits. Never blocks.
    #[inline]
    pub fn try_acquire(&self) -> Option<Lease> {
        self.idle.take().map(Lease::new)
    }

    /// An instance, waiting for one up to `wait` if need be. What counts is that one is there when
    /// this future is polled: an executor that comes back to it late does not make it fail.
    ///
    /// # Errors
    ///
    /// [`CallError::QueueFull`] at once, [`CallError::Saturated`] after `wait`, or
    /// [`CallError::OutOfUse`] if the pool is closed, [`CallError::Unavailable`] if it has no instance
    /// and none can be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place up; an instance that was handed over goes back.
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
    pub fn acquire_blocking(self: &Arc<Self>, wait: Duration) -> Result<Lease, CallError> {
        if let Some(lease) = self.acquire_soon() {
            return Ok(lease);
        }
        let mut place = self.join()?;
        match block_on(self.served(&mut place), Instant::now() + wait) {
            Some(served) => served.ok_or_else(|| self.unavailable()),
            None => self.acquire_soon().ok_or_else(|| self.saturated(wait)),
        }
    }

    /// An idle instance, looking for some microseconds: most calls are over by then, and lying down
    /// costs a turn of the executor. At last it lets other threads run, since the system may have
    /// stopped one in the middle of a call: all callers would lie down meanwhile.
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

    async fn served(&self, place: &mut Place<'_, Lease>) -> Option<Lease> {
        poll_fn(|context| place.poll(context, || self.try_acquire())).await
    }

    /// What the pool has and did.
    pub fn counts(&self) -> PoolCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolCounts {
            live: self.live.load(Ordering::Relaxed),
            idle: self.idle_count(),
            waiting: self.waiters.count(),
            created: load(&self.tally.created),
            recycled: load(&self.tally.recycled),
            discarded: load(&self.tally.discarded),
        }
    }

    /// Takes no more callers, and drops idle instances. Instances in a call finish it first.
    pub fn close(&self) {
        // SeqCst: pairs with the read after `put`, see the type.
        self.closed.store(true, Ordering::SeqCst);
        self.waiters.dismiss();
        while let Some(idle) = self.idle.take() {
            self.retire(idle);
        }
    }

    /// Sends away the callers that wait, and those that come, until [`resume`](Self::resume).
    /// Idle instances stay, and are still given out: suspend a pool only while all are leased.
    pub(crate) fn suspend(&self) {
        // SeqCst: pairs with the read in `join`, as `closed` does.
        self.suspended.store(true, Ordering::SeqCst);
        self.waiters.dismiss();
    }

    /// Ends what [`suspend`](Self::suspend) began.
    pub(crate) fn resume(&self) {
        self.suspended.store(false, Ordering::SeqCst);
    }

    fn turns_away(&self) -> bool {
        self.is_closed() || self.suspended.load(Ordering::SeqCst)
    }

    /// True once closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// What its instances may have resident at most, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.reservation.share().bytes
    }

    /// The module that its instances are made of.
    pub fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// Puts back an instance after a complete call, unless it is used up.
    #[inline]
    pub(crate) fn release(&self, mut pooled: Box<Pooled>) {
        pooled.instance.calls += 1;
        if self.used_up(&pooled) {
            self.recycle(pooled);
            return;
        }
        self.put(pooled);
    }

    #[inline]
    fn used_up(&self, pooled: &Pooled) -> bool {
        let growth = self.options.recycle_growth_bytes;
        self.options.fresh
            || pooled.instance.calls >= pooled.recycle_at_calls
            // Relaxed: a period more or less does not matter.
            || self.age.load(Ordering::Relaxed) >= pooled.recycle_at_age
            || (growth > 0 && pooled.instance.grew_beyond(growth))
    }

    /// Discards an instance in an unknown state.
    pub(crate) fn discard(&self, pooled: Box<Pooled>) {
        self.tally.discarded.fetch_add(1, Ordering::Relaxed);
        self.retire(pooled);
    }

    #[cold]
    fn recycle(&self, pooled: Box<Pooled>) {
        self.tally.recycled.fetch_add(1, Ordering::Relaxed);
        self.retire(pooled);
    }

    /// Makes an idle instance available, and has a caller that waits try it.
    #[inline]
    pub(crate) fn put(&self, pooled: Box<Pooled>) {
        if let Some(surplus) = self.idle.put(pooled) {
            // There is room for all that may live, so this would be a bug: the instance goes rather
            // than the request.
            self.retire(surplus);
        }
        full_barrier();
        if self.waiters.count() > 0 {
            self.waiters.serve(|| self.try_acquire());
        }
        if self.is_closed() {
            self.close();
        }
    }

    fn join(self: &Arc<Self>) -> Result<Place<'_, Lease>, CallError> {
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
        // Those that live are all being made: the guest's `init` holds them up.
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

    fn idle_count(&self) -> usize {
        // Slots cannot be looked into without taking; what is in no call is idle.
        let in_call =
            self.marks.lock().iter().filter_map(Weak::upgrade).filter(|mark| mark.in_call()).count();
        let live = self.live.load(Ordering::Relaxed);
        live.saturating_sub(in_call + self.making.load(Ordering::Relaxed))
    }
}

/// Closes a pool that did not come to be.
struct CloseOnDrop(Option<Arc<Pool>>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.close();
        }
    }
}
