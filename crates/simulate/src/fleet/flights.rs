//! Requests that are placed and not yet answered.

use slab::Slab;

use sglang_router_rs::core::InFlight;
use sglang_router_rs::policies::{Chooser, Decision};

/// No place.
const NONE: u32 = u32::MAX;

/// A request that is placed at a worker. While this is kept, it counts as in flight.
#[derive(Debug)]
pub(crate) struct PlacedRequest {
    pub(crate) in_flight: InFlight,
    /// Who chose the worker.
    pub(crate) chooser: Chooser,
    /// The tag that it gave along with its choice.
    pub(crate) tag: Option<u64>,
    /// Which worker.
    pub(crate) worker: u32,
    /// When the request came to the router, and when it was sent to the worker.
    pub(crate) came: f64,
    pub(crate) sent: f64,
    /// When its first token came.
    pub(crate) first_token: f64,
    /// Tokens of its prompt that the worker had in its cache.
    pub(crate) cached: u32,
    /// Tokens of its answer that the books know of.
    pub(crate) told: u32,
    /// Which attempt of all this is.
    pub(crate) attempt: u32,
    /// The other half of a pair, which processes its prompt.
    pub(crate) prefill: Option<Box<PrefillHalf>>,
}

/// The half of a pair that processes the prompt.
#[derive(Debug)]
pub(crate) struct PrefillHalf {
    /// `None` once it is done.
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) chooser: Chooser,
    pub(crate) tag: Option<u64>,
    pub(crate) worker: u32,
}

impl PrefillHalf {
    /// The same, for those who only tell of it.
    pub(crate) fn without_count(&self) -> Self {
        Self { in_flight: None, ..*self }
    }
}

impl PlacedRequest {
    /// A request that came, was decided for this worker and is sent now.
    pub(crate) fn new(decision: Decision, worker: u32, came: f64, sent: f64) -> Self {
        let (chooser, tag) = (decision.chooser(), decision.tag());
        Self {
            in_flight: decision.into_in_flight(),
            chooser,
            tag,
            worker,
            came,
            sent,
            first_token: f64::NAN,
            cached: 0,
            told: 0,
            attempt: 0,
            prefill: None,
        }
    }

    /// The same with this worker for its prompt.
    pub(crate) fn with_prefill(self, decision: Decision, worker: u32) -> Self {
        let (chooser, tag) = (decision.chooser(), decision.tag());
        let in_flight = Some(decision.into_in_flight());
        Self { prefill: Some(Box::new(PrefillHalf { in_flight, chooser, tag, worker })), ..self }
    }

    /// The candidate that begins with it: that processes its prompt.
    pub(crate) fn first(&self) -> u32 {
        self.prefill.as_ref().map_or(self.worker, |half| half.worker)
    }

    /// True if it still needs this candidate.
    pub(crate) fn needs(&self, candidate: u32) -> bool {
        let half = self.prefill.as_ref().filter(|half| half.in_flight.is_some());
        self.worker == candidate || half.is_some_and(|half| half.worker == candidate)
    }
}

/// All of them, by their numbers in the workload.
#[derive(Debug)]
pub(crate) struct Flights {
    placed: Slab<PlacedRequest>,
    /// Where each request of the workload is.
    places: Vec<u32>,
}

impl Flights {
    /// Nothing is placed of so many requests.
    pub(crate) fn new(requests: u32) -> Self {
        Self { placed: Slab::new(), places: vec![NONE; requests as usize] }
    }

    pub(crate) fn enter(&mut self, request: u32, placed: PlacedRequest) {
        if let Some(place) = self.places.get_mut(request as usize) {
            *place = u32::try_from(self.placed.insert(placed)).unwrap_or(NONE);
        }
    }

    pub(crate) fn get(&mut self, request: u32) -> Option<&mut PlacedRequest> {
        let place = *self.places.get(request as usize)?;
        self.placed.get_mut(place as usize)
    }

    /// The numbers of those that still need this candidate, in order.
    pub(crate) fn of_candidate(&self, candidate: u32) -> Vec<u32> {
        let needs =
            |place: &u32| self.placed.get(*place as usize).is_some_and(|placed| placed.needs(candidate));
        let all = self.places.iter().zip(0..).filter(|(place, _)| needs(place));
        all.map(|(_, request)| request).collect()
    }

    pub(crate) fn leave(&mut self, request: u32) -> Option<PlacedRequest> {
        let place = std::mem::replace(self.places.get_mut(request as usize)?, NONE);
        self.placed.try_remove(place as usize)
    }
}
