//! Who waits now.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::proxy::route::Route;
use sgl_api::WaitsFor;
use sglang_router_rs::policies::Wait;

/// A request that waits, as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct WaitingRequest {
    /// What it waits for.
    pub(crate) waits_for: WaitsFor,
    /// Since when.
    pub(crate) since: Instant,
    /// Until when at the most.
    pub(crate) until: Instant,
    /// Where it goes.
    pub(crate) route: Route,
    /// The model that it names, if that is known by now.
    pub(crate) model: Option<Box<str>>,
    /// Bytes of its body.
    pub(crate) body_bytes: u64,
    /// What the policy said of it, if it has it wait.
    pub(crate) wait: Option<Wait>,
}

/// What it would be beyond: the requests that may wait, or the bytes of their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// All requests that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Register {
    waiting: BTreeMap<u64, WaitingRequest>,
    body_bytes: u64,
    next: u64,
}

impl Register {
    /// Adds one; its number.
    pub(crate) fn add(&mut self, request: WaitingRequest) -> u64 {
        self.next += 1;
        self.body_bytes += request.body_bytes;
        self.waiting.insert(self.next, request);
        self.next
    }

    /// Takes one out. `None` if it is gone.
    pub(crate) fn remove(&mut self, number: u64) -> Option<WaitingRequest> {
        let request = self.waiting.remove(&number)?;
        self.body_bytes -= request.body_bytes;
        Some(request)
    }

    /// Looks whether one more has a place among `most` with at most `max_bytes` in their bodies.
    pub(crate) fn check(&self, body_bytes: u64, most: usize, max_bytes: u64) -> Result<(), NoPlace> {
        let fits = self.waiting.len() < most && self.body_bytes.saturating_add(body_bytes) <= max_bytes;
        if fits { Ok(()) } else { Err(NoPlace) }
    }

    /// One of them, by its number.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut WaitingRequest> {
        self.waiting.get_mut(&number)
    }

    /// How many wait, for each of what it may be.
    pub(crate) fn counts(&self) -> [usize; WaitsFor::ALL.len()] {
        let mut counts = [0; WaitsFor::ALL.len()];
        for request in self.waiting.values() {
            if let Some(count) = counts.get_mut(request.waits_for as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Bytes of the bodies of all that wait.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those that came first.
    pub(crate) fn first(&self, most: usize) -> Vec<WaitingRequest> {
        self.waiting.values().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(waits_for: WaitsFor, body_bytes: u64) -> WaitingRequest {
        let now = Instant::now();
        WaitingRequest {
            waits_for,
            since: now,
            until: now,
            route: Route::Chat,
            model: None,
            body_bytes,
            wait: None,
        }
    }

    #[test]
    fn place_depends_on_requests_and_on_bytes() {
        let mut register = Register::default();
        assert_eq!(register.check(11, 1, 10), Err(NoPlace));
        let first = register.add(request(WaitsFor::Limit, 10));
        assert_eq!((register.check(0, 1, 10), register.check(0, 2, 10)), (Err(NoPlace), Ok(())));
        assert_eq!(register.check(1, 2, 10), Err(NoPlace));
        assert!(register.remove(first).is_some() && register.remove(first).is_none());
        assert_eq!((register.check(10, 1, 10), register.body_bytes()), (Ok(()), 0));
    }

    #[test]
    fn those_who_came_first_are_listed_first_and_each_counts_for_what_it_waits_for() {
        let mut register = Register::default();
        for waits_for in [WaitsFor::Workers, WaitsFor::Limit, WaitsFor::Workers] {
            register.add(request(waits_for, 1));
        }
        let all: Vec<_> = register.first(2).into_iter().map(|request| request.waits_for).collect();
        assert_eq!(all, [WaitsFor::Workers, WaitsFor::Limit]);
        assert_eq!((register.counts(), register.len()), ([1, 2, 0], 3));
    }
}
