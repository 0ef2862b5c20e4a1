//! A client's request that was read, on its way to a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proxy::client_keys::KeyUse;
use crate::proxy::head::Head;
use crate::proxy::pressure::HeldBody;
use crate::proxy::queue::request_queue::Newcomer;
use crate::proxy::retry::{NO_RETRY_HEADER, SecondRun};
use crate::proxy::route::Route;

/// A request that was read.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// Where it goes.
    pub route: Route,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// What the body takes.
    pub held: HeldBody,
    /// The client's key, if requests need one.
    pub key: Option<Arc<KeyUse>>,
    /// When its head was read.
    pub started: Instant,
    /// Until when it may wait, if it has waited for anything yet.
    pub waits_until: Option<Instant>,
    /// How long it has waited for its turn.
    pub waited: Duration,
}

impl Inbound {
    /// What the queue is told of it.
    pub(crate) fn newcomer<'a>(&self, model: Option<&'a str>) -> Newcomer<'a> {
        Newcomer { route: self.route, model, body_bytes: self.body.len() as u64 }
    }

    /// The path of its endpoint, as policies are told it: without what names one thing.
    pub(crate) fn path(&self) -> &str {
        if self.route == Route::Listed { self.head.uri.path() } else { self.route.path() }
    }

    /// True if somebody wants to know how many tokens it takes, whatever the policy wants.
    pub(crate) fn is_told_of_tokens(&self) -> bool {
        self.key.is_some() || self.head.trace().is_some()
    }

    /// Whether it may run a second time.
    pub(crate) fn second_run(&self) -> SecondRun {
        SecondRun::allowed_by(self.head.own(NO_RETRY_HEADER))
    }
}
