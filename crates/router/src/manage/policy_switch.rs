//! Changing the policy while the router runs: at once, or first for a share of the requests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::embedded_path::embedded_path;
use crate::config::other_names;
use crate::config::other_names::OtherKind;
use crate::manage::kept_policy::{ChosenPolicy, KeptPolicy};
use crate::manage::manager::PluginManager;
use crate::manage::module_file::Module;
use crate::manage::placing::{Placing, PolicyTrial};
use crate::manage::policy_metrics::{TrialEnds, kind_of};
use crate::manage::settings::Settings;
use crate::manage::switch_error::SwitchError;
use sgl_api::{AfterRestart, PolicyTrialView, PolicyView, TrialCounts};
use sglang_router_rs::config::{
    CanaryOptions, Fault, Faults, PluginOptions, Rollout, WasmPolicyConfig, plugin_faults,
};
use sglang_router_rs::policies::{CanaryVerdict, PolicyHandle, PolicySide, unwatched};
use sglang_router_rs::types::shown;

/// How often a policy on trial is judged.
const LOOK: Duration = Duration::from_millis(250);

/// Changes the policy that places a router's requests.
///
/// # Concurrency
///
/// Changes take turns. Requests are not held up by any of them ([`Placing`]).
#[derive(Debug)]
pub(crate) struct PolicySwitch {
    placing: Arc<Placing>,
    manager: Arc<PluginManager>,
    /// The policy of the configuration.
    configured: String,
    kept: Option<KeptPolicy>,
    notes: Mutex<SwitchNotes>,
    turn: tokio::sync::Mutex<()>,
    begun: Notify,
    ends: Arc<TrialEnds>,
}

#[derive(Debug, Default)]
struct SwitchNotes {
    previous: Option<String>,
    /// What the last change took out of use, if that was a rollback.
    rolled_back: Option<String>,
    is_kept: bool,
    last_event: Option<String>,
}

impl PolicySwitch {
    /// For a router that began with the policy of its configuration. What operators choose is kept in the state
    /// directory, if there is one.
    pub(crate) fn new(
        placing: Arc<Placing>,
        manager: Arc<PluginManager>,
        configured: String,
        state_dir: Option<&Path>,
    ) -> Self {
        let kept = state_dir.map(KeptPolicy::new);
        let (notes, turn, begun) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        Self { placing, manager, configured, kept, notes, turn, begun, ends: Arc::default() }
    }

    /// How trials ended.
    pub(crate) fn ends(&self) -> &Arc<TrialEnds> {
        &self.ends
    }

    /// Comes back to the policy that an operator chose before the restart, if it can be used and the
    /// configuration names no other one since.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the policy of the configuration.
    pub(crate) async fn restore(&self) {
        let Some(kept) = &self.kept else { return };
        let chosen = match kept.read() {
            Ok(None) => return,
            Ok(Some(chosen)) => chosen,
            Err(error) => {
                tracing::error!(%error, "which policy an operator chose is not known any more: policy.json is bad");
                return;
            }
        };
        let (policy, configured) = (shown(&chosen.policy), &self.configured);
        if chosen.configured != self.configured {
            tracing::warn!(
                policy,
                configured,
                "the configuration names another policy since an operator chose this one, and wins"
            );
            self.keep(None).await;
            return;
        }
        match self.find(&chosen.policy).await {
            Ok(handle) => {
                self.notes.lock().is_kept = true;
                self.note(Some(self.configured.clone()), format!("{policy} came back with the restart"));
                self.place(handle, None);
                tracing::info!(policy, configured, "the policy that an operator chose is back");
            }
            Err(error) => {
                let event = format!("{policy}, which an operator chose, could not come back: {error}");
                self.note(None, event);
                tracing::error!(policy, configured, %error, "the policy that an operator chose cannot be used; that of the configuration is");
            }
        }
    }

    /// Has a policy place all requests from now on or, with bounds, a share of them until it is promoted or
    /// goes. Requests in flight stay with the policy that placed them. An embedded module of that name is
    /// loaded if need be.
    ///
    /// # Errors
    ///
    /// [`SwitchError`]; nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// Do not drop it: what is loaded may be lost.
    pub(crate) async fn use_policy(
        &self,
        name: &str,
        canary: Option<CanaryOptions>,
    ) -> Result<(), SwitchError> {
        let _turn = self.turn.lock().await;
        let (now, trial) = (self.placing.policy(), self.placing.trial());
        if let Some(options) = &canary {
            check_bounds(options)?;
            if let Some(trial) = &trial {
                return Err(SwitchError::OnTrial { name: trial.policy.name().to_owned() });
            }
        }
        let policy = self.find(name).await?;
        let is_in_use = policy.name() == now.name();
        match canary {
            _ if is_in_use && trial.is_none() => Err(SwitchError::InUse { name: shown(name) }),
            Some(options) => {
                let percent = options.percent;
                let event = format!("{} has {percent} % of the decisions on trial", policy.name());
                tracing::info!(policy = now.name(), trial = policy.name(), percent, "a policy is on trial");
                self.place(now, Some(PolicyTrial::new(policy, options)));
                self.note(None, event);
                self.begun.notify_one();
                Ok(())
            }
            None => {
                if let Some(trial) = &trial {
                    let is_promoted = trial.policy.name() == policy.name();
                    TrialEnds::add(if is_promoted { &self.ends.promoted } else { &self.ends.withdrawn });
                }
                self.enter(policy, "chosen by the operator").await;
                Ok(())
            }
        }
    }

    /// Has the policy on trial place all requests.
    ///
    /// # Errors
    ///
    /// [`SwitchError::NoTrial`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a restart with the policy before.
    pub(crate) async fn promote(&self) -> Result<(), SwitchError> {
        let _turn = self.turn.lock().await;
        let trial = self.placing.trial().ok_or(SwitchError::NoTrial)?;
        TrialEnds::add(&self.ends.promoted);
        self.enter(trial.policy.clone(), "promoted by the operator").await;
        Ok(())
    }

    /// Ends the trial or, if there is none, goes back to the policy before this one.
    ///
    /// # Errors
    ///
    /// [`SwitchError::NothingBefore`], [`SwitchError::RolledBack`] if that was just done, or as [`use_policy`](Self::use_policy).
    ///
    /// # Cancel safety
    ///
    /// As [`use_policy`](Self::use_policy).
    pub(crate) async fn roll_back(&self) -> Result<(), SwitchError> {
        let _turn = self.turn.lock().await;
        if let Some(trial) = self.placing.trial() {
            TrialEnds::add(&self.ends.withdrawn);
            self.drop_trial(&trial, "by the operator");
            return Ok(());
        }
        let now = self.placing.policy().name().to_owned();
        let previous = self.previous(&now)?;
        let policy = self.find(&previous).await?;
        self.enter(policy, "rolled back by the operator").await;
        let mut notes = self.notes.lock();
        // Else the next rollback would bring back what this one took away.
        (notes.previous, notes.rolled_back) = (None, Some(now));
        Ok(())
    }

    /// What a rollback goes back to.
    fn previous(&self, now: &str) -> Result<String, SwitchError> {
        let notes = self.notes.lock();
        match (&notes.previous, &notes.rolled_back) {
            (Some(previous), _) => Ok(previous.clone()),
            (None, Some(from)) => Err(SwitchError::RolledBack { now: now.to_owned(), from: from.clone() }),
            (None, None) => Err(SwitchError::NothingBefore),
        }
    }

    /// Judges policies on trial, until told to stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn supervise(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let is_idle = self.placing.trial().is_none();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.begun.notified(), if is_idle => {}
                () = tokio::time::sleep(LOOK), if !is_idle => self.judge().await,
            }
        }
    }

    async fn judge(&self) {
        let _turn = self.turn.lock().await;
        let Some(trial) = self.placing.trial() else { return };
        match trial.own.judge(&trial.options, trial.since.elapsed(), &trial.stable) {
            CanaryVerdict::RollBack(reason) => {
                TrialEnds::add(&self.ends.rolled_back);
                self.drop_trial(&trial, &reason);
            }
            CanaryVerdict::Promote => {
                TrialEnds::add(&self.ends.promoted);
                self.enter(trial.policy.clone(), "promoted: all bounds held").await;
            }
            CanaryVerdict::Wait => {}
        }
    }

    fn drop_trial(&self, trial: &PolicyTrial, reason: &str) {
        let policy = self.placing.policy();
        let (name, dropped) = (policy.name().to_owned(), trial.policy.name());
        tracing::warn!(policy = name, trial = dropped, reason, "the policy on trial was rolled back");
        self.note(None, format!("{dropped} was rolled back: {reason}"));
        self.place(policy, None);
    }

    /// Has a policy place all requests, and keeps that.
    async fn enter(&self, policy: PolicyHandle, why: &str) {
        let (before, name) = (self.placing.policy().name().to_owned(), policy.name().to_owned());
        self.place(policy, None);
        tracing::info!(policy = name, before, why, "the policy was changed");
        let previous = (before != name).then_some(before);
        self.note(previous, format!("{name} places all requests: {why}"));
        let chosen = ChosenPolicy { policy: name, configured: self.configured.clone() };
        self.keep(Some(chosen).filter(|chosen| chosen.policy != chosen.configured)).await;
    }

    fn place(&self, policy: PolicyHandle, trial: Option<PolicyTrial>) {
        let names = [Some(policy.name()), trial.as_ref().map(|trial| trial.policy.name())];
        self.manager.set_in_use(names.into_iter().flatten().map(str::to_owned).collect());
        self.placing.set(policy, trial);
    }

    fn note(&self, previous: Option<String>, event: String) {
        let mut notes = self.notes.lock();
        notes.last_event = Some(event);
        if previous.is_some() {
            (notes.previous, notes.rolled_back) = (previous, None);
        }
    }

    async fn keep(&self, chosen: Option<ChosenPolicy>) {
        let Some(kept) = &self.kept else { return };
        let kept = kept.clone();
        let written = tokio::task::spawn_blocking(move || kept.write(chosen.as_ref())).await;
        let is_kept = match written {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "a restart would not come back with this policy");
                false
            }
            Err(_) => false,
        };
        self.notes.lock().is_kept = is_kept;
    }

    /// The policy of a name: built in, loaded, or embedded, also under a name that it has in another router.
    async fn find(&self, name: &str) -> Result<PolicyHandle, SwitchError> {
        let unknown = || SwitchError::Unknown { name: shown(name) };
        let factory = self.manager.factory();
        if let Some(policy) = factory.create_by_name(name) {
            return Ok(policy);
        }
        let (module, settings) = match other_names::find(name).map(|other| (other, other.kind)) {
            Some((_, OtherKind::BuiltIn(built_in))) => {
                return factory.create_by_name(built_in).ok_or_else(unknown);
            }
            Some((other, OtherKind::Embedded { module, .. })) => (module, other.settings().collect()),
            None => (name, HashMap::<String, Value>::new()),
        };
        if !sgl_shipped::names().contains(&module) {
            return Err(unknown());
        }
        let config = (!settings.is_empty())
            .then(|| ("config".to_owned(), Value::Object(settings.into_iter().collect())));
        let settings = Settings::new(config.into_iter().collect::<Map<String, Value>>())?;
        self.manager.push(name, Module::File(embedded_path(module)), &settings, unwatched()).await?;
        factory.create_by_name(name).ok_or_else(unknown)
    }

    /// What operators see of it.
    pub(crate) fn view(&self) -> PolicyView {
        let (policy, trial) = (self.placing.policy(), self.placing.trial());
        let notes = self.notes.lock();
        let after_restart = match &self.kept {
            _ if policy.name() == self.configured => AfterRestart::Configured,
            Some(_) if notes.is_kept => AfterRestart::Kept,
            _ => AfterRestart::Gone,
        };
        PolicyView {
            name: policy.name().to_owned(),
            kind: kind_of(&policy),
            stand_in: policy.stand_in(),
            configured: self.configured.clone(),
            previous: notes.previous.clone(),
            after_restart,
            trial: trial.as_deref().map(trial_view),
            last_event: notes.last_event.clone(),
        }
    }
}

fn trial_view(trial: &PolicyTrial) -> PolicyTrialView {
    PolicyTrialView {
        name: trial.policy.name().to_owned(),
        kind: kind_of(&trial.policy),
        bounds: trial.options,
        for_secs: trial.since.elapsed().as_secs(),
        own: counts(&trial.own),
        stable: counts(&trial.stable),
    }
}

fn counts(side: &PolicySide) -> TrialCounts {
    let counts = side.counts();
    TrialCounts {
        decisions: counts.decisions,
        failures: counts.failures,
        requests: counts.requests,
        request_errors: counts.request_errors,
        p99_ns: counts.p99.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
    }
}

/// The bounds are those of a plugin's canary, and are checked as these are.
fn check_bounds(options: &CanaryOptions) -> Result<(), SwitchError> {
    let rollout = PluginOptions { rollout: Rollout::Canary(*options), ..PluginOptions::default() };
    let faults = plugin_faults(&WasmPolicyConfig::new("trial", "trial.wasm"), &rollout, &[]);
    let own = |fault: Fault| {
        let path = fault.path.strip_prefix("options.rollout.").map(|key| format!("canary.{key}"))?;
        Some(Fault { path, ..fault })
    };
    let faults: Vec<Fault> = faults.into_iter().filter_map(own).collect();
    if faults.is_empty() { Ok(()) } else { Err(SwitchError::Bounds(Faults(faults))) }
}
