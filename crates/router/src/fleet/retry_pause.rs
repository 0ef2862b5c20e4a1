//! A pause after what failed, so that it is neither tried nor told of all the time.

use std::time::{Duration, Instant};

/// When something that failed is tried again.
#[derive(Debug)]
pub(crate) struct RetryPause {
    pause: Duration,
    until: Option<Instant>,
    told: Option<String>,
}

impl RetryPause {
    /// Nothing has failed yet.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, until: None, told: None }
    }

    /// True if it may be tried.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// It failed. True if that is worth a word: it did not fail like this before.
    pub(crate) fn failed(&mut self, now: Instant, why: &str) -> bool {
        self.until = Some(now + self.pause);
        let is_new = self.told.as_deref() != Some(why);
        self.told = Some(why.to_owned());
        is_new
    }

    /// It succeeded.
    pub(crate) fn succeeded(&mut self) {
        (self.until, self.told) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_due_after_the_pause_and_told_of_once() {
        let (pause, began) = (Duration::from_secs(5), Instant::now());
        let mut retry = RetryPause::new(pause);
        assert!(retry.is_due(began));
        assert!(retry.failed(began, "no"));
        assert!(!retry.is_due(began + pause / 2) && retry.is_due(began + pause));
        assert!(!retry.failed(began + pause, "no"), "told already");
        assert!(!retry.is_due(began + pause));
        assert!(retry.failed(began + pause * 2, "another reason"));
        retry.succeeded();
        assert!(retry.is_due(began) && retry.failed(began, "another reason"));
    }
}
