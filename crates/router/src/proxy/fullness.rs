//! Whether one worker has room.
//!
//! ```text
//!         answered 429 or 503            time is over
//!  Free ──────────────────────► Passed ───────────────► Free
//!                                 │ ▲
//!     everybody is passed over:   │ │ answered 429 or 503
//!     it may be tried again       ▼ │
//!                               Opened ── time is over, or it served ► Free
//! ```

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a worker that does not say how long is passed over for the first time; twice as long
/// each time after that. An engine frees a place every few tens of milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How long at most, if it does not say how long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long at most, whatever it says.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// How long a pause that is over still explains why nobody was chosen.
const JUST_NOW: Duration = Duration::from_millis(100);

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Room {
    /// Nothing is known against it.
    Free = 0,
    /// It said that it is full, and is passed over.
    Passed = 1,
    /// It said that it is full, but so did all others.
    Opened = 2,
}

/// When a worker last said that it is full.
///
/// # Concurrency
///
/// A worker with room costs a relaxed load for each answer. Changes take the lock; `room` mirrors
/// what is under it.
#[derive(Debug)]
pub struct Fullness {
    room: AtomicU8,
    inner: Mutex<Pause>,
    told: Notify,
}

#[derive(Debug)]
struct Pause {
    room: Room,
    /// When the last pause ends or ended.
    until: Option<Instant>,
    /// The pause after the next refusal that names none.
    next: Duration,
    /// Whether the worker itself said how long.
    asked: bool,
}

impl Default for Fullness {
    fn default() -> Self {
        let (room, next) = (Room::Free, FIRST_PAUSE);
        let inner = Pause { room, until: None, next, asked: false };
        Self { room: AtomicU8::new(Room::Free as u8), inner: Mutex::new(inner), told: Notify::new() }
    }
}

impl Fullness {
    /// The worker said that it is full, and perhaps for how long. Of refusals that come at once
    /// only the first makes the next pause longer.
    pub fn tell(&self, retry_after: Option<Duration>) {
        let mut inner = self.inner.lock();
        let pause = match retry_after {
            Some(asked) => asked.min(LONGEST_ASKED),
            None if inner.room == Room::Passed => return,
            None => std::mem::replace(&mut inner.next, Duration::ZERO),
        };
        if inner.next.is_zero() {
            inner.next = (pause * 2).min(LONGEST_PAUSE);
        }
        inner.until = Some(Instant::now() + pause);
        inner.asked = retry_after.is_some();
        self.change(&mut inner, Room::Passed);
        self.told.notify_one();
    }

    /// The worker served a request: pauses are short again, and one that it did not ask for is
    /// over. True if that changed what [`is_passed_over`](Self::is_passed_over) says.
    #[inline]
    pub fn served(&self) -> bool {
        // Relaxed: a refusal at the same moment counts or not, as if it came before or after.
        if self.room.load(Ordering::Relaxed) == Room::Free as u8 {
            return false;
        }
        let mut inner = self.inner.lock();
        inner.next = FIRST_PAUSE;
        let was_passed = inner.room == Room::Passed;
        if was_passed && inner.asked {
            return false;
        }
        // One that was tried although it is full has room, whatever time it asked for.
        self.change(&mut inner, Room::Free);
        was_passed
    }

    /// It may be tried although it is full. True if that changed what
    /// [`is_passed_over`](Self::is_passed_over) says.
    pub fn open(&self) -> bool {
        let mut inner = self.inner.lock();
        let passed = inner.room == Room::Passed;
        if passed {
            self.change(&mut inner, Room::Opened);
        }
        passed
    }

    /// True if it said that it is full and the time is not over, also if it may be tried and has served
    /// nobody since.
    pub fn is_full(&self) -> bool {
        // Relaxed: as in `served`.
        self.room.load(Ordering::Relaxed) != Room::Free as u8
    }

    /// True if it is full, or was a moment ago. Takes the lock.
    pub fn was_full(&self) -> bool {
        let inner = self.inner.lock();
        inner.room != Room::Free || inner.until.is_some_and(|until| until + JUST_NOW > Instant::now())
    }

    /// True if it is to get no requests now.
    pub fn is_passed_over(&self) -> bool {
        // Relaxed: as in `served`.
        self.room.load(Ordering::Relaxed) == Room::Passed as u8
    }

    /// Waits until a full worker may have room again. For one caller.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on waiting for the same moment.
    pub async fn over(&self) {
        loop {
            let until = {
                let inner = self.inner.lock();
                inner.until.filter(|_| inner.room != Room::Free)
            };
            let told = self.told.notified();
            match until {
                None => told.await,
                // Another refusal moves the end.
                Some(until) if tokio::time::timeout_at(until, told).await.is_ok() => {}
                Some(_) if self.end_pause() => return,
                Some(_) => {}
            }
        }
    }

    fn end_pause(&self) -> bool {
        let mut inner = self.inner.lock();
        let ends = inner.room != Room::Free && inner.until.is_none_or(|until| until <= Instant::now());
        if ends {
            self.change(&mut inner, Room::Free);
        }
        ends
    }

    fn change(&self, inner: &mut Pause, room: Room) {
        inner.room = room;
        // Relaxed: as in `served`.
        self.room.store(room as u8, Ordering::Relaxed);
    }
}

/// What `retry-after` asks for: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    async fn pause(full: &Fullness) -> Duration {
        let before = Instant::now();
        full.over().await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_refusals_and_are_short_again_after_a_success() {
        let full = Fullness::default();
        for millis in [20, 40, 80, 160, 320, 640, 1000, 1000] {
            full.tell(None);
            full.tell(None);
            assert!(full.is_passed_over());
            assert_eq!(pause(&full).await, Duration::from_millis(millis));
            assert!(!full.is_full());
        }
        full.tell(None);
        assert!(full.served(), "it has room");
        assert!(!full.is_full());
        full.tell(None);
        assert_eq!(pause(&full).await, Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn pause_that_the_worker_asked_for_is_kept_within_a_bound() {
        let full = Fullness::default();
        full.tell(Some(Duration::from_secs(3)));
        assert!(!full.served(), "it asked for the time");
        assert!(full.is_passed_over());
        assert_eq!(pause(&full).await, Duration::from_secs(3));
        full.tell(Some(Duration::from_secs(1_000_000)));
        assert_eq!(pause(&full).await, LONGEST_ASKED);
    }

    #[tokio::test(start_paused = true)]
    async fn worker_that_may_be_tried_although_full_is_passed_over_again_when_it_says_so() {
        let full = Fullness::default();
        assert!(!full.open(), "it is free");
        full.tell(None);
        assert!(full.open());
        assert_eq!((full.is_full(), full.is_passed_over()), (true, false));
        full.tell(None);
        assert!(full.is_passed_over());
        assert_eq!(pause(&full).await, Duration::from_millis(40));
    }

    #[tokio::test(start_paused = true)]
    async fn worker_that_serves_when_it_is_tried_although_full_is_not_full_any_more() {
        let full = Fullness::default();
        full.tell(Some(Duration::from_secs(3)));
        assert!(full.open());
        assert!(!full.served(), "it was not passed over before either");
        assert_eq!((full.is_full(), full.is_passed_over()), (false, false));
        full.tell(Some(Duration::from_secs(3)));
        assert!(full.is_passed_over());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let with = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]))
        };
        assert_eq!(with(" 7 "), Some(Duration::from_secs(7)));
        let soon = SystemTime::now() + Duration::from_secs(100);
        let told = with(&httpdate::fmt_http_date(soon)).unwrap();
        assert!(told > Duration::from_secs(90) && told <= Duration::from_secs(100), "{told:?}");
        assert_eq!(with("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(with("-1"), None);
        assert_eq!(with("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
