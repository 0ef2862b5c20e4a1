//! Which worker made which response: engines keep them in their own memory, so that who goes on from one,
//! or asks for it, has to reach the worker that made it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;

use crate::proxy::endpoint::Endpoint;

/// Longest id that is remembered, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The workers of responses, as many as there is room for, each for a while.
///
/// # Concurrency
///
/// One lock, taken once by a request that names a response and once by an answer that is one.
#[derive(Debug)]
pub(crate) struct ResponseHomes {
    /// How many.
    capacity: usize,
    lifetime: Duration,
    known: Mutex<KnownHomes>,
}

#[derive(Debug, Default)]
struct KnownHomes {
    homes: HashMap<Arc<str>, ResponseHome>,
    /// In the order in which they were noted; one that was noted again stands here twice.
    order: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct ResponseHome {
    since: Instant,
    /// Gone when the worker is.
    endpoint: Weak<Endpoint>,
}

impl ResponseHomes {
    /// Nothing is known; `None` if nothing is to be.
    pub(crate) fn new(capacity: usize, lifetime: Duration) -> Option<Arc<Self>> {
        (capacity > 0).then(|| Arc::new(Self { capacity, lifetime, known: Mutex::default() }))
    }

    /// This worker has this response.
    pub(crate) fn note(&self, id: &str, endpoint: &Weak<Endpoint>, now: Instant) {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return;
        }
        let mut known = self.known.lock();
        self.forget_old(&mut known, now);
        let is_noted = known.homes.get(id).is_some_and(|home| home.endpoint.ptr_eq(endpoint));
        if is_noted {
            return;
        }
        let id: Arc<str> = id.into();
        known.order.push_back((now, Arc::clone(&id)));
        known.homes.insert(id, ResponseHome { since: now, endpoint: Weak::clone(endpoint) });
        while known.order.len() > self.capacity {
            known.forget_oldest();
        }
    }

    /// The worker that has this response, if that is known and it is still there.
    pub(crate) fn find(&self, id: &str, now: Instant) -> Option<Arc<Endpoint>> {
        let known = self.known.lock();
        let home = known.homes.get(id)?;
        let is_fresh = now.saturating_duration_since(home.since) < self.lifetime;
        home.endpoint.upgrade().filter(|_| is_fresh)
    }

    /// A worker that was asked for this response had it, and has it no longer if it was to delete it.
    pub(crate) fn found(&self, id: &str, endpoint: &Arc<Endpoint>, method: &Method) {
        if *method == Method::DELETE {
            self.forget(id);
        } else {
            self.note(id, &Arc::downgrade(endpoint), Instant::now());
        }
    }

    /// The response is gone.
    fn forget(&self, id: &str) {
        // Its place in the order goes when its time comes.
        self.known.lock().homes.remove(id);
    }

    fn forget_old(&self, known: &mut KnownHomes, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= self.lifetime;
        while known.order.front().is_some_and(|(since, _)| is_old(*since)) {
            known.forget_oldest();
        }
    }
}

impl KnownHomes {
    fn forget_oldest(&mut self) {
        let Some((since, id)) = self.order.pop_front() else { return };
        if self.homes.get(&id).is_some_and(|home| home.since == since) {
            self.homes.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn homes(capacity: usize) -> Arc<ResponseHomes> {
        ResponseHomes::new(capacity, 10 * SECOND).unwrap()
    }

    fn is_known(homes: &ResponseHomes, id: &str) -> bool {
        homes.known.lock().homes.contains_key(id)
    }

    #[test]
    fn oldest_gives_way_and_one_that_moved_is_forgotten_at_its_later_time() {
        let (homes, now) = (homes(3), Instant::now());
        let (one, other) = (Weak::new(), Weak::new());
        for (second, id) in (0..).zip(["a", "b", "c"]) {
            homes.note(id, &one, now + second * SECOND);
        }
        // Weak pointers to nothing are all alike, so that this is no news.
        homes.note("a", &other, now + 3 * SECOND);
        homes.note("d", &one, now + 4 * SECOND);
        assert!(!is_known(&homes, "a") && is_known(&homes, "b") && is_known(&homes, "d"));
        homes.note("e", &one, now + 12 * SECOND);
        assert!(!is_known(&homes, "b") && !is_known(&homes, "c"), "their time is over");
        homes.forget("d");
        homes.note("d", &one, now + 13 * SECOND);
        homes.note("f", &one, now + 15 * SECOND);
        assert!(is_known(&homes, "d"), "its first place in the order is not its second");
        assert_eq!(homes.known.lock().order.len(), 3);
    }

    #[test]
    fn odd_ids_are_not_remembered_and_without_room_there_is_no_memory() {
        let (homes, now) = (homes(3), Instant::now());
        for id in [String::new(), "x".repeat(MAX_ID_BYTES + 1)] {
            homes.note(&id, &Weak::new(), now);
            assert!(!is_known(&homes, &id));
        }
        assert!(homes.find("x", now).is_none());
        assert!(ResponseHomes::new(0, SECOND).is_none());
    }
}
