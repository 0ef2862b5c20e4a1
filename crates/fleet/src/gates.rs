//! Whether a step of a rollout may be followed by the next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::desired_plugin::{DesiredPlugin, RolloutState};
use crate::membership;
use crate::presence::{PluginHealth, RouterPresence};
use crate::step_side::{DecisionTally, StepSide, worse};

/// What is to be done about a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Nothing yet, for this reason.
    Wait(String),
    /// The next step begins, or the last one ends.
    Advance,
    /// Back to what was served before, for this reason.
    RollBack(String),
}

/// Which plugin of which fleet.
#[derive(Clone, Copy, Debug)]
pub struct GateOf<'a> {
    /// The fleet.
    pub fleet: &'a str,
    /// Its epoch.
    pub epoch: &'a str,
    /// The plugin.
    pub plugin: &'a str,
}

/// What a router has seen of one rollout. Times are durations of its own clock: nobody compares clocks.
#[derive(Clone, Debug, Default)]
pub struct StepWatch {
    generation: u64,
    step: usize,
    /// Since when all routers of the step serve.
    all_serve_since: Option<Duration>,
    /// What routers had counted of the generation before, when the rollout was seen first.
    before: BTreeMap<String, DecisionTally>,
}

impl StepWatch {
    /// What is to be done now. `live` are the routers that are heard of, the own one included; `now` is the
    /// time since some moment of this process.
    pub fn judge(
        &mut self,
        of: GateOf<'_>,
        plugin: &DesiredPlugin,
        live: &BTreeMap<String, RouterPresence>,
        now: Duration,
    ) -> GateVerdict {
        if plugin.state.is_over() {
            return GateVerdict::Wait("it is over".to_owned());
        }
        let followers = Followers::of(of, live);
        self.begin(plugin, &followers);
        if let Some(reason) = followers.broken(plugin) {
            return GateVerdict::RollBack(reason);
        }
        let generation = plugin.target.generation;
        if plugin.state == RolloutState::Paused {
            return GateVerdict::Wait("it is paused".to_owned());
        }
        if followers.0.is_empty() {
            return GateVerdict::Wait("no router is heard of".to_owned());
        }
        if plugin.step == 0 {
            let unready =
                followers.without(|health| health.prepared == generation || health.serving == generation);
            return unready
                .map_or(GateVerdict::Advance, |who| GateVerdict::Wait(format!("{who} is not ready")));
        }
        let members = followers.in_step(of, plugin);
        if let Some(who) = members.without(|health| health.serving == generation) {
            self.all_serve_since = None;
            return GateVerdict::Wait(format!("{who} does not serve it yet"));
        }
        let since = *self.all_serve_since.get_or_insert(now);
        let (within, outside) = self.sides(plugin, &members, &followers);
        if let Some(reason) = worse(&plugin.plan, &within, &outside) {
            return GateVerdict::RollBack(reason);
        }
        let (watched, soak) = (now.saturating_sub(since), Duration::from_millis(plugin.plan.soak_ms));
        if watched < soak {
            return GateVerdict::Wait(format!("watched for {} of {} s", watched.as_secs(), soak.as_secs()));
        }
        let (made, least) = (within.counts.decisions, plugin.plan.min_decisions);
        if made < least {
            return GateVerdict::Wait(format!("{made} of {least} decisions"));
        }
        GateVerdict::Advance
    }

    fn begin(&mut self, plugin: &DesiredPlugin, followers: &Followers<'_>) {
        let generation = plugin.target.generation;
        if self.generation != generation {
            let count = |(name, health): &(&str, &PluginHealth)| {
                let counts = DecisionTally { decisions: health.decisions, failures: health.failures };
                ((*name).to_owned(), counts)
            };
            let others = followers.0.iter().filter(|(_, health)| health.serving != generation);
            *self = Self { generation, before: others.map(count).collect(), ..Self::default() };
        }
        if self.step != plugin.step {
            (self.step, self.all_serve_since) = (plugin.step, None);
        }
    }

    /// The routers of the step, and those outside that serve what was served before.
    fn sides(
        &self,
        plugin: &DesiredPlugin,
        members: &Followers<'_>,
        all: &Followers<'_>,
    ) -> (StepSide, StepSide) {
        let stable = plugin.stable.as_ref().map_or(0, |stable| stable.generation);
        let (mut within, mut outside) = (StepSide::default(), StepSide::default());
        for (_, health) in &members.0 {
            within.add(health, DecisionTally::default());
        }
        for (name, health) in all.0.iter().filter(|(_, health)| stable > 0 && health.serving == stable) {
            outside.add(health, self.before.get(*name).copied().unwrap_or_default());
        }
        (within, outside)
    }
}

/// Routers that follow the epoch, with what they say of the plugin.
struct Followers<'a>(Vec<(&'a str, &'a PluginHealth)>);

impl<'a> Followers<'a> {
    fn of(of: GateOf<'_>, live: &'a BTreeMap<String, RouterPresence>) -> Self {
        /// Of a router that has not said anything of the plugin yet.
        static UNHEARD: PluginHealth = PluginHealth {
            serving: 0,
            prepared: 0,
            failed: None,
            breaker_open: false,
            diverged: false,
            decisions: 0,
            failures: 0,
            p99_ns: None,
            revision: 0,
        };
        let following = live.iter().filter(|(_, presence)| presence.follows(of.epoch));
        let health = |presence: &'a RouterPresence| presence.plugins.get(of.plugin).unwrap_or(&UNHEARD);
        Self(following.map(|(name, presence)| (name.as_str(), health(presence))).collect())
    }

    fn in_step(&self, of: GateOf<'_>, plugin: &DesiredPlugin) -> Self {
        let key = (of.fleet, of.plugin, plugin.target.generation);
        let live = || self.0.iter().map(|(name, _)| *name);
        let is_member = |name: &str| membership::is_in_step(key, plugin.percent(), name, live());
        Self(self.0.iter().copied().filter(|(name, _)| is_member(name)).collect())
    }

    /// The first that is not as it should be.
    fn without(&self, is_so: impl Fn(&PluginHealth) -> bool) -> Option<&'a str> {
        self.0.iter().find(|(_, health)| !is_so(health)).map(|(name, _)| *name)
    }

    /// Why the generation cannot stay.
    fn broken(&self, plugin: &DesiredPlugin) -> Option<String> {
        let generation = plugin.target.generation;
        self.0.iter().find_map(|(name, health)| {
            let failed = health.failed.as_ref();
            let failed = failed.filter(|failed| failed.generation == generation && !failed.is_passing);
            if let Some(failed) = failed {
                return Some(format!("router {name}: {}", failed.reason));
            }
            let is_open = health.serving == generation && health.breaker_open;
            is_open.then(|| format!("router {name}: its breaker opened"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired_plugin::{PluginTarget, StepPlan};
    use crate::presence::FailedGeneration;

    const OF: GateOf<'static> = GateOf { fleet: "fleet", epoch: "e", plugin: "p" };

    fn rollout(steps: &[u8]) -> DesiredPlugin {
        let target = PluginTarget::of_tests();
        let plan = StepPlan { steps: steps.to_vec(), soak_ms: 10_000, ..StepPlan::default() };
        let mut first = DesiredPlugin::pushed(None, target.clone(), plan.clone()).unwrap();
        while first.state != RolloutState::Done {
            first = first.advanced().unwrap();
        }
        DesiredPlugin::pushed(Some(&first), target, plan).unwrap()
    }

    fn fleet(routers: usize, health: &PluginHealth) -> BTreeMap<String, RouterPresence> {
        let router = |number: usize| {
            let presence = RouterPresence {
                router: format!("r{number}"),
                epoch: Some("e".to_owned()),
                plugins: BTreeMap::from([("p".to_owned(), health.clone())]),
                ..RouterPresence::default()
            };
            (presence.router.clone(), presence)
        };
        (0..routers).map(router).collect()
    }

    fn serving(serving: u64, prepared: u64) -> PluginHealth {
        PluginHealth { serving, prepared, ..PluginHealth::default() }
    }

    fn has(live: &mut BTreeMap<String, RouterPresence>, router: &str) -> &'static str {
        live.get_mut(router).unwrap().plugins.get_mut("p").unwrap().serving = 2;
        "has it"
    }

    fn members(plugin: &DesiredPlugin, live: &BTreeMap<String, RouterPresence>) -> Vec<String> {
        let followers = Followers::of(OF, live);
        followers.in_step(OF, plugin).0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn rollout_waits_for_all_to_be_ready_then_for_those_of_the_step_then_for_the_time() {
        let mut plugin = rollout(&[20, 100]);
        let mut live = fleet(10, &serving(1, 2));
        live.get_mut("r3").unwrap().plugins.get_mut("p").unwrap().prepared = 0;
        let mut watch = StepWatch::default();
        let mut judged =
            |plugin: &DesiredPlugin, live: &_, seconds| watch.judge(OF, plugin, live, at(seconds));
        assert_eq!(judged(&plugin, &live, 0), GateVerdict::Wait("r3 is not ready".to_owned()));
        live.get_mut("r3").unwrap().plugins.get_mut("p").unwrap().prepared = 2;
        assert_eq!(judged(&plugin, &live, 1), GateVerdict::Advance);
        plugin = plugin.advanced().unwrap();
        assert!(
            matches!(judged(&plugin, &live, 2), GateVerdict::Wait(why) if why.contains("does not serve"))
        );
        let step = members(&plugin, &live);
        assert!(!step.is_empty() && step.len() < 10);
        for router in &step {
            has(&mut live, router);
        }
        assert!(matches!(judged(&plugin, &live, 50), GateVerdict::Wait(why) if why.contains("0 of 10 s")));
        assert!(matches!(judged(&plugin, &live, 59), GateVerdict::Wait(_)));
        assert_eq!(judged(&plugin, &live, 60), GateVerdict::Advance);
        // The next step is watched from its own beginning.
        plugin = plugin.advanced().unwrap();
        let all: Vec<String> = live.keys().cloned().collect();
        for router in &all {
            has(&mut live, router);
        }
        assert!(matches!(judged(&plugin, &live, 61), GateVerdict::Wait(_)));
        assert_eq!(judged(&plugin, &live, 71), GateVerdict::Advance);
    }

    #[test]
    fn paused_rollout_waits_and_still_goes_back_where_a_breaker_opens() {
        let plugin = rollout(&[100]).advanced().unwrap().paused(true, "me").unwrap();
        let mut live = fleet(3, &serving(2, 0));
        let mut watch = StepWatch::default();
        assert!(
            matches!(watch.judge(OF, &plugin, &live, at(99)), GateVerdict::Wait(why) if why.contains("paused"))
        );
        live.get_mut("r1").unwrap().plugins.get_mut("p").unwrap().breaker_open = true;
        let verdict = watch.judge(OF, &plugin, &live, at(99));
        assert_eq!(verdict, GateVerdict::RollBack("router r1: its breaker opened".to_owned()));
        // A breaker of what was served before says nothing against the new.
        live.get_mut("r1").unwrap().plugins.get_mut("p").unwrap().serving = 1;
        assert!(matches!(watch.judge(OF, &plugin, &live, at(99)), GateVerdict::Wait(_)));
    }

    #[test]
    fn router_that_cannot_make_it_ready_ends_it_unless_it_may_yet() {
        let plugin = rollout(&[100]);
        let mut live = fleet(3, &serving(1, 2));
        let mut watch = StepWatch::default();
        for (generation, is_passing, ends) in [(2, false, true), (2, true, false), (1, false, false)] {
            let failed = FailedGeneration { generation, reason: "no memory".to_owned(), is_passing };
            let health = PluginHealth { failed: Some(failed), ..serving(1, 0) };
            live.get_mut("r2").unwrap().plugins.insert("p".to_owned(), health);
            let verdict = watch.judge(OF, &plugin, &live, at(0));
            assert_eq!(matches!(verdict, GateVerdict::RollBack(_)), ends, "{verdict:?}");
        }
    }

    #[test]
    fn those_that_hold_or_follow_another_epoch_are_not_waited_for() {
        let plugin = rollout(&[100]);
        let mut live = fleet(3, &serving(1, 2));
        for (router, holding, epoch) in [("r0", Some("lost"), "e"), ("r1", None, "other")] {
            let presence = live.get_mut(router).unwrap();
            presence.plugins.clear();
            (presence.holding, presence.epoch) = (holding.map(str::to_owned), Some(epoch.to_owned()));
        }
        assert_eq!(StepWatch::default().judge(OF, &plugin, &live, at(0)), GateVerdict::Advance);
        live.remove("r2");
        assert!(matches!(StepWatch::default().judge(OF, &plugin, &live, at(0)), GateVerdict::Wait(_)));
    }

    #[test]
    fn step_that_fails_more_or_is_slower_than_the_rest_goes_back() {
        let plugin = rollout(&[50, 100]).advanced().unwrap();
        let mut live = fleet(6, &PluginHealth { decisions: 5000, failures: 4000, ..serving(1, 2) });
        let mut watch = StepWatch::default();
        watch.judge(OF, &plugin, &live, at(0));
        let step = members(&plugin, &live);
        let step_size = step.len() as u64;
        let judged = |watch: &StepWatch, within: (u64, u64, u64), outside: (u64, u64, u64)| {
            let mut live = live.clone();
            for (name, presence) in &mut live {
                let is_within = step.contains(name);
                let (decisions, failures, p99) = if is_within { within } else { outside };
                let health = PluginHealth { decisions, failures, p99_ns: Some(p99), ..serving(1, 2) };
                let health = PluginHealth { serving: if is_within { 2 } else { 1 }, ..health };
                presence.plugins.insert("p".to_owned(), health);
            }
            watch.clone().judge(OF, &plugin, &live, at(1))
        };
        // What failed outside before the rollout does not count: it would hide what fails now.
        let worse = judged(&watch, (1000, 30, 1000), (6000, 4000, 1000));
        assert!(matches!(&worse, GateVerdict::RollBack(why) if why.contains("3.00 %")), "{worse:?}");
        assert!(matches!(judged(&watch, (1000, 30, 1000), (6000, 4030, 1000)), GateVerdict::Wait(_)));
        assert!(matches!(judged(&watch, (10, 1, 1000), (6000, 4000, 1000)), GateVerdict::Wait(_)), "too few");
        let slow = judged(&watch, (1000, 0, 5_000_000), (6000, 4000, 1_000_000));
        assert!(matches!(&slow, GateVerdict::RollBack(why) if why.contains("5000 µs")), "{slow:?}");
        assert!(
            matches!(judged(&watch, (1000, 0, 900_000), (6000, 4000, 1000)), GateVerdict::Wait(_)),
            "slack"
        );
        // Of all routers in the step together.
        let few = judged(&watch, (499 / step_size, 0, 5_000_000), (6000, 4000, 1_000_000));
        assert!(matches!(few, GateVerdict::Wait(_)), "too few");
        live.clear();
    }

    #[test]
    fn last_step_has_nobody_outside_and_goes_back_by_its_failures_alone() {
        let plugin = rollout(&[100]).advanced().unwrap();
        let fine = fleet(2, &PluginHealth { decisions: 1000, failures: 9, ..serving(2, 0) });
        assert!(matches!(StepWatch::default().judge(OF, &plugin, &fine, at(0)), GateVerdict::Wait(_)));
        let bad = fleet(2, &PluginHealth { decisions: 1000, failures: 11, ..serving(2, 0) });
        assert!(matches!(StepWatch::default().judge(OF, &plugin, &bad, at(0)), GateVerdict::RollBack(_)));
    }
}
