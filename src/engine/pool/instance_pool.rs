//! Instances of one generation, and where they go when they come back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

use crate::engine::capacity::Reservation;
use crate::engine::clock::CallMark;
use crate::engine::compiled::Compiled;
use crate::engine::error::EngineError;
use crate::engine::instance::Instance;
use crate::engine::making::StepError;
use crate::engine::pool::idle::{Idle, full_barrier};
use crate::engine::pool::options::PoolOptions;
use crate::engine::pool::recipe::{PoolTally, Recipe};
use crate::engine::pool::waiters::Waiters;

/// An instance, with what the pool knows about it.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) instance: Instance,
    /// The pool that made it. An idle instance and its pool hold each other; `close` ends that.
    pub(crate) home: Arc<Pool>,
    pub(crate) recycle_at_calls: u64,
    /// Counted in periods of maintenance since the pool's start.
    pub(crate) recycle_at_age: u64,
}

/// An instance on its way to a caller that waits. It goes back if the caller does not take it.
#[derive(Debug)]
pub(crate) struct Handed(Option<Box<Pooled>>);

impl Handed {
    /// The instance; it is the caller's from now on.
    pub(crate) fn take(mut self) -> Option<Box<Pooled>> {
        self.0.take()
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(pooled) = self.0.take() {
            let home = Arc::clone(&pooled.home);
            home.put(pooled);
        }
    }
}

/// Counts of what a pool has and did.
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
/// A caller that runs takes what is idle although others wait: see `waiters.rs`.
pub struct Pool {
    pub(crate) idle: Idle<Pooled>,
    /// Instances that are used up, until the background drops them.
    pub(crate) spent: ArrayQueue<Box<Pooled>>,
    /// True while the background is about to empty `spent`.
    pub(crate) sweeping: AtomicBool,
    pub(crate) waiters: Waiters<Handed>,
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
    /// Counts instances that could not be made.
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

    /// Turns away the callers that wait, and new ones, until [`resume`](Self::resume). Idle instances
    /// stay and are still given out: suspend a pool only while all are leased.
    pub(crate) fn suspend(&self) {
        // SeqCst: pairs with the read in `join`, as `closed` does.
        self.suspended.store(true, Ordering::SeqCst);
        self.waiters.dismiss();
    }

    /// Ends what [`suspend`](Self::suspend) began.
    pub(crate) fn resume(&self) {
        self.suspended.store(false, Ordering::SeqCst);
    }

    pub(crate) fn turns_away(&self) -> bool {
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
            // Relaxed: one period more or less does not matter.
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

    /// Makes an idle instance available, and wakes a waiting caller to try for it.
    #[inline]
    pub(crate) fn put(&self, pooled: Box<Pooled>) {
        if let Some(surplus) = self.idle.put(pooled) {
            // There is room for all that may live, so this would be a bug: drops the instance rather
            // than the request.
            self.retire(surplus);
        }
        full_barrier();
        if self.waiters.count() > 0 {
            self.waiters.serve(|| self.hand());
        }
        if self.is_closed() {
            self.close();
        }
    }

    /// An idle instance for a caller that waits, if there is one.
    pub(crate) fn hand(&self) -> Option<Handed> {
        self.idle.take().map(|pooled| Handed(Some(pooled)))
    }

    fn idle_count(&self) -> usize {
        // Slots cannot be read without taking from them; every instance that is in no call is idle.
        let in_call =
            self.marks.lock().iter().filter_map(Weak::upgrade).filter(|mark| mark.in_call()).count();
        let live = self.live.load(Ordering::Relaxed);
        live.saturating_sub(in_call + self.making.load(Ordering::Relaxed))
    }
}

/// Closes a pool whose making failed.
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
