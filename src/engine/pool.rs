//! Pre-warmed instances of one generation: idle ones, callers that wait, recycling.
//!
//! ```text
//!            acquire                            release
//!   this thread's slot ──► shared queue    slot, else queue ◄── clean, young ── Lease
//!            │ empty                            │ somebody waits: hand over
//!            ▼                                  │ used up, dirty, closed
//!   others' slots ──► wait in order             ▼
//!            └── below the limit: make one   destroyed in the background, refilled
//! ```

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::atomic::compiler_fence;
use std::sync::atomic::fence;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

use crate::engine::background::block_on;
use crate::engine::capacity::Reservation;
use crate::engine::clock::CallMark;
use crate::engine::compiled::Compiled;
use crate::engine::error::CallError;
use crate::engine::error::EngineError;
use crate::engine::instance::InitAnswer;
use crate::engine::instance::Instance;
use crate::engine::instance::StepError;
use crate::engine::lease::Lease;
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::engine::waiters::Place;
use crate::engine::waiters::Waiters;
use crate::types::future::BoxFuture;
use crate::types::shard::Sharded;

/// How often a pool looks whether enough instances are warm and how old they are.
const MAINTENANCE_PERIOD: Duration = Duration::from_millis(250);

/// What can be set for a pool.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Instances that are kept ready.
    pub min_warm: usize,
    /// Instances at most.
    pub max_instances: usize,
    /// Callers that may wait.
    pub max_waiting: usize,
    /// True if every call gets an instance that no call has used before.
    pub fresh: bool,
    /// Calls after which an instance is replaced, give or take a tenth; 0 = never.
    pub recycle_after_calls: u64,
    /// Age at which an instance is replaced, give or take a tenth; zero = never.
    pub recycle_after: Duration,
    /// Growth of linear memory since warm-up after which an instance is replaced; 0 = never.
    pub recycle_growth_bytes: usize,
    /// Budget of each step of making an instance.
    pub make_budget: Duration,
}

/// What became of instances, over all pools that share it.
#[derive(Debug, Default)]
pub struct PoolTally {
    created: AtomicU64,
    recycled: AtomicU64,
    discarded: AtomicU64,
}

/// What the layer above adds to the making of an instance.
pub trait Recipe: Send + Sync + fmt::Debug {
    /// Where the instances of this recipe are counted, perhaps with those of other pools.
    fn tally(&self) -> Arc<PoolTally>;

    /// The message for an `init` that takes one.
    fn init_message(&self) -> Vec<u8>;

    /// What the host does for the guests.
    fn services(&self) -> Arc<dyn HostServices>;

    /// Looks at `init`'s answer, and warms the instance: tells it of workers, makes decisions.
    fn warm<'a>(&'a self, trial: &'a mut Trial, answer: InitAnswer) -> BoxFuture<'a, Result<(), CallError>>;
}

/// An instance with what the pool knows of it.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) instance: Instance,
    /// The pool that made it. An idle instance and its pool hold each other; `close` ends that.
    pub(crate) home: Arc<Pool>,
    recycle_at_calls: u64,
    /// In periods of maintenance since the pool's start.
    recycle_at_age: u64,
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
/// Idle instances lie in per-thread slots and one lock-free queue; a release puts an instance
/// into its thread's slot and *then* reads the number of waiting callers, and a caller raises
/// that number and *then* looks through slots and queue, so one of them always sees the other.
/// Putting into a slot is an atomic swap, which on x86-64 is a full barrier; on other targets a
/// fence stands in between (see `full_barrier`). `closed` works the same way.
pub struct Pool {
    slots: Sharded<AtomicCell<Option<Box<Pooled>>>>,
    queue: ArrayQueue<Box<Pooled>>,
    /// Instances that are used up, until the background drops them.
    spent: ArrayQueue<Box<Pooled>>,
    /// True while the background is about to look at `spent`.
    sweeping: AtomicBool,
    waiters: Waiters<Lease>,
    closed: AtomicBool,
    /// True while nobody may wait for an instance.
    suspended: AtomicBool,
    /// Instances that live or are being made.
    live: AtomicUsize,
    /// Instances that are being made.
    making: AtomicUsize,
    /// Periods of maintenance since the start: a clock that costs a call one read.
    age: AtomicU64,
    /// Marks of the live instances, to count those in a call.
    marks: Mutex<Vec<Weak<CallMark>>>,
    tally: Arc<PoolTally>,
    /// Instances that could not be made.
    unmade: AtomicU64,
    compiled: Arc<Compiled>,
    recipe: Arc<dyn Recipe>,
    options: PoolOptions,
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
            slots: Sharded::new(|| AtomicCell::new(None)),
            queue: ArrayQueue::new(options.max_instances.max(1)),
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
        for _ in 0..pool.warm_target() {
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

    /// An idle instance, if there is one and nobody waits for it. Never blocks.
    #[inline]
    pub fn try_acquire(&self) -> Option<Lease> {
        if self.waiters.count() > 0 {
            return None;
        }
        self.take_idle().map(Lease::new)
    }

    /// An instance, waiting for one in order until `deadline` if need be.
    ///
    /// # Errors
    ///
    /// [`CallError::QueueFull`] at once, [`CallError::Saturated`] after `budget`, or
    /// [`CallError::OutOfUse`] if the pool is closed, [`CallError::Unavailable`] if it has no instance
    /// and none can be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place up; an instance that was handed over goes back.
    pub async fn acquire(self: &Arc<Self>, budget: Duration) -> Result<Lease, CallError> {
        if let Some(lease) = self.try_acquire() {
            return Ok(lease);
        }
        let mut place = self.join()?;
        let sleep = self.compiled.engine.background.sleep(budget);
        tokio::select! {
            biased;
            served = place.served() => served.ok_or_else(|| self.unavailable()),
            () = sleep => Err(self.saturated(budget)),
        }
    }

    /// Like [`acquire`](Self::acquire), blocking this thread. Needs no async runtime.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_blocking(self: &Arc<Self>, budget: Duration) -> Result<Lease, CallError> {
        if let Some(lease) = self.try_acquire() {
            return Ok(lease);
        }
        let mut place = self.join()?;
        match block_on(place.served(), Instant::now() + budget) {
            Some(served) => served.ok_or_else(|| self.unavailable()),
            None => Err(self.saturated(budget)),
        }
    }

    /// What the pool has and did.
    pub fn counts(&self) -> PoolCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolCounts {
            live: self.live.load(Ordering::Relaxed),
            idle: self.idle(),
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
        while let Some(idle) = self.take_idle() {
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

    /// The one way out: the background drops it, since unmapping its memory takes microseconds, and
    /// makes another in its place if one is wanted.
    fn retire(&self, pooled: Box<Pooled>) {
        let home = Arc::clone(&pooled.home);
        self.live.fetch_sub(1, Ordering::Relaxed);
        if let Err(pooled) = self.spent.push(pooled) {
            // More go than may live: the background is far behind.
            self.compiled.engine.background.handle().spawn(async move { drop(pooled) });
        }
        home.sweep();
        if home.waiters.count() > 0 {
            // Whoever waits for the instance that went must get another one, above `min_warm` too.
            home.grow();
        }
    }

    /// Makes an idle instance available: to the first caller that waits, else in a slot.
    #[inline]
    pub(crate) fn put(&self, pooled: Box<Pooled>) {
        if let Some(before) = self.slots.local().swap(Some(pooled)) {
            // The queue holds `max_instances`, so there is room; a place lost here would be a
            // bug, and the instance goes rather than the request.
            if let Err(surplus) = self.queue.push(before) {
                self.retire(surplus);
            }
        }
        full_barrier();
        if self.waiters.count() > 0 {
            self.serve_waiters();
        }
        if self.is_closed() {
            self.close();
        }
    }

    #[inline]
    fn take_idle(&self) -> Option<Box<Pooled>> {
        self.slots.local().take().or_else(|| self.queue.pop()).or_else(|| self.steal())
    }

    /// An instance that another thread left in its slot.
    #[cold]
    fn steal(&self) -> Option<Box<Pooled>> {
        self.slots.iter().find_map(AtomicCell::take)
    }

    #[cold]
    fn serve_waiters(&self) {
        while self.waiters.serve(|| self.take_idle().map(Lease::new)) {}
    }

    fn join(self: &Arc<Self>) -> Result<Place<'_, Lease>, CallError> {
        if self.turns_away() {
            return Err(self.unavailable());
        }
        let place = self.waiters.join().map_err(|waiting| CallError::QueueFull { waiting })?;
        full_barrier();
        self.serve_waiters();
        if self.turns_away() {
            self.waiters.dismiss();
        } else if self.waiters.count() > 0 {
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

    fn idle(&self) -> usize {
        // Slots cannot be looked into without taking; what is in no call is idle.
        let in_call =
            self.marks.lock().iter().filter_map(Weak::upgrade).filter(|mark| mark.in_call()).count();
        let live = self.live.load(Ordering::Relaxed);
        live.saturating_sub(in_call + self.making.load(Ordering::Relaxed))
    }

    fn warm_target(&self) -> usize {
        if self.options.fresh { self.options.max_instances } else { self.options.min_warm }
    }

    /// A vacancy, if the pool may have one more instance.
    fn claim(self: &Arc<Self>) -> Option<Vacancy> {
        let max = self.options.max_instances;
        let claimed = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
            if live < max { Some(live + 1) } else { None }
        });
        claimed.ok()?;
        self.making.fetch_add(1, Ordering::Relaxed);
        Some(Vacancy { pool: Arc::clone(self), kept: false })
    }

    async fn make(self: &Arc<Self>, vacancy: Vacancy) -> Result<Box<Pooled>, StepError> {
        let message = self.recipe.init_message();
        let budget = self.options.make_budget;
        let services = self.recipe.services();
        let made = Instance::new(&self.compiled, services, budget, &message).await;
        let (instance, answer) = made?;
        let mut trial = Trial::new(instance, budget);
        let warmed = self.recipe.warm(&mut trial, answer).await;
        warmed.map_err(|error| StepError { step: "warm-up", error })?;
        let mut instance = trial.into_instance();
        instance.settle();
        {
            let mut marks = self.marks.lock();
            marks.retain(|mark| mark.strong_count() > 0);
            marks.push(Arc::downgrade(instance.mark()));
        }
        self.tally.created.fetch_add(1, Ordering::Relaxed);
        vacancy.keep();
        Ok(Box::new(Pooled {
            instance,
            home: Arc::clone(self),
            recycle_at_calls: jittered(self.options.recycle_after_calls),
            recycle_at_age: self.age.load(Ordering::Relaxed).saturating_add(jittered(self.recycle_periods())),
        }))
    }

    fn recycle_periods(&self) -> u64 {
        let periods = self.options.recycle_after.as_millis() / MAINTENANCE_PERIOD.as_millis();
        u64::try_from(periods).unwrap_or(u64::MAX)
    }

    /// Makes an instance and puts it where callers find it; false if it could not be made.
    async fn bring(self: Arc<Self>, vacancy: Vacancy) -> bool {
        let StepError { step, error } = match self.make(vacancy).await {
            Ok(made) => {
                self.put(made);
                return true;
            }
            Err(error) => error,
        };
        let count = self.unmade.fetch_add(1, Ordering::Relaxed) + 1;
        // Every request may ask for one: the 1st, 2nd, 4th, 8th … are told.
        if count.is_power_of_two() {
            tracing::warn!(step, %error, count, "an instance could not be made");
        }
        if self.live.load(Ordering::Relaxed) == 0 {
            // Nobody will be served: better told now than at the end of the budget.
            self.waiters.dismiss();
        }
        false
    }

    /// One more instance, if more callers wait than instances are being made.
    fn grow(self: &Arc<Self>) {
        let wanted = self.options.fresh || self.making.load(Ordering::Relaxed) < self.waiters.count();
        if let Some(vacancy) = wanted.then(|| self.claim()).flatten() {
            self.compiled.engine.background.handle().spawn(Arc::clone(self).bring(vacancy));
        }
    }

    /// Makes one instance if too few are warm; false if there are enough or it could not be made. It
    /// goes on by itself, as a task of its own, if it has to wait or takes more than a tick.
    async fn refill(self: &Arc<Self>) -> bool {
        if self.is_closed() || self.live.load(Ordering::Relaxed) >= self.warm_target() {
            return false;
        }
        let Some(vacancy) = self.claim() else { return false };
        let mut making = Box::pin(Arc::clone(self).bring(vacancy));
        match poll_fn(|context| Poll::Ready(making.as_mut().poll(context))).await {
            Poll::Ready(made) => made,
            Poll::Pending => {
                self.compiled.engine.background.handle().spawn(making);
                true
            }
        }
    }

    /// Has the background drop what is spent and make others in its place. Of many instances that go
    /// at once, only the first pays for waking it.
    fn sweep(self: &Arc<Self>) {
        // SeqCst: after the push, and before the sweeper's last look; see there.
        if self.sweeping.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = Arc::clone(self);
        self.compiled.engine.background.handle().spawn(async move {
            loop {
                let gone = pool.spent.pop().map(drop).is_some();
                if pool.refill().await || gone {
                    // Others wait for this thread, too.
                    tokio::task::yield_now().await;
                    continue;
                }
                // What is pushed from here on wakes another sweeper, or is seen below.
                pool.sweeping.store(false, Ordering::SeqCst);
                if pool.spent.is_empty() || pool.sweeping.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    fn spawn_maintenance(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        self.compiled.engine.background.handle().spawn(async move {
            let mut period = tokio::time::interval(MAINTENANCE_PERIOD);
            period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                period.tick().await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
                pool.age.fetch_add(1, Ordering::Relaxed);
                pool.sweep();
            }
        });
    }
}

/// Room for an instance that is being made; given back unless it is kept.
#[derive(Debug)]
struct Vacancy {
    pool: Arc<Pool>,
    kept: bool,
}

impl Vacancy {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        self.pool.making.fetch_sub(1, Ordering::Relaxed);
        if !self.kept {
            self.pool.live.fetch_sub(1, Ordering::Relaxed);
        }
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

/// Keeps a read after an atomic swap from moving before it.
#[inline]
fn full_barrier() {
    // On x86-64 the swap is an `xchg`, which nothing passes; only the compiler must be told.
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// `value` give or take a tenth, so that instances made together are not replaced together; 0
/// means never.
fn jittered(value: u64) -> u64 {
    if value == 0 {
        return u64::MAX;
    }
    let spread = value / 10;
    (value - spread).saturating_add(fastrand::u64(..=spread.saturating_mul(2))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        assert!((0..1000).all(|_| (900..=1100).contains(&jittered(1000))));
        assert_eq!(jittered(0), u64::MAX);
        assert_eq!(jittered(1), 1);
    }
}
