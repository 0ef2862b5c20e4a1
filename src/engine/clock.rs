//! The epoch ticker: one thread per engine, asleep while no call is in flight.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

/// How many tick ends are remembered; a power of two.
const REMEMBERED_TICKS: usize = 1024;

/// Ticks without a call in flight after which the ticker goes to sleep.
const IDLE_TICKS: u64 = 64;

/// Ticks that the ticker sleeps at once while no call takes long. A tick costs some microseconds, and
/// most calls end long before the next one: at a thousand decisions a second, a tick for each of them
/// would cost more than the decisions.
const NAP_TICKS: u32 = 4;

/// Ticks in a row without a call in flight after which the ticker naps.
const CALM_TICKS: u64 = 8;

/// From announcing that the ticker goes to sleep to its last check of the marks. Processors hold stores
/// back for less than a microsecond, and never over an interrupt or a switch of threads.
const SETTLING: Duration = Duration::from_millis(2);

/// How often a sleeping ticker checks the marks, whatever happens.
const SLEEP: Duration = Duration::from_secs(1);

/// What others see of an instance's calls. One per instance, on a cache line of its own; only the
/// instance's holder writes it.
#[derive(Debug, Default)]
pub(crate) struct CallMark(CachePadded<Marked>);

#[derive(Debug)]
struct Marked {
    /// Counts the beginnings and ends of calls, so it is odd during one.
    count: AtomicU32,
    /// When the guest last went on after it gave way, in nanoseconds since the clock's start; 0 while it
    /// stands still.
    resumed: AtomicU64,
}

impl Default for Marked {
    fn default() -> Self {
        Self { count: AtomicU32::new(0), resumed: AtomicU64::new(1) }
    }
}

impl CallMark {
    /// True during a call.
    pub(crate) fn in_call(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) % 2 == 1
    }

    fn next(&self) -> u32 {
        // Relaxed: only the instance's holder writes.
        self.0.count.load(Ordering::Relaxed).wrapping_add(1)
    }

    /// True while the guest waits for the executor that it gave way to.
    pub(crate) fn gave_way(&self) -> bool {
        // Relaxed, as for `resumed` everywhere: only the holder of the instance reads and writes it.
        self.0.resumed.load(Ordering::Relaxed) == 0
    }

    /// The guest stands still from here on.
    pub(crate) fn give_way(&self) {
        self.0.resumed.store(0, Ordering::Relaxed);
    }

    /// The guest goes on.
    pub(crate) fn go_on(&self, clock: &Clock) {
        let nanos = u64::try_from(clock.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.resumed.store(nanos.max(1), Ordering::Relaxed);
    }

    /// When the guest last went on.
    pub(crate) fn went_on(&self, clock: &Clock) -> Instant {
        clock.started + Duration::from_nanos(self.0.resumed.load(Ordering::Relaxed))
    }
}

/// The marks' counts together.
struct Activity {
    in_call: bool,
    /// Changes with every beginning and end.
    count: u32,
}

/// Time in ticks, for all calls of one engine.
///
/// # Concurrency
///
/// The ticker writes `ticks` once a tick, and calls read it. A call sets its mark and then reads
/// `parked`; the ticker sets `parked` and then reads the marks. A call sets its mark by a plain store,
/// which is some nanoseconds faster than a store that waits, but the processor may delay it past the
/// read of `parked`. So the ticker does not sleep at once: it checks the marks again after [`SETTLING`],
/// when every earlier store has long arrived, and now and then while it sleeps. A call never runs with
/// the ticker asleep.
#[derive(Debug)]
pub(crate) struct Clock {
    tick: Duration,
    /// Ticks that the ticker may sleep at once.
    nap: AtomicU32,
    ticks: CachePadded<AtomicU64>,
    /// When the latest tick of each number, modulo the length, ended: in nanoseconds since `started`.
    ended: Box<[AtomicU64]>,
    /// The ends of all ticks below this are in `ended`.
    recorded: AtomicU64,
    started: Instant,
    parked: AtomicBool,
    stopping: AtomicBool,
    marks: Mutex<Vec<Weak<CallMark>>>,
    ticker: Mutex<Option<thread::JoinHandle<()>>>,
    thread: Mutex<Option<thread::Thread>>,
}

impl Clock {
    /// Starts the ticker, which calls `advance` with the number of ticks that have passed.
    pub(crate) fn start(
        tick: Duration,
        advance: impl Fn(u64) + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let clock = Arc::new(Self {
            tick,
            nap: AtomicU32::new(NAP_TICKS),
            ticks: CachePadded::new(AtomicU64::new(0)),
            ended: (0..REMEMBERED_TICKS).map(|_| AtomicU64::new(0)).collect(),
            recorded: AtomicU64::new(0),
            started: Instant::now(),
            parked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            marks: Mutex::new(Vec::new()),
            ticker: Mutex::new(None),
            thread: Mutex::new(None),
        });
        let shared = Arc::clone(&clock);
        let handle = thread::Builder::new().name("sgl-ticker".into()).spawn(move || shared.run(&advance))?;
        *clock.thread.lock() = Some(handle.thread().clone());
        *clock.ticker.lock() = Some(handle);
        Ok(clock)
    }

    /// The length of a tick.
    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    /// Notes that there are calls with this budget. A call that begins during a nap of the ticker is
    /// checked only after the nap, so a small budget shortens all later naps.
    pub(crate) fn expect(&self, budget: Duration) {
        let ticks = budget.as_nanos() / self.tick.as_nanos().max(1) / 2;
        let nap = u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, NAP_TICKS);
        // Relaxed: seen by the next nap.
        self.nap.fetch_min(nap, Ordering::Relaxed);
    }

    /// Ticks so far. Stands still while no call is in flight.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        // Relaxed: a call that reads one tick late gets one tick more, within its stated bound.
        self.ticks.load(Ordering::Relaxed)
    }

    /// When `tick` ended: a call that read this tick began no later. `None` if the tick has not ended.
    /// If the clock no longer remembers the tick, the end of an earlier one.
    #[cold]
    pub(crate) fn end_of(&self, tick: u64) -> Option<Instant> {
        // Acquire: whoever sees the number of a tick also sees its end.
        if self.recorded.load(Ordering::Acquire) <= tick {
            return None;
        }
        let nanos = self.end_cell(tick).map_or(0, |cell| cell.load(Ordering::Relaxed));
        Some(self.started + Duration::from_nanos(nanos))
    }

    fn end_cell(&self, tick: u64) -> Option<&AtomicU64> {
        usize::try_from(tick % REMEMBERED_TICKS as u64).ok().and_then(|index| self.ended.get(index))
    }

    /// A mark for a new instance.
    pub(crate) fn register(&self) -> Arc<CallMark> {
        let mark = Arc::new(CallMark::default());
        let mut marks = self.marks.lock();
        if marks.len() == marks.capacity() {
            // Growing is a good moment to forget instances that are gone.
            marks.retain(|known| known.strong_count() > 0);
        }
        marks.push(Arc::downgrade(&mark));
        mark
    }

    /// Notes that a call begins on the mark's instance.
    #[inline]
    pub(crate) fn begin(&self, mark: &CallMark) {
        // Not SeqCst: pairs with the waiting in `park`, see the type. The fence keeps the compiler from
        // moving the read before the store.
        mark.0.count.store(mark.next(), Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Acquire) {
            self.unpark();
        }
    }

    /// Notes that the call has ended.
    #[inline]
    pub(crate) fn end(&self, mark: &CallMark) {
        // Release: nothing depends on it; a late view keeps the ticker awake a little longer.
        mark.0.count.store(mark.next(), Ordering::Release);
    }

    #[cold]
    fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }

    fn run(&self, advance: &dyn Fn(u64)) {
        let mut next = Instant::now() + self.tick;
        let (mut idle, mut calm, mut seen) = (0, 0, 0);
        // Relaxed: `stop` unparks afterwards, and one tick more does no harm.
        while !self.stopping.load(Ordering::Relaxed) {
            // Relaxed: see `expect`.
            let nap = if calm >= CALM_TICKS { self.nap.load(Ordering::Relaxed) - 1 } else { 0 };
            thread::sleep((next + self.tick * nap).saturating_duration_since(Instant::now()));
            // Late wake-ups and naps make up for missed ticks: budgets are wall-clock time.
            let late = Instant::now().saturating_duration_since(next);
            let missed = u32::try_from(late.as_nanos() / self.tick.as_nanos().max(1)).unwrap_or(u32::MAX);
            next += self.tick.saturating_mul(missed.saturating_add(1));
            let passed = u64::from(missed) + 1;
            let ended = self.ticks.fetch_add(passed, Ordering::Relaxed);
            // After `ticks` advanced, so that no call that read the old tick began later; before the
            // epoch does, so that the calls it wakes find the end.
            if let Some(cell) = self.end_cell(ended) {
                let nanos = self.started.elapsed().as_nanos();
                cell.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            // Release: pairs with `end_of`.
            self.recorded.store(ended + passed, Ordering::Release);
            advance(passed);
            let activity = self.activity();
            calm = if activity.in_call { 0 } else { calm + passed };
            let quiet = !activity.in_call && activity.count == seen;
            idle = if quiet { idle + passed } else { 0 };
            seen = activity.count;
            if idle >= IDLE_TICKS {
                self.park(seen);
                (idle, calm) = (0, 0);
                next = Instant::now() + self.tick;
            }
        }
    }

    /// Sleeps until a call begins. `seen` is the count of the marks at the last tick.
    fn park(&self, seen: u32) {
        self.parked.store(true, Ordering::SeqCst);
        let mut wait = SETTLING;
        while self.parked.load(Ordering::SeqCst) && !self.stopping.load(Ordering::SeqCst) {
            thread::park_timeout(wait);
            let activity = self.activity();
            if activity.in_call || activity.count != seen {
                self.parked.store(false, Ordering::SeqCst);
            }
            wait = SLEEP;
        }
    }

    fn activity(&self) -> Activity {
        let mut activity = Activity { in_call: false, count: 0 };
        for mark in self.marks.lock().iter().filter_map(Weak::upgrade) {
            let count = mark.0.count.load(Ordering::SeqCst);
            activity.in_call |= count % 2 == 1;
            activity.count = activity.count.wrapping_add(count);
        }
        activity
    }

    /// Ends the ticker and waits for it.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.unpark();
        let handle = self.ticker.lock().take();
        if let Some(handle) = handle {
            // The ticker's own panic would have been printed; there is nothing to add.
            let _ = handle.join();
        }
    }

    #[cfg(test)]
    fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(10), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn ticker_sleeps_without_calls_and_wakes_for_one() {
        let clock = Clock::start(Duration::from_micros(100), |_| ()).unwrap();
        let mark = clock.register();
        wait_until("it must go to sleep", || clock.is_parked());
        clock.begin(&mark);
        let before = clock.now();
        wait_until("it must tick during a call", || clock.now() > before + 200);
        assert!(!clock.is_parked(), "a call of many ticks keeps it awake");
        clock.end(&mark);
        wait_until("it must go to sleep again", || clock.is_parked());
        clock.stop();
    }

    #[test]
    fn small_budget_shortens_the_naps_for_good() {
        let tick = Duration::from_millis(1);
        let clock = Clock::start(tick, |_| ()).unwrap();
        let nap = || clock.nap.load(Ordering::Relaxed);
        clock.expect(Duration::from_secs(30));
        assert_eq!(nap(), NAP_TICKS);
        clock.expect(tick * 5);
        assert_eq!(nap(), 2);
        clock.expect(tick);
        clock.expect(tick * 10);
        assert_eq!(nap(), 1);
        clock.stop();
    }

    #[test]
    fn ticks_of_a_nap_are_made_up_for() {
        let tick = Duration::from_millis(1);
        let advanced = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&advanced);
        let (naps, napped) = std::sync::mpsc::channel();
        let began = Instant::now();
        let clock = Clock::start(tick, move |passed| {
            seen.fetch_add(passed, Ordering::Relaxed);
            if passed >= u64::from(NAP_TICKS) {
                let _ = naps.send(());
            }
        })
        .unwrap();
        let mark = clock.register();
        // Calls that are over at once, until it naps.
        while napped.recv_timeout(tick / 5).is_err() {
            clock.begin(&mark);
            clock.end(&mark);
            assert!(began.elapsed() < Duration::from_secs(10), "it never naps");
        }
        clock.stop();
        let ticks = advanced.load(Ordering::Relaxed);
        assert_eq!(ticks, clock.now());
        let elapsed = began.elapsed().as_millis();
        assert!(u128::from(ticks) <= elapsed, "{ticks} ticks in {elapsed} ms");
    }

    #[test]
    fn instance_that_is_gone_in_a_call_does_not_keep_the_ticker_awake() {
        let clock = Clock::start(Duration::from_micros(100), |_| ()).unwrap();
        let mark = clock.register();
        clock.begin(&mark);
        drop(mark);
        wait_until("it must go to sleep", || clock.is_parked());
        clock.stop();
    }
}
