//! What became of the events that a worker publishes, for operators.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What was done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Blocks are held.
    Stored,
    /// Blocks were given up.
    Removed,
    /// All were.
    Cleared,
    /// It tells of another memory, of a part of the layers or of something unknown, and was left out.
    Ignored,
    /// It tells of blocks behind one that is not known, and was left out.
    Orphan,
    /// There was no room for it.
    Refused,
    /// It contradicts itself, and was left out; or its batch names a rank that its socket is not.
    Odd,
}

impl EventKind {
    /// All of them with their names in metrics, each at its own number.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Stored, "stored"),
        (Self::Removed, "removed"),
        (Self::Cleared, "cleared"),
        (Self::Ignored, "ignored"),
        (Self::Orphan, "orphan"),
        (Self::Refused, "refused"),
        (Self::Odd, "odd"),
    ];
}

/// What became of a batch of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// It came as it was published.
    Live,
    /// It was asked for again.
    Replayed,
    /// It had come before.
    Repeated,
    /// It never came: so many numbers were left out.
    Missed,
    /// It is no batch, as a whole or behind some place.
    Odd,
}

impl BatchEnd {
    /// All of them with their names in metrics, each at its own number.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Live, "live"),
        (Self::Replayed, "replayed"),
        (Self::Repeated, "repeated"),
        (Self::Missed, "missed"),
        (Self::Odd, "odd"),
    ];
}

/// Counters of one worker. Who writes and who reads need not agree on the moment.
#[derive(Debug, Default)]
pub struct FeedLog {
    events: [AtomicU64; EventKind::ALL.len()],
    batches: [AtomicU64; BatchEnd::ALL.len()],
    forgotten: AtomicU64,
    sources: AtomicUsize,
    connected: AtomicUsize,
}

impl FeedLog {
    pub(crate) fn event(&self, kind: EventKind) {
        self.events.get(kind as usize).into_iter().for_each(|counter| add(counter, 1));
    }

    pub(crate) fn batch(&self, end: BatchEnd, count: u64) {
        self.batches.get(end as usize).into_iter().for_each(|counter| add(counter, count));
    }

    /// All that a rank had said was forgotten, because something was missed or it began anew.
    pub(crate) fn forgot(&self) {
        add(&self.forgotten, 1);
    }

    pub(crate) fn set_sources(&self, count: usize) {
        // Relaxed: a gauge.
        self.sources.store(count, Ordering::Relaxed);
    }

    /// Counts a connection for as long as the value lives.
    pub(crate) fn connected(&self) -> Connected<'_> {
        // Relaxed: a gauge.
        self.connected.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// How many events this was done with.
    pub fn events(&self, kind: EventKind) -> u64 {
        self.events.get(kind as usize).map_or(0, read)
    }

    /// How many batches came to this.
    pub fn batches(&self, end: BatchEnd) -> u64 {
        self.batches.get(end as usize).map_or(0, read)
    }

    /// How often all that a rank had said was forgotten.
    pub fn times_forgotten(&self) -> u64 {
        read(&self.forgotten)
    }

    /// Sockets that are listened to, or are to be.
    pub fn source_count(&self) -> usize {
        // Relaxed: a gauge.
        self.sources.load(Ordering::Relaxed)
    }

    /// Sockets that there is a connection to.
    pub fn connection_count(&self) -> usize {
        // Relaxed: a gauge.
        self.connected.load(Ordering::Relaxed)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connected<'a>(&'a FeedLog);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        // Relaxed: a gauge.
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    // Relaxed: a counter.
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    // Relaxed: a counter.
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_ends_stand_at_their_own_numbers() {
        assert!((0..).zip(EventKind::ALL).all(|(number, (kind, _))| kind as usize == number));
        assert!((0..).zip(BatchEnd::ALL).all(|(number, (end, _))| end as usize == number));
        let log = FeedLog::default();
        log.event(EventKind::Odd);
        log.batch(BatchEnd::Missed, 7);
        assert_eq!((log.events(EventKind::Odd), log.batches(BatchEnd::Missed)), (1, 7));
        {
            let _one = log.connected();
            assert_eq!(log.connection_count(), 1);
        }
        assert_eq!(log.connection_count(), 0);
    }
}
