//! What is being watched of a plugin's rollout, and what came of the last one.

use std::time::Instant;

use crate::config::rollout::CanaryOptions;
use crate::config::rollout::ProbationOptions;
use crate::policies::wasm::event::PluginEvent;
use crate::policies::wasm::kept::Saved;
use crate::policies::wasm::verdict::Seen;

/// The rollout of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) phase: Phase,
    /// Changes with every phase, so that a watcher knows when its phase is over.
    pub(crate) epoch: u64,
    /// What happened last.
    pub(crate) last_event: Option<PluginEvent>,
    /// Changes of the stable generation.
    pub(crate) swaps: u64,
    /// Those of them that went back.
    pub(crate) rollbacks: u64,
}

/// What a plugin's rollout is in.
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

impl Watch {
    /// Enters a phase and returns its epoch.
    pub(crate) fn enter(&mut self, phase: Phase, event: PluginEvent) -> u64 {
        self.phase = phase;
        self.epoch += 1;
        self.last_event = Some(event);
        self.epoch
    }
}
