//! How workers are that become slow, die, fail, come and go.

use crate::engine::WorkerEvent;
use crate::fleet::flights::PlacedRequest;
use crate::fleet::setup::FleetSetup;
use crate::fleet::tried_before::AttemptFailure;
use crate::fleet::worker_condition::WorkerCondition;

/// How the candidates are, where something befalls them.
#[derive(Debug)]
pub(super) struct Upsets {
    pub(super) events: Vec<WorkerEvent>,
    conditions: Vec<WorkerCondition>,
    /// Which requests fail.
    random: fastrand::Rng,
}

impl Upsets {
    /// All are well; `None` if nothing befalls any of them.
    pub(super) fn new(setup: &FleetSetup, seed: u64) -> Option<Self> {
        let events: Vec<WorkerEvent> = setup.all_events().into_iter().cloned().collect();
        (!events.is_empty()).then(|| Self {
            events,
            conditions: vec![WorkerCondition::WELL; setup.candidates()],
            random: fastrand::Rng::with_seed(seed ^ 0x7570_7365_7473),
        })
    }

    /// How a candidate is.
    pub(super) fn condition(&mut self, candidate: u32) -> Option<&mut WorkerCondition> {
        self.conditions.get_mut(candidate as usize)
    }

    /// What a request meets at the candidates that were chosen for it: who fails at once, if one does.
    pub(super) fn meet(&mut self, placed: &PlacedRequest, now: f64) -> Option<(u32, AttemptFailure)> {
        let mut met = None;
        let second = Some(placed.worker).filter(|worker| *worker != placed.first());
        for candidate in [Some(placed.first()), second].into_iter().flatten() {
            let drawn = self.random.f64();
            let Some(condition) = self.condition(candidate) else { continue };
            condition.enter();
            let failure = if condition.is_down {
                Some(AttemptFailure::Connect)
            } else if condition.hangs_until <= now && drawn < condition.fail_share {
                Some(AttemptFailure::Error)
            } else {
                None
            };
            met = met.or(failure.map(|failure| (candidate, failure)));
        }
        met
    }

    /// Whether a candidate tells of its load now.
    pub(super) fn answers(&self, candidate: u32, now: f64) -> bool {
        self.conditions.get(candidate as usize).is_none_or(|condition| condition.answers(now))
    }
}
