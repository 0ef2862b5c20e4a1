//! So much in a minute, on average, and as much at once.

use std::time::{Duration, Instant};

const MINUTE_SECS: f64 = 60.0;

/// Refills steadily. It may be overdrawn, since some costs are known only afterwards.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    per_minute: f64,
    level: f64,
    since: Instant,
}

impl TokenBucket {
    /// Full.
    pub(crate) fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute: f64::from(per_minute), level: f64::from(per_minute), since: now }
    }

    /// With another limit from now on; what was taken stays taken.
    pub(crate) fn limit(&mut self, per_minute: u32, now: Instant) {
        self.refill(now);
        let taken = self.per_minute - self.level;
        self.per_minute = f64::from(per_minute);
        self.level = self.per_minute - taken;
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.level = (self.level + passed * self.per_minute / MINUTE_SECS).min(self.per_minute);
        self.since = self.since.max(now);
    }

    /// Nothing, if this much is there.
    ///
    /// # Errors
    ///
    /// After how long it will be.
    pub(crate) fn check(&mut self, needed: f64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let lack = needed - self.level;
        if lack <= 0.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64(lack * MINUTE_SECS / self.per_minute))
    }

    /// Takes this much, or gives it back if it is below 0.
    pub(crate) fn take(&mut self, amount: f64) {
        self.level = (self.level - amount).min(self.per_minute);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_as_the_limit_at_once_and_steadily_afterwards() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(60, now);
        for _ in 0..60 {
            assert_eq!(bucket.check(1.0, now), Ok(()));
            bucket.take(1.0);
        }
        assert_eq!(bucket.check(1.0, now), Err(Duration::from_secs(1)));
        let later = now + Duration::from_secs(2);
        assert_eq!(bucket.check(2.0, later), Ok(()));
        assert_eq!(bucket.check(3.0, later), Err(Duration::from_secs(1)));
        bucket.take(100.0);
        assert_eq!(bucket.check(0.0, later), Err(Duration::from_secs(98)), "an overdraft is paid back first");
        bucket.limit(120, later);
        assert_eq!(bucket.check(0.0, later), Err(Duration::from_secs(19)));
    }
}
