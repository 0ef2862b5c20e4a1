//! Advances rollouts and takes them back: whoever sees a gate met tries, and one of them succeeds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sgl_fleet::desired_plugin::{DesiredPlugin, RolloutState};
use sgl_fleet::gates::{GateOf, GateVerdict, StepWatch};
use sgl_fleet::presence::RouterPresence;
use sgl_fleet::store::FleetStore;
use sgl_fleet::{FleetStateError, KeyPart};

/// Longest wait before a step is taken: of all who see the gate met, most find it done.
const MAX_WAIT_MS: u64 = 300;

/// A change that was found due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueStep {
    plugin: String,
    generation: u64,
    step: usize,
    verdict: GateVerdict,
    at: Instant,
}

#[derive(Debug, Default)]
struct OneRollout {
    watch: StepWatch,
    due: Option<DueStep>,
    verdict: Option<GateVerdict>,
}

/// What this router sees of all rollouts.
#[derive(Debug)]
pub(crate) struct RolloutSteps {
    began: Instant,
    rollouts: BTreeMap<String, OneRollout>,
}

impl RolloutSteps {
    /// Nothing is seen yet.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), rollouts: BTreeMap::new() }
    }

    /// Judges a rollout; gives what is to be done about it now.
    pub(crate) fn judge(
        &mut self,
        of: GateOf<'_>,
        plugin: &DesiredPlugin,
        live: &BTreeMap<String, RouterPresence>,
    ) -> Option<DueStep> {
        let rollout = self.rollouts.entry(of.plugin.to_owned()).or_default();
        let verdict = rollout.watch.judge(of, plugin, live, self.began.elapsed());
        rollout.verdict = Some(verdict.clone());
        if matches!(verdict, GateVerdict::Wait(_)) {
            rollout.due = None;
            return None;
        }
        let (generation, step) = (plugin.target.generation, plugin.step);
        let is_known = |due: &DueStep| {
            (due.generation, due.step) == (generation, step)
                && matches!(due.verdict, GateVerdict::Advance) == matches!(verdict, GateVerdict::Advance)
        };
        if rollout.due.as_ref().is_none_or(|due| !is_known(due)) {
            let at = Instant::now() + Duration::from_millis(fastrand::u64(..=MAX_WAIT_MS));
            rollout.due = Some(DueStep { plugin: of.plugin.to_owned(), generation, step, verdict, at });
        }
        rollout.due.take_if(|due| due.at <= Instant::now())
    }

    /// When the next change is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.rollouts.values().filter_map(|rollout| Some(rollout.due.as_ref()?.at)).min()
    }

    /// Why a rollout waits.
    pub(crate) fn waits_for(&self, plugin: &str) -> Option<String> {
        match self.rollouts.get(plugin)?.verdict.as_ref()? {
            GateVerdict::Wait(why) => Some(why.clone()),
            GateVerdict::Advance | GateVerdict::RollBack(_) => None,
        }
    }
}

/// Tries a change that is due. Nothing is done if the rollout has moved meanwhile.
///
/// # Cancel safety
///
/// It may have been done.
pub(crate) async fn take(store: &FleetStore, due: DueStep) {
    let DueStep { plugin, generation, step, verdict, .. } = due;
    let changed = async {
        let key = KeyPart::parse("plugin", &plugin)?;
        store.change(&key, |now| changed(now, (generation, step), &verdict)).await
    };
    match changed.await {
        Ok(Some(now)) => {
            let (state, step, reason) = (now.plugin.state.as_str(), now.plugin.step, &now.plugin.reason);
            tracing::info!(
                plugin,
                generation,
                state,
                step,
                reason,
                "this router took the fleet's rollout on"
            );
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(plugin, generation, %error, "the fleet's rollout could not be taken on"),
    }
}

fn changed(
    now: Option<&DesiredPlugin>,
    (generation, step): (u64, usize),
    verdict: &GateVerdict,
) -> Result<Option<DesiredPlugin>, FleetStateError> {
    let Some(now) = now.filter(|now| now.target.generation == generation) else { return Ok(None) };
    match verdict {
        GateVerdict::Advance if now.step == step && now.state == RolloutState::Rolling => {
            now.advanced().map(Some)
        }
        GateVerdict::RollBack(reason) if !now.state.is_over() => now.rolled_back(reason).map(Some),
        GateVerdict::Wait(_) | GateVerdict::Advance | GateVerdict::RollBack(_) => Ok(None),
    }
}
