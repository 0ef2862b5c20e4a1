//! Requests that the policy has wait, in the order of the router's own queue.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::fleet::agenda::Moment;
use crate::fleet::setup::FleetSetup;
use sglang_router_rs::policies::{AskOrder, Wait, WaitOffer};

/// A request that the policy has wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeldRequest {
    pub(crate) request: u32,
    /// When it came.
    pub(crate) since: f64,
    /// Until when the policy has it wait, or the router lets it.
    until: f64,
    /// Until when the router lets it wait.
    latest: f64,
    /// Whether that is over.
    is_due: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct HeldRequests {
    size: usize,
    timeout: f64,
    asks: AskOrder,
    requests: HashMap<u64, HeldRequest>,
    deadlines: BTreeSet<(Moment, u64)>,
    next: u64,
}

impl HeldRequests {
    /// Nobody is held; so many may be, as the router of this fleet allows it.
    pub(crate) fn new(setup: &FleetSetup) -> Self {
        Self {
            size: setup.queue_size,
            timeout: setup.queue_timeout,
            asks: AskOrder::default(),
            requests: HashMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
        }
    }

    /// True if nobody is held.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// What the policy is told about a request that has just come.
    pub(crate) fn first_offer(&self) -> WaitOffer {
        WaitOffer { left: seconds(self.timeout), ..self.last_offer() }
    }

    /// What it is told if there is no place.
    pub(crate) fn last_offer(&self) -> WaitOffer {
        let held = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        WaitOffer { held, ..WaitOffer::default() }
    }

    /// What it is told about one that is held.
    pub(crate) fn offer(&self, held: &HeldRequest, now: f64) -> WaitOffer {
        let left = if held.is_due { 0.0 } else { held.latest - now };
        WaitOffer { waited: seconds(now - held.since), left: seconds(left), ..self.last_offer() }
    }

    /// The policy has a request wait that has just come; false if there is no place.
    pub(crate) fn hold(&mut self, request: u32, now: f64, wait: &Wait) -> bool {
        if self.requests.len() >= self.size {
            return false;
        }
        self.next += 1;
        let latest = now + self.timeout;
        let until = latest.min(now + wait.at_most.as_secs_f64());
        let held = HeldRequest { request, since: now, until, latest, is_due: false };
        self.requests.insert(self.next, held);
        self.deadlines.insert((Moment(until), self.next));
        self.asks.enter(self.next, wait.key, wait.reasks);
        self.asks.stir();
        true
    }

    /// Something has changed that the policy may have waited for.
    #[inline]
    pub(crate) fn stir(&mut self) {
        if !self.is_empty() {
            self.asks.stir();
        }
    }

    /// When the time of the next one is over.
    pub(crate) fn next_deadline(&self) -> Option<f64> {
        self.deadlines.first().map(|(Moment(at), _)| *at)
    }

    /// The time of some is over.
    pub(crate) fn expire(&mut self, now: f64) {
        while let Some((at, number)) = self.deadlines.first().copied().filter(|(at, _)| at.0 <= now) {
            self.deadlines.remove(&(at, number));
            if let Some(held) = self.requests.get_mut(&number) {
                held.is_due = true;
            }
            self.asks.is_due(number);
        }
    }

    /// Who is to be asked now, and its number here.
    pub(crate) fn take_call(&mut self) -> Option<(u64, HeldRequest)> {
        let number = self.asks.take_call()?;
        Some((number, *self.requests.get(&number)?))
    }

    /// One that was asked still waits.
    pub(crate) fn still_waits(&mut self, number: u64, wait: &Wait) {
        if let Some(held) = self.requests.get_mut(&number) {
            let until = held.latest.min(held.since + wait.at_most.as_secs_f64());
            self.deadlines.remove(&(Moment(held.until), number));
            if !held.is_due {
                self.deadlines.insert((Moment(until), number));
            }
            held.until = until;
        }
        self.asks.still_waits(number, wait.key, wait.reasks);
    }

    /// One is held no longer: it was placed, or not.
    pub(crate) fn leave(&mut self, number: u64, placed: bool) {
        if let Some(held) = self.requests.remove(&number) {
            self.deadlines.remove(&(Moment(held.until), number));
        }
        self.asks.leave(number, placed);
    }
}

fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}
