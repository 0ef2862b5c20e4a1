//! The router's part in its fleet: one task that sees, decides and has things done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fleet::fleet_board::FleetBoard;
use crate::fleet::fleet_view;
use crate::fleet::held_plugin::HeldPlugin;
use crate::fleet::kept_fleet::{FollowedState, KeptFleet, KeptVersion};
use crate::fleet::last_word::LastWord;
use crate::fleet::own_presence::healths;
use crate::fleet::retry_pause::RetryPause;
use crate::fleet::rollout_steps;
use crate::fleet::rollout_steps::RolloutSteps;
use crate::fleet::version_loader::{OwnedWanted, VersionLoader};
use crate::fleet::write_back::write_back;
use sgl_fleet::desired_set::DesiredSet;
use sgl_fleet::gates::GateOf;
use sgl_fleet::marks::MarkVerdict;
use sgl_fleet::membership;
use sgl_fleet::presence::RouterPresence;
use sgl_fleet::sight::FleetSight;
use sgl_fleet::store::FleetStore;
use sgl_fleet::wanted_versions::wanted;
use sgl_fleet::{FleetStateError, KeyPart};
use sglang_router_rs::types::shown;

/// After so long nothing comes any more that was said before a process began.
const LATE: Duration = Duration::from_secs(5);

/// How often it looks, if nothing happens.
const LOOK: Duration = Duration::from_millis(250);

/// Pause before what could not be had is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

/// What is done beside the task.
enum Done {
    /// What is held of a plugin now.
    Brought(String, Box<HeldPlugin>),
    /// A step was tried.
    Stepped,
    /// A word was said.
    Said(Result<(), FleetStateError>),
    /// An epoch was begun, or the last good state was written.
    Epoch(Result<(), FleetStateError>),
}

/// What is under way.
#[derive(Debug, Default)]
struct JobsUnderWay {
    plugins: BTreeSet<String>,
    is_saying: bool,
    is_stepping: bool,
    is_in_epoch: bool,
}

/// The router's part in its fleet.
#[derive(Debug)]
pub(crate) struct FleetMember {
    pub(crate) store: FleetStore,
    pub(crate) router: KeyPart,
    pub(crate) admin: String,
    pub(crate) loader: VersionLoader,
    pub(crate) kept: Option<KeptFleet>,
    pub(crate) followed: FollowedState,
    pub(crate) board: FleetBoard,
    pub(crate) held: BTreeMap<String, HeldPlugin>,
    pub(crate) steps: RolloutSteps,
    pub(crate) life: u64,
    pub(crate) holding: Option<String>,
    /// When what could not be written of the epoch is tried again.
    pub(crate) epoch_pause: RetryPause,
    /// Whether NATS was reached when it was told of last.
    pub(crate) is_up: Option<bool>,
    /// Since when it is so.
    pub(crate) link_since: Instant,
    /// Whether another process has this router's name.
    pub(crate) is_doubled: bool,
}

impl FleetMember {
    /// Runs until told to stop.
    ///
    /// # Cancel safety
    ///
    /// Do not drop it: what is being loaded may be lost.
    pub(crate) async fn run(mut self, mut sight: watch::Receiver<FleetSight>, stop: CancellationToken) {
        let mut changes = self.loader.manager.factory().changes();
        let (mut jobs, mut under_way, mut said) =
            (JoinSet::new(), JobsUnderWay::default(), LastWord::default());
        let mut failed_since: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let wake =
                self.steps.next_due().map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = stop.cancelled() => break,
                changed = sight.changed() => if changed.is_err() { break },
                _ = changes.changed() => {}
                Some(done) = jobs.join_next(), if !jobs.is_empty() => {
                    self.note(done, &mut under_way).await;
                }
                () = tokio::time::sleep(wake.min(LOOK)) => {}
            }
            let seen = sight.borrow_and_update().clone();
            self.tell_of_link(&seen);
            self.look_for_double(&seen, said.first());
            self.retry(&mut failed_since, &under_way);
            self.act(&seen, &mut jobs, &mut under_way).await;
            self.say(&seen, &mut jobs, &mut under_way, &mut said);
        }
        // What is being loaded ends with the process, or whole.
        jobs.detach_all();
    }

    async fn note(&mut self, done: Result<Done, tokio::task::JoinError>, under_way: &mut JobsUnderWay) {
        match done {
            Ok(Done::Brought(name, held)) => {
                under_way.plugins.remove(&name);
                self.tell_of(&name, &held);
                self.held.insert(name, *held);
                self.keep().await;
            }
            Ok(Done::Stepped) => under_way.is_stepping = false,
            Ok(Done::Said(result)) => {
                under_way.is_saying = false;
                if let Err(error) = result {
                    tracing::debug!(%error, "the fleet could not be told of this router");
                }
            }
            Ok(Done::Epoch(result)) => {
                under_way.is_in_epoch = false;
                self.note_epoch(result);
            }
            // A panic, which was reported; whatever was under way is tried again.
            Err(_) => *under_way = JobsUnderWay::default(),
        }
    }

    fn note_epoch(&mut self, result: Result<(), FleetStateError>) {
        let Err(error) = result else { return self.epoch_pause.succeeded() };
        if self.epoch_pause.failed(Instant::now(), &error.to_string()) {
            tracing::warn!(%error, "the fleet's epoch could not be written; it is tried again");
        }
    }

    fn tell_of(&self, name: &str, held: &HeldPlugin) {
        let generation =
            |plugin: &HeldPlugin| plugin.serving.as_ref().map(|version| version.target.generation);
        let before = self.held.get(name).and_then(generation);
        let now = generation(held);
        if before != now {
            let fleet = self.store.fleet().as_str();
            tracing::info!(
                plugin = name,
                fleet,
                from = before,
                to = now,
                "another generation of the fleet serves"
            );
        }
    }

    fn tell_of_link(&mut self, seen: &FleetSight) {
        if self.is_up == Some(seen.is_up) {
            return;
        }
        let (fleet, fault) = (self.store.fleet().as_str(), seen.fault.as_deref().map(shown));
        match seen.is_up {
            true => tracing::info!(fleet, "NATS is reached"),
            // At the start it is reached a moment later.
            false if self.is_up.is_none() && fault.is_none() => return,
            false => {
                tracing::warn!(fleet, fault, "NATS is not reached: this router goes on with what it serves");
            }
        }
        (self.is_up, self.link_since) = (Some(seen.is_up), Instant::now());
    }

    /// Says once that another process has this router's name. What a process before a restart said may still be
    /// there, but nothing new comes from it.
    fn look_for_double(&mut self, seen: &FleetSight, first_word: Option<Instant>) {
        let heard = seen.live.get(self.router.as_str()).filter(|heard| heard.presence.life != self.life);
        let Some(heard) = heard.filter(|heard| first_word.is_some_and(|first| heard.heard > first + LATE))
        else {
            return;
        };
        if !self.is_doubled {
            let (fleet, router, other) =
                (self.store.fleet().as_str(), self.router.as_str(), &heard.presence.admin);
            tracing::error!(
                fleet,
                router,
                other,
                "another router of the fleet has this name: give each a --fleet-router of its own"
            );
        }
        self.is_doubled = true;
    }

    /// Has what could not be had tried again.
    fn retry(&mut self, since: &mut BTreeMap<String, Instant>, under_way: &JobsUnderWay) {
        for (name, held) in &mut self.held {
            let is_passing = held.failed.as_ref().is_some_and(|failed| failed.is_passing);
            if !is_passing || under_way.plugins.contains(name) {
                since.remove(name);
                continue;
            }
            if since.entry(name.clone()).or_insert_with(Instant::now).elapsed() >= RETRY {
                held.failed = None;
                since.remove(name);
            }
        }
    }

    async fn act(&mut self, seen: &FleetSight, jobs: &mut JoinSet<Done>, under_way: &mut JobsUnderWay) {
        for (name, held) in &mut self.held {
            if !under_way.plugins.contains(name) {
                held.refresh(self.loader.manager.detail(name).ok().as_ref());
            }
        }
        let Some(desired) = &seen.desired else { return };
        let may_write = seen.is_up && !under_way.is_in_epoch && self.epoch_pause.is_due(Instant::now());
        match self.followed.marks.judge(desired, self.router.as_str()) {
            MarkVerdict::Follow => {
                self.hold(None);
                if self.followed.note(desired) {
                    self.keep().await;
                }
                self.follow(desired, seen, jobs, under_way);
            }
            MarkVerdict::Hold(reason) => self.hold(Some(reason)),
            MarkVerdict::Begin if may_write => {
                under_way.is_in_epoch = true;
                let store = self.store.clone();
                jobs.spawn(async move { Done::Epoch(store.begin_epoch().await.map(drop)) });
            }
            MarkVerdict::Restore if may_write => {
                under_way.is_in_epoch = true;
                tracing::warn!("an operator has this router write down for the fleet what it serves");
                let (store, last) = (self.store.clone(), self.followed.desired());
                jobs.spawn(async move { Done::Epoch(Box::pin(write_back(&store, last)).await) });
            }
            MarkVerdict::Begin | MarkVerdict::Restore => {}
        }
    }

    fn hold(&mut self, reason: Option<String>) {
        if self.holding == reason {
            return;
        }
        let fleet = self.store.fleet().as_str();
        match &reason {
            Some(reason) => tracing::error!(
                fleet,
                reason,
                "the fleet's state is not followed: this router goes on with what it serves, until the state is there again or `sgl-router fleet adopt` says what is right"
            ),
            None => tracing::info!(fleet, "the fleet's state is followed again"),
        }
        self.holding = reason;
    }

    fn follow(
        &mut self,
        desired: &DesiredSet,
        seen: &FleetSight,
        jobs: &mut JoinSet<Done>,
        under_way: &mut JobsUnderWay,
    ) {
        let Some(epoch) = desired.epoch.as_ref().map(|epoch| epoch.id.clone()) else { return };
        let live = self.live(seen);
        let fleet = self.store.fleet().as_str().to_owned();
        for (name, revised) in &desired.plugins {
            let plugin = &revised.plugin;
            let held = self.held.entry(name.clone()).or_default();
            if !under_way.plugins.contains(name) {
                let key = (fleet.as_str(), name.as_str(), plugin.target.generation);
                let following = live.iter().filter(|(_, presence)| presence.follows(&epoch));
                let names = following.map(|(name, _)| name.as_str());
                let is_in = membership::is_in_step(key, plugin.percent(), self.router.as_str(), names);
                let serves = held.serving.as_ref().filter(|version| version.is(&plugin.target));
                let serves = serves.map_or(0, |version| version.target.generation);
                let wanted = wanted(plugin, is_in, serves);
                held.wanted = wanted.serve.map_or(0, |target| target.generation);
                let wanted = OwnedWanted { serve: wanted.serve.cloned(), prepare: wanted.prepare.cloned() };
                if !wanted.is_met_by(held) {
                    under_way.plugins.insert(name.clone());
                    let (loader, name, held) = (self.loader.clone(), name.clone(), held.clone());
                    jobs.spawn(async move {
                        let held = Box::pin(loader.bring(&name, held, wanted)).await;
                        Done::Brought(name, Box::new(held))
                    });
                }
            }
            let of = GateOf { fleet: &fleet, epoch: &epoch, plugin: name };
            let due = self.steps.judge(of, plugin, &live);
            if let Some(due) = due.filter(|_| seen.is_up && !under_way.is_stepping) {
                under_way.is_stepping = true;
                let store = self.store.clone();
                jobs.spawn(async move {
                    rollout_steps::take(&store, due).await;
                    Done::Stepped
                });
            }
        }
    }

    /// Who is heard of, with this router as it is now.
    fn live(&self, seen: &FleetSight) -> BTreeMap<String, RouterPresence> {
        let heard = seen.live.iter().map(|(name, heard)| (name.clone(), heard.presence.clone()));
        let own = (self.router.as_str().to_owned(), self.presence(seen));
        heard.chain([own]).collect()
    }

    fn presence(&self, seen: &FleetSight) -> RouterPresence {
        let desired = seen.desired.as_ref().filter(|_| self.holding.is_none());
        RouterPresence {
            router: self.router.as_str().to_owned(),
            life: self.life,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            admin: self.admin.clone(),
            policy: self.loader.switch.view().name,
            epoch: self.followed.marks.epoch.clone(),
            holding: self.holding.clone(),
            plugins: healths(&self.held, &self.followed, desired, &self.loader.manager),
        }
    }

    fn say(
        &self,
        seen: &FleetSight,
        jobs: &mut JoinSet<Done>,
        under_way: &mut JobsUnderWay,
        last: &mut LastWord,
    ) {
        let presence = self.presence(seen);
        self.show(seen, &presence);
        if !seen.is_up || under_way.is_saying || !last.is_due(&presence) {
            return;
        }
        under_way.is_saying = true;
        last.said(presence.clone());
        let (store, router) = (self.store.clone(), self.router.clone());
        jobs.spawn(async move { Done::Said(store.say(&router, &presence).await) });
    }

    /// Shows what is known before anything was seen.
    pub(crate) fn show_first(&self) {
        let nothing = FleetSight::default();
        self.show(&nothing, &self.presence(&nothing));
    }

    fn show(&self, seen: &FleetSight, own: &RouterPresence) {
        // With NATS away: what was followed last.
        let last = self.followed.desired();
        let desired = seen.desired.as_ref().unwrap_or(&last);
        let mut live = self.live(seen);
        live.insert(own.router.clone(), own.clone());
        let live: Vec<RouterPresence> = live.into_values().collect();
        let mut view = fleet_view::view(self.store.fleet().as_str(), desired, &live);
        view.router = Some(own.router.clone());
        view.connected = seen.is_up;
        view.link_ms = Some(u64::try_from(self.link_since.elapsed().as_millis()).unwrap_or(u64::MAX));
        view.epoch.clone_from(&self.followed.marks.epoch);
        view.holding.clone_from(&self.holding);
        view.fault = seen.fault.as_deref().map(shown);
        for plugin in &mut view.plugins {
            plugin.waits_for = self.steps.waits_for(&plugin.name);
            plugin.wanted = self.held.get(&plugin.name).map(|held| held.wanted);
        }
        self.board.show(view, seen.heard);
    }

    /// Keeps how far it has come, if there is a state directory.
    async fn keep(&mut self) {
        let Some(kept) = self.kept.clone() else { return };
        let serving = self.held.iter().filter_map(|(name, held)| {
            let version = held.serving.clone().filter(|_| !held.is_diverged)?;
            let info = self.loader.manager.serving(name).filter(|info| info.generation == version.local)?;
            Some((name.clone(), KeptVersion::of(version, &info)))
        });
        self.followed.serving = serving.collect();
        let own = self.held.iter().filter_map(|(name, held)| Some((name.clone(), held.own.clone()?)));
        self.followed.own = own.collect();
        let state = self.followed.clone();
        let written = tokio::task::spawn_blocking(move || kept.write(&state)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "a restart would not know how far the fleet was followed");
        }
    }
}
