//! Output tokens per second, measured between readings.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Averaged over at least this long.
const WINDOW: Duration = Duration::from_secs(1);

/// Turns a running total into a rate. The lock is held for a few instructions, by readers only.
#[derive(Debug)]
pub(crate) struct Throughput(Mutex<RateWindow>);

#[derive(Debug)]
struct RateWindow {
    since: Instant,
    total: u64,
    rate: f64,
}

impl Throughput {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(RateWindow { since: Instant::now(), total: 0, rate: 0.0 }))
    }

    /// The rate since the last window began, in units per second. Readings less than a second
    /// apart see the same rate; after a long time without one, the rate is the average of it.
    pub(crate) fn per_second(&self, total: u64) -> f64 {
        let mut window = self.0.lock();
        let elapsed = window.since.elapsed();
        if elapsed >= WINDOW {
            let rate = total.saturating_sub(window.total) as f64 / elapsed.as_secs_f64();
            *window = RateWindow { since: Instant::now(), total, rate };
        }
        window.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_is_averaged_between_readings_at_least_a_second_apart() {
        let throughput = Throughput::new();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(throughput.per_second(100), 50.0);
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(throughput.per_second(1000), 50.0);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(throughput.per_second(400), 300.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throughput.per_second(400), 0.0);
    }
}
