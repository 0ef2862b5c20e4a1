//! How many requests come: a moving average, without a lock on the way of a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::types::shard::Sharded;

/// What the average looks back on.
const WINDOW: Duration = Duration::from_secs(60);

/// How often it is brought up to date. Whoever comes first afterwards does it.
const STEP: Duration = Duration::from_millis(250);

/// Counts requests and knows how many come in a second.
///
/// # Concurrency
///
/// Counting is a write to the thread's own line. Four times a second one request sums up; the others see
/// the last sum.
#[derive(Debug)]
pub struct ArrivalRate {
    since: Instant,
    counted: Sharded<AtomicU64>,
    /// When the next sum is due, in nanoseconds since `since`; taken by exchanging it.
    due: AtomicU64,
    /// When the last sum was made, and what it was.
    summed_at: AtomicU64,
    summed: AtomicU64,
    /// The average: the rate so far, and how much of the window it covers, two `f32`.
    average: AtomicU64,
}

impl ArrivalRate {
    /// Nobody has come yet.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            counted: Sharded::default(),
            due: AtomicU64::new(nanos(STEP)),
            summed_at: AtomicU64::new(0),
            summed: AtomicU64::new(0),
            average: AtomicU64::new(0),
        }
    }

    /// Counts a request that came now, and tells how many come in a second, if that is known yet.
    pub fn count(&self, now: Instant) -> Option<f32> {
        // Relaxed, here and below: numbers that order nothing else. Who sums up may miss the last few.
        self.counted.local().fetch_add(1, Ordering::Relaxed);
        let now = nanos(now.saturating_duration_since(self.since));
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(nanos(STEP));
        if now >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.sum_up(now);
        }
        let (rate, covered) = unpacked(self.average.load(Ordering::Relaxed));
        (covered > 0.0).then(|| rate / covered)
    }

    /// Takes what came since the last sum into the average. Only by who took `due`.
    #[cold]
    fn sum_up(&self, now: u64) {
        let total: u64 = self.counted.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let came = total.wrapping_sub(self.summed.swap(total, Ordering::Relaxed));
        let past = Duration::from_nanos(now.saturating_sub(self.summed_at.swap(now, Ordering::Relaxed)));
        let before = unpacked(self.average.load(Ordering::Relaxed));
        let after = if past >= WINDOW {
            // Nobody came, or nobody wanted to know: it begins anew.
            (0.0, 0.0)
        } else {
            let seconds = past.as_secs_f32();
            let kept = (-seconds / WINDOW.as_secs_f32()).exp();
            #[expect(clippy::cast_precision_loss, reason = "an average")]
            let rate = came as f32 / seconds.max(f32::MIN_POSITIVE);
            (before.0 * kept + rate * (1.0 - kept), before.1 * kept + (1.0 - kept))
        };
        self.average.store(packed(after), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn packed((rate, covered): (f32, f32)) -> u64 {
    u64::from(rate.to_bits()) << 32 | u64::from(covered.to_bits())
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpacked(both: u64) -> (f32, f32) {
    (f32::from_bits((both >> 32) as u32), f32::from_bits(both as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts requests that come so many milliseconds after each other; the last average.
    fn counted(arrivals: &ArrivalRate, from: &mut Instant, apart_ms: u64, count: u32) -> Option<f32> {
        (0..count).fold(None, |_, _| {
            *from += Duration::from_millis(apart_ms);
            arrivals.count(*from)
        })
    }

    #[test]
    fn average_is_right_from_the_beginning_and_follows() {
        let mut now = Instant::now();
        let arrivals = ArrivalRate::new(now);
        assert_eq!(counted(&arrivals, &mut now, 20, 12), None, "nothing is known in the first moment");
        let early = counted(&arrivals, &mut now, 20, 100).unwrap();
        assert!((early - 50.0).abs() < 3.0, "{early}");
        let steady = counted(&arrivals, &mut now, 20, 6000).unwrap();
        assert!((steady - 50.0).abs() < 1.0, "{steady}");
        // A minute of another rate takes it most of the way there.
        let slower = counted(&arrivals, &mut now, 100, 600).unwrap();
        assert!((20.0..30.0).contains(&slower), "{slower}");
        let slow = counted(&arrivals, &mut now, 100, 6000).unwrap();
        assert!((slow - 10.0).abs() < 0.5, "{slow}");
    }

    #[test]
    fn a_minute_of_nobody_begins_anew() {
        let mut now = Instant::now();
        let arrivals = ArrivalRate::new(now);
        counted(&arrivals, &mut now, 10, 3000);
        now += WINDOW;
        assert_eq!(arrivals.count(now), None);
        let rate = counted(&arrivals, &mut now, 500, 20).unwrap();
        assert!((rate - 2.0).abs() < 0.1, "{rate}");
    }
}
