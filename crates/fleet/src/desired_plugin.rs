//! What a fleet is to serve under one name, and how far it has come.
//!
//! ```text
//! push ─► prepare (step 0) ─ all warm ─► step 1 ─ gate ─► … ─► last step ─ gate ─► done
//!            │                             │                      │
//!            └────────── any breaker, any bound, an operator ─────┴─► rolled back
//!
//! remove ─► removed, from any of them; the next push begins anew
//! ```
//!
//! One value holds all of it, so that one compare and swap changes all of it.

use serde::{Deserialize, Serialize};

use crate::fleet_state_error::FleetStateError;

pub use crate::plugin_target::{ModulePlace, PluginTarget};
pub use crate::step_plan::StepPlan;

/// The form of the value.
pub const FORM: u32 = 1;

/// Largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

/// Largest number of a generation: larger ones are not exact in every program that reads JSON.
pub const MAX_GENERATION: u64 = 1 << 53;

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
    /// It is the fleet's no more: each router serves what it had itself.
    Removed,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rolling, Self::Paused, Self::Done, Self::RolledBack, Self::Removed];

    /// The name in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Removed => "removed",
        }
    }

    /// True if it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Removed)
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
    /// [`FleetStateError::Refused`] if the plan cannot be, or there is no next number.
    pub fn pushed(
        before: Option<&Self>,
        target: PluginTarget,
        plan: StepPlan,
    ) -> Result<Self, FleetStateError> {
        plan.check()?;
        let last = before.map_or(0, |before| before.target.generation);
        let next = last.checked_add(1).filter(|next| *next <= MAX_GENERATION);
        let generation = next.ok_or_else(|| {
            let text = format!("generation {last} is the last: numbers up to {MAX_GENERATION} are allowed");
            FleetStateError::Refused(text)
        })?;
        let stable = before.and_then(|before| before.settled().cloned());
        let target = PluginTarget { generation, ..target };
        let reason = format!("pushed by {}", target.by);
        let state = RolloutState::Rolling;
        Ok(Self { v: FORM, target, stable, plan, step: 0, state, reason, write: String::new() })
    }

    /// What routers outside of the step serve; all of them, once it is over.
    pub fn settled(&self) -> Option<&PluginTarget> {
        match self.state {
            RolloutState::Done => Some(&self.target),
            RolloutState::Removed => None,
            RolloutState::Rolling | RolloutState::Paused | RolloutState::RolledBack => self.stable.as_ref(),
        }
    }

    /// The policy to go back to from what is pushed next as `name` and places. `before` is what is there now,
    /// `policies` are those of the routers that are heard of.
    pub fn policy_before<'a>(
        before: Option<&Self>,
        name: &str,
        mut policies: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let first = policies.next()?;
        if policies.any(|policy| policy != first) {
            return None;
        }
        let settled = before.and_then(Self::settled).filter(|settled| settled.place);
        match settled {
            // It places already: what was before that.
            Some(settled) if first == name => settled.policy_before.clone(),
            _ => Some(first.to_owned()),
        }
    }

    /// True if it is the fleet's no more.
    pub fn is_removed(&self) -> bool {
        self.state == RolloutState::Removed
    }

    /// Percent of the routers in the step that has begun.
    pub fn percent(&self) -> u8 {
        match self.state {
            RolloutState::Done => 100,
            RolloutState::RolledBack | RolloutState::Removed => 0,
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

    /// Back to what was served before, also after the end. Where the fleet served nothing before, each router
    /// goes back to what it had itself.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if it was, or if it was removed.
    pub fn rolled_back(&self, reason: &str) -> Result<Self, FleetStateError> {
        match self.state {
            RolloutState::RolledBack => Err(self.refused("it is rolled back already")),
            RolloutState::Removed => Err(self.refused("it was removed; push what is to be served")),
            RolloutState::Rolling | RolloutState::Paused | RolloutState::Done => {
                Ok(Self { state: RolloutState::RolledBack, reason: reason.to_owned(), ..self.clone() })
            }
        }
    }

    /// Out of the fleet: each router goes back to what it had itself. Its number stays taken.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] if it was.
    pub fn removed(&self, reason: &str) -> Result<Self, FleetStateError> {
        if self.state == RolloutState::Removed {
            return Err(self.refused("it is removed already"));
        }
        Ok(Self { state: RolloutState::Removed, reason: reason.to_owned(), ..self.clone() })
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
        let malformed = |reason: String| {
            let reason = format!("{reason}; a push puts another in its place");
            FleetStateError::Malformed { key: key.to_owned(), reason }
        };
        let read: Self = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
        if read.v != FORM {
            return Err(malformed(format!("its form is {}; this program reads {FORM}", read.v)));
        }
        let numbers = [Some(&read.target), read.stable.as_ref()].into_iter().flatten();
        for generation in numbers.map(|target| target.generation) {
            if !(1..=MAX_GENERATION).contains(&generation) {
                return Err(malformed(format!("generation {generation}: 1 to {MAX_GENERATION} are allowed")));
            }
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
        let back = plugin.rolled_back("x").unwrap();
        assert!(said(back.rolled_back("y")).contains("rolled back already"));
        assert!(back.settled().is_none(), "nothing was served before, and nothing is");
        let late = done(plugin.clone()).rolled_back("x").unwrap();
        assert!(late.settled().is_none(), "also after the end");
        for steps in [&[][..], &[50], &[50, 50, 100], &[0, 100], &[100, 50]] {
            assert!(
                said(DesiredPlugin::pushed(None, target("a"), plan(steps))).contains("steps"),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn what_is_removed_leaves_its_number_and_nothing_else() {
        for plugin in [first(), first().paused(true, "me").unwrap(), done(first())] {
            let removed = plugin.removed("by me").unwrap();
            assert_eq!((removed.percent(), removed.settled()), (0, None));
            assert!(removed.state.is_over());
            let said = |refused: Result<DesiredPlugin, FleetStateError>| refused.unwrap_err().to_string();
            assert!(said(removed.removed("x")).contains("removed already"));
            assert!(said(removed.rolled_back("x")).contains("it was removed"));
            assert!(said(removed.paused(true, "me")).contains("it is removed"));
            assert_eq!(DesiredPlugin::read("k", &removed.bytes().unwrap()).unwrap(), removed);
            let next = DesiredPlugin::pushed(Some(&removed), target("b"), plan(&[100])).unwrap();
            assert_eq!((next.target.generation, next.settled()), (2, None));
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_neither_read_nor_followed_by_others() {
        let numbered = |generation| {
            let mut plugin = first();
            plugin.target.generation = generation;
            plugin
        };
        for bad in [0, MAX_GENERATION + 1, u64::MAX] {
            let said = DesiredPlugin::read("k", &numbered(bad).bytes().unwrap()).unwrap_err().to_string();
            assert!(said.contains(&format!("generation {bad}")), "{said}");
        }
        for last in [MAX_GENERATION, u64::MAX] {
            let next = DesiredPlugin::pushed(Some(&numbered(last)), target("a"), plan(&[100]));
            assert!(next.unwrap_err().to_string().contains("is the last"));
        }
        let last = DesiredPlugin::pushed(Some(&numbered(MAX_GENERATION - 1)), target("a"), plan(&[100]));
        assert!(DesiredPlugin::read("k", &last.unwrap().bytes().unwrap()).is_ok());
    }

    #[test]
    fn policy_before_is_that_of_all_routers_and_stays_over_generations_that_place() {
        fn before(plugin: Option<&DesiredPlugin>, policies: &[&str]) -> Option<String> {
            DesiredPlugin::policy_before(plugin, "p", policies.iter().copied())
        }
        assert_eq!(before(None, &["least_load", "least_load"]).as_deref(), Some("least_load"));
        assert_eq!(before(None, &["least_load", "random"]), None, "each goes back to its own");
        assert_eq!(before(None, &[]), None);
        let mut places = done(first());
        assert_eq!(before(Some(&places), &["p"]).as_deref(), Some("p"), "an operator's choice");
        (places.target.place, places.target.policy_before) = (true, Some("least_load".to_owned()));
        assert_eq!(before(Some(&places), &["p"]).as_deref(), Some("least_load"));
        assert_eq!(before(Some(&places), &["random"]).as_deref(), Some("random"), "chosen since");
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
