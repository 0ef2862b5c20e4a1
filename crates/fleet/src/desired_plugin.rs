//! What a fleet is to serve under one name, and how far it has come.
//!
//! ```text
//! push ─► prepare (step 0) ─ all warm ─► step 1 ─ gate ─► … ─► last step ─ gate ─► done
//!            │                             │                      │
//!            └────────── any breaker, any bound, an operator ─────┴─► rolled back
//! ```
//!
//! One value holds all of it, so that one compare and swap changes all of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fleet_state_error::FleetStateError;

/// The form of the value.
pub const FORM: u32 = 1;

/// Largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModulePlace {
    /// In a registry: a reference with its digest, `oci://…@sha256:…`.
    Oci(String),
    /// In the fleet's own object store, under its digest.
    Store,
}

/// What is served under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginTarget {
    /// Its number in the fleet. Grows with every push, and never comes again.
    pub generation: u64,
    /// Where its module is.
    pub module: ModulePlace,
    /// SHA-256 of the module, 64 hex digits.
    pub digest: String,
    /// Keys of a `[[plugins]]` table, laid over the defaults.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Whether routers that serve it place their requests with it.
    #[serde(default)]
    pub place: bool,
    /// Who pushed it.
    #[serde(default)]
    pub by: String,
}

impl PluginTarget {
    /// Some module, with no number yet.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Self {
        Self {
            generation: 0,
            module: ModulePlace::Store,
            digest: "d".to_owned(),
            settings: Map::new(),
            place: false,
            by: String::new(),
        }
    }

    /// True if the same is served, whatever its number.
    pub fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest && self.settings == other.settings && self.place == other.place
    }
}

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepPlan {
    /// Percent of the routers in each step, growing; the last is 100.
    pub steps: Vec<u8>,
    /// Milliseconds for which a step is watched once all of its routers serve.
    pub soak_ms: u64,
    /// Decisions that the routers of a step must have made together.
    pub min_decisions: u64,
    /// Failed decisions, as a share of all, that they may have more than the routers outside.
    pub max_failure_rate_increase: f64,
    /// Times that their decision p99 may exceed that outside.
    pub max_p99_ratio: f64,
    /// Microseconds that it may exceed it in any case.
    pub p99_slack_us: u64,
}

impl Default for StepPlan {
    fn default() -> Self {
        Self {
            steps: vec![10, 50, 100],
            soak_ms: 30_000,
            min_decisions: 0,
            max_failure_rate_increase: 0.01,
            max_p99_ratio: 1.5,
            p99_slack_us: 1000,
        }
    }
}

impl StepPlan {
    /// Checks it.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] says what is wrong.
    pub fn check(&self) -> Result<(), FleetStateError> {
        let grows = self.steps.is_sorted_by(|a, b| a < b);
        let ends = self.steps.last() == Some(&100) && self.steps.first() != Some(&0);
        if !grows || !ends {
            let found = self.steps.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            let text = format!("steps {found:?}: percents that grow, from 1 to 100 at the end, are allowed");
            return Err(FleetStateError::Refused(text));
        }
        let (rate, ratio) = (self.max_failure_rate_increase, self.max_p99_ratio);
        if !(0.0..=1.0).contains(&rate) || !(1.0..=1e6).contains(&ratio) {
            let text =
                format!("bounds of {rate} (rate) and {ratio} (p99): 0 to 1 and 1 to 1000000 are allowed");
            return Err(FleetStateError::Refused(text));
        }
        Ok(())
    }
}

/// How far a rollout has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Its steps are advanced.
    Rolling,
    /// An operator stopped it where it is.
    Paused,
    /// All serve it.
    Done,
    /// All serve what was served before.
    RolledBack,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rolling, Self::Paused, Self::Done, Self::RolledBack];

    /// The name in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
        }
    }

    /// True if it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack)
    }
}

/// What a fleet is to serve under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredPlugin {
    /// [`FORM`].
    pub v: u32,
    /// What it is to come to.
    pub target: PluginTarget,
    /// What was served before, which routers outside of the step serve.
    pub stable: Option<PluginTarget>,
    /// How it is to come there.
    pub plan: StepPlan,
    /// How many steps have begun: 0 = all routers make it ready, nobody serves it.
    pub step: usize,
    /// Whether it goes on.
    pub state: RolloutState,
    /// Why it is as it is.
    #[serde(default)]
    pub reason: String,
    /// A random name of this very write: a write that timed out is looked for by it.
    #[serde(default)]
    pub write: String,
}

impl DesiredPlugin {
    /// What follows a push. `target` gets the next number.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if the plan cannot be.
    pub fn pushed(
        before: Option<&Self>,
        target: PluginTarget,
        plan: StepPlan,
    ) -> Result<Self, FleetStateError> {
        plan.check()?;
        let generation = before.map_or(1, |before| before.target.generation + 1);
        let stable = before.and_then(|before| before.settled().cloned());
        let target = PluginTarget { generation, ..target };
        let reason = format!("pushed by {}", target.by);
        let state = RolloutState::Rolling;
        Ok(Self { v: FORM, target, stable, plan, step: 0, state, reason, write: String::new() })
    }

    /// What routers outside of the step serve; all of them, once it is over.
    pub fn settled(&self) -> Option<&PluginTarget> {
        if self.state == RolloutState::Done { Some(&self.target) } else { self.stable.as_ref() }
    }

    /// Percent of the routers in the step that has begun.
    pub fn percent(&self) -> u8 {
        match self.state {
            RolloutState::Done => 100,
            RolloutState::RolledBack => 0,
            RolloutState::Rolling | RolloutState::Paused => {
                self.step.checked_sub(1).and_then(|step| self.plan.steps.get(step)).copied().unwrap_or(0)
            }
        }
    }

    /// The next step, or the end of the last.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if it does not roll.
    pub fn advanced(&self) -> Result<Self, FleetStateError> {
        if self.state != RolloutState::Rolling {
            return Err(self.refused("it does not roll"));
        }
        if self.step < self.plan.steps.len() {
            let reason = if self.step == 0 { "all are ready" } else { "the gate of the step before was met" };
            return Ok(Self { step: self.step + 1, reason: reason.to_owned(), ..self.clone() });
        }
        let reason = "the gate of the last step was met".to_owned();
        Ok(Self { state: RolloutState::Done, reason, ..self.clone() })
    }

    /// Back to what was served before, also after the end.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if it was, or if there was nothing before.
    pub fn rolled_back(&self, reason: &str) -> Result<Self, FleetStateError> {
        if self.state == RolloutState::RolledBack {
            return Err(self.refused("it is rolled back already"));
        }
        if self.state == RolloutState::Done && self.stable.is_none() {
            return Err(self.refused("nothing was served before it"));
        }
        Ok(Self { state: RolloutState::RolledBack, reason: reason.to_owned(), ..self.clone() })
    }

    /// Stops where it is, or goes on from there.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if it is over, or is so already.
    pub fn paused(&self, paused: bool, by: &str) -> Result<Self, FleetStateError> {
        let (from, to, what) = if paused {
            (RolloutState::Rolling, RolloutState::Paused, "paused")
        } else {
            (RolloutState::Paused, RolloutState::Rolling, "resumed")
        };
        if self.state != from {
            return Err(self.refused(&format!("it is {}", self.state.as_str())));
        }
        Ok(Self { state: to, reason: format!("{what} by {by}"), ..self.clone() })
    }

    fn refused(&self, why: &str) -> FleetStateError {
        FleetStateError::Refused(format!("generation {}: {why}", self.target.generation))
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Malformed`], also for a later form.
    pub fn read(key: &str, value: &[u8]) -> Result<Self, FleetStateError> {
        let malformed = |reason: String| FleetStateError::Malformed { key: key.to_owned(), reason };
        let read: Self = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
        if read.v != FORM {
            return Err(malformed(format!("its form is {}; this program reads {FORM}", read.v)));
        }
        read.plan.check().map_err(|error| malformed(error.to_string()))?;
        Ok(read)
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::TooLarge`].
    pub fn bytes(&self) -> Result<Vec<u8>, FleetStateError> {
        // A value of JSON has a text.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() > MAX_VALUE_BYTES {
            let (what, found, limit) = ("what is to be served", bytes.len(), MAX_VALUE_BYTES);
            return Err(FleetStateError::TooLarge { what, found, limit });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(digest: &str) -> PluginTarget {
        PluginTarget { digest: digest.to_owned(), by: "me".to_owned(), ..PluginTarget::of_tests() }
    }

    fn plan(steps: &[u8]) -> StepPlan {
        StepPlan { steps: steps.to_vec(), ..StepPlan::default() }
    }

    fn first() -> DesiredPlugin {
        DesiredPlugin::pushed(None, target("a"), plan(&[10, 100])).unwrap()
    }

    fn done(mut plugin: DesiredPlugin) -> DesiredPlugin {
        while plugin.state != RolloutState::Done {
            plugin = plugin.advanced().unwrap();
        }
        plugin
    }

    #[test]
    fn rollout_goes_through_all_of_its_steps_and_ends() {
        let mut plugin = first();
        let mut percents = vec![plugin.percent()];
        while plugin.state == RolloutState::Rolling {
            plugin = plugin.advanced().unwrap();
            percents.push(plugin.percent());
        }
        assert_eq!(percents, [0, 10, 100, 100]);
        assert_eq!((plugin.state, plugin.settled().unwrap().generation), (RolloutState::Done, 1));
        assert!(plugin.advanced().is_err());
    }

    #[test]
    fn generations_only_grow_and_the_next_goes_back_to_what_settled() {
        let one = done(first());
        let two = DesiredPlugin::pushed(Some(&one), target("b"), plan(&[100])).unwrap();
        assert_eq!((two.target.generation, two.settled().unwrap().generation), (2, 1));
        let three = DesiredPlugin::pushed(Some(&two.advanced().unwrap()), target("c"), plan(&[100])).unwrap();
        assert_eq!((three.target.generation, three.settled().unwrap().generation), (3, 1));
        let back = three.rolled_back("broken").unwrap();
        assert_eq!((back.percent(), back.settled().unwrap().digest.as_str()), (0, "a"));
        let four = DesiredPlugin::pushed(Some(&back), target("d"), plan(&[100])).unwrap();
        assert_eq!((four.target.generation, four.settled().unwrap().generation), (4, 1));
        let late = done(four).rolled_back("by an operator").unwrap();
        assert_eq!(late.settled().unwrap().generation, 1);
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_why() {
        let plugin = first();
        let said = |refused: Result<DesiredPlugin, FleetStateError>| refused.unwrap_err().to_string();
        assert!(said(plugin.paused(false, "me")).contains("it is rolling"));
        let paused = plugin.paused(true, "me").unwrap();
        assert!(said(paused.advanced()).contains("does not roll"));
        assert!(said(done(plugin.clone()).rolled_back("x")).contains("nothing was served before"));
        let back = plugin.rolled_back("x").unwrap();
        assert!(said(back.rolled_back("y")).contains("rolled back already"));
        assert!(back.settled().is_none(), "nothing was served before, and nothing is");
        for steps in [&[][..], &[50], &[50, 50, 100], &[0, 100], &[100, 50]] {
            assert!(
                said(DesiredPlugin::pushed(None, target("a"), plan(steps))).contains("steps"),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn value_is_read_as_it_was_written_and_later_forms_are_refused() {
        let plugin = first();
        assert_eq!(DesiredPlugin::read("k", &plugin.bytes().unwrap()).unwrap(), plugin);
        let later = DesiredPlugin { v: 2, ..plugin.clone() };
        assert!(DesiredPlugin::read("k", &later.bytes().unwrap()).is_err());
        assert!(DesiredPlugin::read("k", b"{}").is_err());
        let mut large = plugin;
        large.target.settings.insert("x".to_owned(), "y".repeat(MAX_VALUE_BYTES).into());
        assert!(matches!(large.bytes(), Err(FleetStateError::TooLarge { .. })));
    }
}
