//! The guard that counts a request in flight.

use std::sync::Arc;
use std::time::Instant;

use crate::core::book_page::Page;
use crate::core::booked::Booked;
use crate::core::books;
use crate::core::books::BookEntry;
use crate::core::fleet_worker::FleetWorker;
use crate::core::signals::SignalChunk;
use crate::core::worker::Worker;

/// Counts one request in flight to a worker, from its creation until it is dropped, and keeps the
/// router's [books](crate::core::KeptBooks) of it.
///
/// It is made at the moment of the choice, so that concurrent decisions see each other. What comes of
/// the request later is told with [`sent`](Self::sent), [`first_token`](Self::first_token) and
/// [`generated`](Self::generated); whatever is not told, dropping the guard takes away all that it added.
#[derive(Debug)]
pub struct InFlight {
    counter: Counter,
    /// `None` if nobody wanted the books when it was made.
    booked: Option<Booked>,
}

/// Where the request is counted. The router's own workers need neither a virtual call nor a reference
/// count: their counters live for ever, and another worker gets one only when it is at zero.
#[derive(Debug)]
enum Counter {
    Slot(&'static SignalChunk, usize),
    Other(Arc<dyn Worker>),
}

impl Counter {
    #[inline]
    fn page(&self) -> Option<Page<'_>> {
        match self {
            Self::Slot(chunk, slot) => Some(chunk.page(*slot)),
            Self::Other(worker) => Some(worker.books()?.page()),
        }
    }

    #[inline]
    fn enter(self, entry: impl FnOnce() -> BookEntry) -> InFlight {
        let page = if books::are_kept() { self.page() } else { None };
        let booked = page.map(|page| Booked::enter(page, entry()));
        InFlight { counter: self, booked }
    }
}

impl InFlight {
    /// Counts a request to a worker of the router's table; in the books it has no tokens and no cost.
    #[inline]
    pub fn on_fleet(worker: &FleetWorker) -> Self {
        Self::on_fleet_with(worker, BookEntry::default)
    }

    /// Counts a request to a worker of the router's table; `entry` is asked only if the books are kept.
    #[inline]
    pub fn on_fleet_with(worker: &FleetWorker, entry: impl FnOnce() -> BookEntry) -> Self {
        let (chunk, slot) = worker.slot();
        chunk.add_load(slot);
        Counter::Slot(chunk, slot).enter(entry)
    }

    /// Counts a request to an embedder's worker; in the books it has no tokens and no cost.
    pub fn on_worker(worker: Arc<dyn Worker>) -> Self {
        Self::on_worker_with(worker, BookEntry::default)
    }

    /// Counts a request to an embedder's worker; `entry` is asked only if the worker has
    /// [books](Worker::books), and they are kept.
    pub fn on_worker_with(worker: Arc<dyn Worker>, entry: impl FnOnce() -> BookEntry) -> Self {
        worker.increment_load();
        Counter::Other(worker).enter(entry)
    }

    /// True if the request is in the books: otherwise there is no need to tell what comes of it.
    pub fn is_booked(&self) -> bool {
        self.booked.is_some()
    }

    /// The request goes to the worker: from now on it has an age, until its answer begins.
    pub fn sent(&mut self, now: Instant) {
        self.note(|booked, page| booked.send(page, now));
    }

    /// The first token came. Counts only once.
    pub fn first_token(&mut self, now: Instant) {
        self.note(|booked, page| booked.first_token(page, now));
    }

    /// The answer began in a form that does not tell when the first token came, or is none: the request is
    /// no longer one without a first token.
    pub fn begun(&mut self) {
        self.note(Booked::begin);
    }

    /// The worker generated so many tokens more.
    pub fn generated(&mut self, tokens: u32) {
        self.note(|booked, page| booked.generate(page, tokens));
    }

    /// The worker generated so many tokens in all, whatever was told of them as they came.
    pub fn generated_in_all(&mut self, tokens: u32) {
        self.note(|booked, page| booked.count(page, tokens));
    }

    fn note(&mut self, note: impl FnOnce(&mut Booked, Page<'_>)) {
        if let Some((booked, page)) = self.booked.as_mut().zip(self.counter.page()) {
            note(booked, page);
        }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        // Before the load: a slot without load may get another owner.
        if let Some(booked) = &mut self.booked
            && let Some(page) = self.counter.page()
        {
            booked.leave(page);
        }
        match &self.counter {
            Counter::Slot(chunk, slot) => chunk.sub_load(*slot),
            Counter::Other(worker) => worker.decrement_load(),
        }
    }
}
