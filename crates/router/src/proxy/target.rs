//! One candidate of policies as the data plane sees it.

use std::ops::Deref;
use std::sync::Arc;

use crate::config::checked::{OwnSettings, SilenceSettings};
use crate::config::engine_setting::EngineSetting;
use crate::proxy::entrance::Entrance;
use crate::proxy::rank::RankMark;
use sglang_router_rs::core::{FleetWorker, Worker};

/// What the configuration says of a worker, and the entrance to it, or to one of its data-parallel ranks. When
/// the configuration says something else there is another target over the same entrance; requests keep the one
/// that they were placed at.
#[derive(Debug)]
pub struct Target {
    worker: Arc<FleetWorker>,
    own: OwnSettings,
    entrance: Arc<Entrance>,
    /// Which rank it is; `None` = all of the worker, whichever rank that uses.
    rank: Option<RankMark>,
}

impl Target {
    /// A candidate with settings of its own.
    pub(crate) fn new(
        worker: Arc<FleetWorker>,
        own: OwnSettings,
        entrance: Arc<Entrance>,
        rank: Option<RankMark>,
    ) -> Self {
        Self { worker, own, entrance, rank }
    }

    /// What follows it when the configuration says something else of the worker.
    #[must_use]
    pub fn succeeded_by(&self, worker: Arc<FleetWorker>, own: OwnSettings) -> Self {
        self.entrance.hand_over(Arc::clone(&worker));
        Self { worker, own, entrance: Arc::clone(&self.entrance), rank: self.rank.clone() }
    }

    /// The same, told otherwise to the engine.
    pub(crate) fn marked(&self, rank: Option<RankMark>) -> Self {
        Self { worker: Arc::clone(&self.worker), own: self.own, entrance: Arc::clone(&self.entrance), rank }
    }

    /// The candidate.
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

    /// The engine by its name in the configuration: as the operator says, else as it said itself, if it has.
    pub(crate) fn engine(&self) -> Option<&str> {
        match self.own.engine {
            EngineSetting::Auto => self.worker.engine().name.as_deref(),
            named => Some(named.as_str()),
        }
    }

    /// The way to it.
    pub fn entrance(&self) -> &Arc<Entrance> {
        &self.entrance
    }

    /// How requests say which rank they are for.
    #[inline]
    pub(crate) fn rank(&self) -> Option<&RankMark> {
        self.rank.as_ref()
    }

    /// The number of its rank; `None` if it is all of a worker.
    pub fn rank_number(&self) -> Option<u32> {
        Some(self.rank.as_ref()?.number())
    }

    /// True if nothing speaks against choosing it, but perhaps that it is full.
    pub fn is_fit(&self) -> bool {
        self.entrance.is_well() && !self.worker.is_draining()
    }

    /// A request has ended.
    pub fn left(&self) {
        if self.worker.is_draining() {
            self.entrance.maybe_drained();
        }
    }
}

impl Deref for Target {
    type Target = Entrance;

    fn deref(&self) -> &Entrance {
        &self.entrance
    }
}
