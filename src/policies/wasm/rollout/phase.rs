//! The phase of a plugin's rollout, and how the last one ended.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::config::rollout::{CanaryOptions, ProbationOptions};
use crate::policies::wasm::rollout::event::PluginEvent;
use crate::policies::wasm::rollout::operation_error::FormerModule;
use crate::policies::wasm::state::kept::Saved;
use crate::policies::wasm::state::seen::Seen;

/// The rollout of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) phase: Phase,
    /// Changes with every phase, so that a watcher knows when its phase is over.
    pub(crate) epoch: u64,
    /// Dropped with the phase: whoever holds the other end learns that it is over.
    under_way: Option<oneshot::Sender<()>>,
    /// What happened last.
    pub(crate) last_event: Option<PluginEvent>,
    /// Changes of the stable generation.
    pub(crate) swaps: u64,
    /// How many of them went back.
    pub(crate) rollbacks: u64,
    /// What served before the stable generation; none if that came back itself, or is the first.
    pub(crate) former: Option<FormerModule>,
}

/// The phase of a plugin's rollout.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Nothing is watched.
    #[default]
    Settled,
    /// A new generation has taken over; the previous one is warm.
    Probation {
        options: ProbationOptions,
        since: Instant,
        generation: u64,
        /// What the generation had counted before.
        before: Seen,
        /// Map and state before it took over.
        saved: Option<Saved>,
    },
    /// A new generation has a share of the decisions.
    Canary {
        options: CanaryOptions,
        since: Instant,
        /// What the stable generation had counted before.
        stable_before: Seen,
    },
    /// A new generation is shown copies.
    Shadow,
}

/// One phase, for those that watch it.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) epoch: u64,
    /// Ends with the phase, or with the plugin.
    pub(crate) over: oneshot::Receiver<()>,
}

impl Watch {
    /// Enters a phase; the one before is over.
    pub(crate) fn enter(&mut self, phase: Phase, event: PluginEvent) -> UnderWay {
        let (under_way, over) = oneshot::channel();
        self.phase = phase;
        self.epoch += 1;
        self.under_way = Some(under_way);
        self.last_event = Some(event);
        UnderWay { epoch: self.epoch, over }
    }
}
