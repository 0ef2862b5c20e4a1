//! Which generations of a plugin are in use, and which of them a decision goes to.

use std::sync::Arc;
use std::time::Instant;

use crate::policies::fleet_needs::FleetNeeds;
use crate::policies::load_balancing::OutcomeNeeds;
use crate::policies::select_worker_info::{RequestNeeds, SelectWorkerInfo};
use crate::policies::wanted_names::WantedNames;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::shadow::Shadow;
use crate::policies::wasm::state::breaker::Breaker;
use crate::types::hash::stable_hash;

/// Shares are counted in hundredths of a percent.
pub(crate) const WHOLE: u32 = 10_000;

/// The generations of a plugin that are in use. Immutable: every change is a new value.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    /// Decides, except for the canary's share.
    pub(crate) stable: Arc<Generation>,
    /// Decides for a share of the requests.
    pub(crate) canary: Option<Canary>,
    /// Gets copies of decisions.
    pub(crate) shadow: Option<Arc<Shadow>>,
    /// Was stable before, and stays warm for a rollback.
    pub(crate) previous: Option<Arc<Generation>>,
    /// True while the operator keeps the plugin out of the path.
    pub(crate) paused: bool,
}

/// A generation with a share of the decisions.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    pub(crate) generation: Arc<Generation>,
    /// In hundredths of a percent.
    pub(crate) share: u32,
    /// Since when it has it.
    pub(crate) since: Instant,
    /// Adds up the time that it loses; no call passes through it.
    pub(crate) lost: Arc<Breaker>,
}

impl Canary {
    pub(crate) fn new(generation: Arc<Generation>, percent: f64) -> Self {
        // The stable generation makes up for its failures, but not for the time that it takes.
        let lost = Arc::new(Breaker::for_lost_time(generation.options.breaker));
        Self { generation, share: share_of(percent), since: Instant::now(), lost }
    }
}

impl Canary {
    /// Its share in percent.
    pub(crate) fn percent(&self) -> f64 {
        f64::from(self.share) * 100.0 / f64::from(WHOLE)
    }
}

impl Active {
    /// Only one generation.
    pub(crate) fn only(stable: Arc<Generation>) -> Self {
        Self { stable, canary: None, shadow: None, previous: None, paused: false }
    }

    /// The generation that gets this request. A key always leads to the same one.
    #[inline]
    pub(crate) fn pick(&self, info: &SelectWorkerInfo<'_>) -> &Arc<Generation> {
        match &self.canary {
            None => &self.stable,
            Some(canary) if draw(info) < canary.share => &canary.generation,
            Some(_) => &self.stable,
        }
    }

    /// What the deciding generations need to know of a request's body.
    pub(crate) fn needs(&self) -> RequestNeeds {
        self.candidates().fold(self.stable.plan.needs(), |needs, other| needs.and(other.plan.needs()))
    }

    /// What the generations in use read of workers, one that stays warm for a rollback included: it is not to
    /// begin with nothing.
    pub(crate) fn fleet_needs(&self) -> FleetNeeds {
        self.generations()
            .fold(FleetNeeds::default(), |needs, generation| needs.and(generation.plan.fleet_needs()))
    }

    /// What they want by name.
    pub(crate) fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        let candidates = self.candidates().filter_map(|generation| generation.plan.names());
        candidates.fold(self.stable.plan.names().cloned(), |names, other| {
            Some(names.map_or_else(|| Arc::clone(other), |names| names.and(other)))
        })
    }

    /// The generations that decide, or seem to, beside the stable one.
    fn candidates(&self) -> impl Iterator<Item = &Arc<Generation>> {
        let canary = self.canary.as_ref().map(|canary| &canary.generation);
        canary.into_iter().chain(self.shadow.as_ref().map(|shadow| &shadow.generation))
    }

    /// What the deciding generations want to hear of requests. A canary is also judged by how its
    /// requests end.
    pub(crate) fn outcome_needs(&self) -> OutcomeNeeds {
        let listens = self.deciding().any(|generation| generation.facts.has_on_complete);
        OutcomeNeeds {
            first_tokens: self.deciding().any(|generation| generation.facts.has_on_first_token),
            completions: listens || self.canary.is_some(),
            usage: listens,
            // The estimate of what a prompt's tokens are.
            lessons: self.needs().prompt_tokens,
        }
    }

    /// The generations that decide.
    pub(crate) fn deciding(&self) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::once(&self.stable).chain(self.canary.as_ref().map(|canary| &canary.generation))
    }

    /// True if a deciding generation may have to wait for the host.
    pub(crate) fn waits_for_host(&self) -> bool {
        self.stable.waits_for_host()
            || self.canary.as_ref().is_some_and(|canary| canary.generation.waits_for_host())
    }

    /// All generations in use.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        let canary = self.canary.as_ref().map(|canary| &canary.generation);
        let shadow = self.shadow.as_ref().map(|shadow| &shadow.generation);
        std::iter::once(&self.stable).chain(canary).chain(shadow).chain(&self.previous)
    }

    /// The generation of that number, if it is in use.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<&Arc<Generation>> {
        if self.stable.id == id {
            return Some(&self.stable);
        }
        let canary = self.canary.as_ref().map(|canary| &canary.generation);
        canary.into_iter().chain(&self.previous).find(|generation| generation.id == id)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the validator keeps it above 0 and at most 100"
)]
fn share_of(percent: f64) -> u32 {
    ((percent * f64::from(WHOLE) / 100.0).round() as u32).clamp(1, WHOLE)
}

fn draw(info: &SelectWorkerInfo<'_>) -> u32 {
    match info.request_key {
        // Below WHOLE, so it fits.
        Some(key) => u32::try_from(stable_hash(0, key.as_bytes()) % u64::from(WHOLE)).unwrap_or(0),
        None => fastrand::u32(..WHOLE),
    }
}
