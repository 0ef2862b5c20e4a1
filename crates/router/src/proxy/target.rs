//! One worker as the data plane sees it.

use std::ops::Deref;
use std::sync::Arc;

use crate::config::checked::{OwnSettings, SilenceSettings};
use crate::proxy::endpoint::Endpoint;
use sglang_router_rs::core::FleetWorker;

/// What the configuration says of a worker, and what is behind its URL, as which it can be used. When
/// the configuration says something else there is another target over the same endpoint; requests
/// keep the one that they were placed at.
#[derive(Debug)]
pub struct Target {
    worker: Arc<FleetWorker>,
    own: OwnSettings,
    endpoint: Arc<Endpoint>,
}

impl Target {
    /// A worker with settings of its own.
    pub fn new(worker: Arc<FleetWorker>, own: OwnSettings, endpoint: Endpoint) -> Self {
        Self { worker, own, endpoint: Arc::new(endpoint) }
    }

    /// What follows it when the configuration says something else of the worker.
    #[must_use]
    pub fn succeeded_by(&self, worker: Arc<FleetWorker>, own: OwnSettings) -> Self {
        self.endpoint.hand_over(Arc::clone(&worker));
        Self { worker, own, endpoint: Arc::clone(&self.endpoint) }
    }

    /// The worker.
    pub fn worker(&self) -> &Arc<FleetWorker> {
        &self.worker
    }

    /// How long it may be silent.
    pub fn silence(&self) -> SilenceSettings {
        self.own.silence
    }

    /// What it has of its own.
    pub fn own(&self) -> OwnSettings {
        self.own
    }

    /// What is behind its URL.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// True if nothing speaks against choosing it, but perhaps that it is full.
    pub fn is_fit(&self) -> bool {
        self.endpoint.is_well() && !self.worker.is_draining()
    }

    /// A request has ended.
    pub fn left(&self) {
        if self.worker.is_draining() {
            self.endpoint.maybe_drained();
        }
    }
}

impl Deref for Target {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}
