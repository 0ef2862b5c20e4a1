//! What a router holds of one plugin of its fleet.

use serde::{Deserialize, Serialize};

use crate::fleet::own_version::OwnVersion;
use sgl_fleet::desired_plugin::{DesiredPlugin, PluginTarget};
use sgl_fleet::presence::{FailedGeneration, PluginHealth};
use sglang_router_rs::policies::{
    BreakerState, GenerationDetail, GenerationRole, Happened, PluginDetail, PluginEvent,
};

/// A version with the number that it has in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldVersion {
    /// What the fleet calls it.
    pub(crate) target: PluginTarget,
    /// Its generation in this process.
    pub(crate) local: u64,
}

impl HeldVersion {
    /// True if it is this very version. Numbers of another epoch may be those of other modules.
    pub(crate) fn is(&self, target: &PluginTarget) -> bool {
        self.target.generation == target.generation && self.target.is_like(target)
    }
}

/// What a router holds of one plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeldPlugin {
    /// The fleet's generation that the router is to serve, as far as it follows; 0 = none.
    pub(crate) wanted: u64,
    /// What it gave the router to serve.
    pub(crate) serving: Option<HeldVersion>,
    /// What the router served before that under this name, of its own.
    pub(crate) own: Option<OwnVersion>,
    /// What that replaced.
    pub(crate) before: Option<HeldVersion>,
    /// What is warm beside it.
    pub(crate) prepared: Option<HeldVersion>,
    /// What did not work here.
    pub(crate) failed: Option<FailedGeneration>,
    /// Whether the router serves something else: somebody pushed to it alone.
    pub(crate) is_diverged: bool,
}

/// The generation with a role.
pub(crate) fn in_role(detail: &PluginDetail, role: GenerationRole) -> Option<&GenerationDetail> {
    detail.generations.iter().find(|generation| generation.role == role)
}

/// Why a generation of this process did not stay, if the last thing that happened is that.
fn why_not(event: Option<&PluginEvent>, local: u64) -> Option<String> {
    match &event?.what {
        Happened::RolledBack { generation, reason, .. } if *generation == local => Some(reason.clone()),
        _ => None,
    }
}

impl HeldPlugin {
    /// True if anything of the fleet's is here, or failed here.
    pub(crate) fn holds_something(&self) -> bool {
        self.serving.is_some() || self.prepared.is_some() || self.failed.is_some()
    }

    /// From now on this version serves.
    pub(crate) fn become_serving(&mut self, version: HeldVersion) {
        if self.serving.as_ref().is_none_or(|serving| serving.local != version.local) {
            self.before = self.serving.take();
        }
        (self.serving, self.is_diverged) = (Some(version), false);
    }

    /// Notes what the router did by itself since: dropped what was warm, went back within the probation; or
    /// what operators did to it alone.
    pub(crate) fn refresh(&mut self, detail: Option<&PluginDetail>) {
        let stable = detail.and_then(|detail| in_role(detail, GenerationRole::Stable));
        let stable = stable.map(|generation| generation.generation);
        let event = detail.and_then(|detail| detail.last_event.as_ref());
        let shadow = detail.and_then(|detail| in_role(detail, GenerationRole::Shadow));
        let shadow = shadow.map(|generation| generation.generation);
        let is_lost = |version: &HeldVersion| {
            let local = Some(version.local);
            stable != local && shadow != local
        };
        if let Some(lost) = self.prepared.take_if(|prepared| is_lost(prepared)) {
            let why = why_not(event, lost.local);
            let is_passing = why.is_none();
            let reason =
                why.unwrap_or_else(|| "something else was put on trial in its place here".to_owned());
            self.failed = Some(FailedGeneration { generation: lost.target.generation, reason, is_passing });
        }
        let Some(serving) = &self.serving else { return };
        if stable == Some(serving.local) {
            self.is_diverged = false;
            return;
        }
        if let Some(reason) = why_not(event, serving.local) {
            let (generation, is_passing) = (serving.target.generation, false);
            self.failed = Some(FailedGeneration { generation, reason, is_passing });
        }
        match self.before.take_if(|before| stable == Some(before.local)) {
            Some(before) => self.serving = Some(before),
            None => self.is_diverged = true,
        }
    }

    /// From now on the router serves what it has itself.
    pub(crate) fn become_own(&mut self) {
        (self.serving, self.before, self.own, self.is_diverged) = (None, None, None, false);
    }

    /// What the router says of it. `desired` is what the fleet is to serve, if that is known and followed:
    /// numbers of another epoch may be those of other modules, and are not told as if they were of this one.
    pub(crate) fn health(
        &self,
        desired: Option<&DesiredPlugin>,
        revision: u64,
        detail: Option<&PluginDetail>,
    ) -> PluginHealth {
        let number = |held: &Option<HeldVersion>| {
            let held = held.as_ref()?;
            let Some(desired) = desired else { return Some(held.target.generation) };
            let known = [Some(&desired.target), desired.stable.as_ref()];
            known.into_iter().flatten().find(|target| held.is(target)).map(|target| target.generation)
        };
        let serving = if self.is_diverged { 0 } else { number(&self.serving).unwrap_or(0) };
        let stable = detail.and_then(|detail| in_role(detail, GenerationRole::Stable));
        PluginHealth {
            serving,
            prepared: number(&self.prepared).unwrap_or(0),
            failed: self.failed.clone(),
            breaker_open: detail.is_some_and(|detail| detail.breaker == BreakerState::Open),
            diverged: self.is_diverged,
            decisions: stable.map_or(0, |stable| stable.decisions),
            failures: stable.map_or(0, |stable| stable.failures.values().sum()),
            p99_ns: stable.and_then(|stable| stable.latency_ns.get("p99").copied()),
            revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_fleet::desired_plugin::{ModulePlace, StepPlan};

    fn target(generation: u64, digest: &str) -> PluginTarget {
        PluginTarget {
            generation,
            module: ModulePlace::Store,
            digest: digest.to_owned(),
            settings: serde_json::Map::new(),
            place: false,
            policy_before: None,
            by: String::new(),
        }
    }

    #[test]
    fn what_is_served_is_told_also_where_it_is_not_in_nats_and_never_as_another_of_its_number() {
        let serving = Some(HeldVersion { target: target(3, "a"), local: 7 });
        let held = HeldPlugin { serving, ..HeldPlugin::default() };
        assert_eq!(held.health(None, 0, None).serving, 3, "NATS has nothing, or nothing that is followed");
        let desired = |digest| {
            let mut desired = DesiredPlugin::pushed(None, target(0, digest), StepPlan::default()).unwrap();
            desired.target.generation = 3;
            desired
        };
        assert_eq!(held.health(Some(&desired("a")), 0, None).serving, 3);
        assert_eq!(held.health(Some(&desired("b")), 0, None).serving, 0, "the third of another epoch");
    }
}
