//! How long matches take while the index changes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::indexes::{Change, Index, Question};
use crate::plan::Plan;

/// Blocks of a request: 8,192 tokens.
pub(crate) const BLOCKS: usize = 512;
/// Steps around the one that is noted now, from which requests are taken.
const NEAR: usize = 200;
/// Requests that are asked one after the other between two looks at the clock.
const BATCH: usize = 64;
/// Time between two steps.
const PACE: Duration = Duration::from_micros(400);

/// Which requests are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// Those that come next.
    Coming,
    /// Those that were sent a moment ago: somebody holds all of them.
    Sent,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    /// Matches a second, of all threads.
    pub(crate) rate: f64,
}

/// Asks on `threads` threads while `change` takes note of the plan's steps from `first` to `last`, then for
/// a second time in batches for the rate.
pub(crate) fn measure(
    index: &dyn Index,
    change: &mut dyn Change,
    plan: &Plan,
    (first, last): (usize, usize),
    threads: usize,
    requests: Requests,
) -> Times {
    let middle = usize::midpoint(first, last);
    let each = during(index, change, plan, (first, middle), threads, requests, false);
    let many = during(index, change, plan, (middle, last), threads, requests, true);
    let mut all: Vec<f64> = each.into_iter().flatten().collect();
    all.sort_by(f64::total_cmp);
    let clock = clock_ns();
    let part = |part: usize| all.get(all.len() * part / 100).copied().unwrap_or(f64::NAN) - clock;
    let rate = many.iter().map(|batches| 1e9 * batches.len() as f64 / batches.iter().sum::<f64>()).sum();
    Times { p50_ns: part(50), p99_ns: part(99), rate }
}

/// Times of matches by thread, in nanoseconds; of batches, the time by match.
fn during(
    index: &dyn Index,
    change: &mut dyn Change,
    plan: &Plan,
    (first, last): (usize, usize),
    threads: usize,
    requests: Requests,
    batches: bool,
) -> Vec<Vec<f64>> {
    let (now, is_over) = (AtomicUsize::new(first), AtomicBool::new(false));
    let (now, is_over) = (&now, &is_over);
    std::thread::scope(|scope| {
        let ask = |seed| move || asking(index, plan, seed, requests, batches, now, is_over);
        let asking: Vec<_> = (0..threads).map(|seed| scope.spawn(ask(seed as u64))).collect();
        let begin = Instant::now();
        for (count, step) in (first..last).enumerate() {
            let due = begin + PACE * count as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            change.apply(&plan.steps[step..=step]);
            now.store(step + 1, Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
        asking.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

fn asking(
    index: &dyn Index,
    plan: &Plan,
    seed: u64,
    requests: Requests,
    batches: bool,
    now: &AtomicUsize,
    is_over: &AtomicBool,
) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut column = vec![0; plan.workers];
    let mut times = Vec::with_capacity(1 << 20);
    while !is_over.load(Ordering::Relaxed) {
        let count = if batches { BATCH } else { 1 };
        let now = now.load(Ordering::Relaxed);
        let questions: Vec<Question> = (0..count).map(|_| pick(plan, &mut random, requests, now)).collect();
        let begin = Instant::now();
        for question in &questions {
            index.find(question, &mut column);
            std::hint::black_box(&mut column);
        }
        times.push(begin.elapsed().as_nanos() as f64 / count as f64);
    }
    times
}

/// A prompt of at least as many blocks, near the step that is noted now, cut to them.
pub(crate) fn pick(plan: &Plan, random: &mut fastrand::Rng, requests: Requests, now: usize) -> Question {
    loop {
        let offset = random.usize(1..=NEAR);
        let at = match requests {
            Requests::Coming => now + offset,
            Requests::Sent => now.saturating_sub(offset),
        };
        match plan.steps.get(at.min(plan.steps.len() - 1)) {
            Some(step) if step.chain.len() >= BLOCKS => return Question::new(step, BLOCKS),
            _ => {}
        }
    }
}

/// What it takes to look at the clock.
fn clock_ns() -> f64 {
    let mut all: Vec<u128> = (0..10_001).map(|_| Instant::now().elapsed().as_nanos()).collect();
    all.sort_unstable();
    all[all.len() / 2] as f64
}
