//! How often an API is asked, whatever it answers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time between two requests that go on for long.
const INTERVAL: Duration = Duration::from_millis(500);

/// Requests that may follow each other at once: the pages of a list, the first watch.
const AT_ONCE: u32 = 40;

/// Lets requests through at a pace: a watch that ends at once, again and again, is begun again without a pause by
/// who watches.
#[derive(Debug, Default)]
pub(crate) struct ApiPace {
    /// When the last request that was let through would have been at an even pace.
    last: Mutex<Option<Instant>>,
}

impl ApiPace {
    /// Waits until one more request may be sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place of the request away.
    pub(crate) async fn wait(&self) {
        let (now, burst) = (Instant::now(), INTERVAL * AT_ONCE);
        let turn = {
            let mut last = self.last.lock();
            let even = last.map_or(now, |last| last.max(now) + INTERVAL);
            *last = Some(even);
            even
        };
        tokio::time::sleep_until(turn.checked_sub(burst).unwrap_or(now).max(now)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_pass_at_once_for_a_while_and_then_at_an_even_pace() {
        let (pace, began) = (ApiPace::default(), Instant::now());
        for _ in 0..=AT_ONCE {
            pace.wait().await;
        }
        assert!(began.elapsed() < INTERVAL, "{:?}", began.elapsed());
        for _ in 0..10 {
            pace.wait().await;
        }
        assert!(began.elapsed() >= INTERVAL * 9, "{:?}", began.elapsed());
        tokio::time::sleep(INTERVAL * AT_ONCE * 2).await;
        let later = Instant::now();
        pace.wait().await;
        assert!(later.elapsed() < INTERVAL);
    }
}
