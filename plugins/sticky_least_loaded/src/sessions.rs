//! Which sessions live, and where.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Sessions that are looked at for their end in one decision, so that none takes long.
const LOOKED_AT: usize = 32;

/// Live sessions by the hash of their key. Times are nanoseconds of the host's clock.
#[derive(Debug)]
pub(crate) struct Sessions {
    idle_ns: u64,
    max: usize,
    live: BTreeMap<u64, Session>,
    /// Each session once, by when it was last looked at; and some that have ended since.
    queue: VecDeque<(u64, u64)>,
}

/// A session.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// Hash of its worker's URL.
    worker: u64,
    last_ns: u64,
    /// The time of its place in the queue.
    queued_ns: u64,
}

/// A session that has ended or gone elsewhere: the worker that has one less.
pub(crate) type Left = u64;

impl Sessions {
    pub(crate) const fn new(idle_ns: u64, max: usize) -> Self {
        Self { idle_ns, max, live: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// The worker of a session, which lives on.
    pub(crate) fn touch(&mut self, key: u64, now: u64) -> Option<u64> {
        let session = self.live.get_mut(&key)?;
        session.last_ns = now;
        Some(session.worker)
    }

    /// Puts a session at a worker. Who it was taken from.
    pub(crate) fn put(&mut self, key: u64, worker: u64, now: u64) -> Option<Left> {
        if let Some(session) = self.live.get_mut(&key) {
            return Some(core::mem::replace(&mut session.worker, worker));
        }
        self.live.insert(key, Session { worker, last_ns: now, queued_ns: now });
        self.queue.push_back((now, key));
        None
    }

    /// Ends a session.
    pub(crate) fn end(&mut self, key: u64) -> Option<Left> {
        let ended = self.live.remove(&key).map(|session| session.worker);
        // Sessions that end have left their places in the queue, which must not outgrow the others'.
        if self.queue.len() > 2 * self.max.max(LOOKED_AT) {
            let live = &self.live;
            self.queue.retain(|(at, key)| live.get(key).is_some_and(|session| session.queued_ns == *at));
        }
        ended
    }

    /// Ends the oldest session if it was idle for too long, or if there are too many; asked until none.
    pub(crate) fn expire(&mut self, now: u64) -> Option<Left> {
        for _ in 0..LOOKED_AT {
            let (at, key) = *self.queue.front()?;
            let too_many = self.live.len() > self.max;
            if !too_many && now.saturating_sub(at) < self.idle_ns {
                return None;
            }
            self.queue.pop_front();
            let Some(session) = self.live.get_mut(&key).filter(|session| session.queued_ns == at) else {
                continue;
            };
            let is_idle = now.saturating_sub(session.last_ns) >= self.idle_ns;
            if is_idle || (too_many && session.last_ns == at) {
                return self.live.remove(&key).map(|session| session.worker);
            }
            session.queued_ns = session.last_ns;
            self.queue.push_back((session.last_ns, key));
        }
        None
    }

    /// The workers of all sessions.
    pub(crate) fn workers(&self) -> impl Iterator<Item = u64> {
        self.live.values().map(|session| session.worker)
    }

    /// Those that were used last, at most so many: key, worker, and when.
    pub(crate) fn newest(&self, count: usize) -> Vec<[u64; 3]> {
        let mut all: Vec<[u64; 3]> =
            self.live.iter().map(|(key, session)| [*key, session.worker, session.last_ns]).collect();
        all.sort_unstable_by_key(|[_, _, last]| core::cmp::Reverse(*last));
        all.truncate(count);
        all
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(sessions: &mut Sessions, now: u64) -> usize {
        core::iter::from_fn(|| sessions.expire(now)).count()
    }

    #[test]
    fn session_ends_when_it_was_idle_for_long_enough() {
        let mut sessions = Sessions::new(100, 10);
        (0..5).for_each(|key| assert_eq!(sessions.put(key, 7, key), None));
        assert_eq!(ended(&mut sessions, 99), 0);
        assert_eq!(sessions.touch(0, 99), Some(7));
        assert_eq!(ended(&mut sessions, 101), 1, "the second");
        assert_eq!((sessions.touch(0, 101), sessions.touch(1, 101)), (Some(7), None));
        assert_eq!(ended(&mut sessions, 150), 3);
        assert_eq!(ended(&mut sessions, 201), 1);
        assert_eq!((sessions.len(), sessions.queue.len()), (0, 0));
    }

    #[test]
    fn session_beyond_the_most_ends_the_oldest() {
        let mut sessions = Sessions::new(1_000, 3);
        for key in 0..100 {
            sessions.put(key, 7, key);
            ended(&mut sessions, key);
            assert!(sessions.len() <= 3);
        }
        assert_eq!([97, 98, 99].map(|key| sessions.touch(key, 100)), [Some(7); 3]);
    }

    #[test]
    fn sessions_that_come_and_end_take_no_more_and_more_room() {
        let mut sessions = Sessions::new(1_000_000, 50);
        for key in 0..10_000 {
            sessions.put(key, 7, key);
            assert_eq!(sessions.end(key), Some(7));
        }
        assert!(sessions.queue.len() <= 101, "{}", sessions.queue.len());
        // One that begins again under its key is one.
        (0..1_000).for_each(|at| {
            sessions.put(5, 7, at);
            sessions.end(5);
        });
        sessions.put(5, 8, 20_000);
        assert_eq!(ended(&mut sessions, 1_019_999), 0);
        // Places of sessions that have ended are passed over, some at a time.
        assert_eq!((0..10).map(|_| ended(&mut sessions, 1_020_000)).sum::<usize>(), 1);
    }
}
