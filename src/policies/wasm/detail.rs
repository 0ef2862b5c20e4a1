//! Everything known about one plugin, for operators.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::Guard;
use serde::{Deserialize, Serialize};

use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
use crate::config::rollout::Rollout;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::load::provenance::Provenance;
use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::event::PluginEvent;
use crate::policies::wasm::rollout::shadow::ShadowReport;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::stats::GenerationStats;

/// What a generation is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum GenerationRole {
    /// It decides.
    Stable,
    /// It decides for a share of the requests.
    Canary,
    /// It is shown copies of decisions.
    Shadow,
    /// It was stable before and stays warm.
    Previous,
    /// It finishes its calls, or is being prepared.
    Draining,
}

impl GenerationRole {
    /// The name that API and command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Previous => "previous",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for GenerationRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a plugin as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PluginStatus {
    /// Its stable generation decides, and nothing is on trial.
    Serving,
    /// An operator took it out of the path.
    Paused,
    /// A canary is on trial.
    Canary,
    /// A shadow is on trial.
    Shadow,
    /// Its stable generation is new and on trial: the one before stays warm.
    Probation,
}

impl PluginStatus {
    /// The name that API and command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Paused => "paused",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Probation => "probation",
        }
    }

    fn of(active: &Active) -> Self {
        match active {
            Active { paused: true, .. } => Self::Paused,
            Active { canary: Some(_), .. } => Self::Canary,
            Active { shadow: Some(_), .. } => Self::Shadow,
            Active { previous: Some(_), .. } => Self::Probation,
            Active { .. } => Self::Serving,
        }
    }
}

impl fmt::Display for PluginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a plugin's breaker lets requests through to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// It does.
    Closed,
    /// It keeps the plugin out of the path.
    Open,
}

impl BreakerState {
    /// The name that API and command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One generation that lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationDetail {
    /// Its number, unique in the process.
    pub generation: u64,
    /// What it is used for.
    pub role: GenerationRole,
    /// SHA-256 of its module; empty while it drains.
    pub digest: String,
    /// When it was loaded, in seconds since 1970; 0 while it drains.
    pub loaded_at_secs: u64,
    /// Version that the module's manifest states.
    pub version: String,
    /// Where it comes from, and who vouches for it; none while it drains.
    pub provenance: Option<Provenance>,
    /// Decisions it was asked for, or shown as a shadow.
    pub decisions: u64,
    /// Failures by cause; causes that did not occur are left out.
    pub failures: BTreeMap<String, u64>,
    /// How it came into use, of a canary or a shadow: a canary's bounds are there. A router before this
    /// field tells none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Quantiles of its decision times in nanoseconds: `p50`, `p90`, `p99`, `p999`.
    pub latency_ns: BTreeMap<String, u64>,
    /// Instances that live.
    pub instances: usize,
    /// Instances that wait for a call.
    pub idle: usize,
    /// Calls in progress.
    pub in_call: usize,
    /// Callers that wait for an instance.
    pub waiting: usize,
}

/// Everything known about one plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PluginDetail {
    /// Its name.
    pub name: String,
    /// Its state as a whole.
    pub state: PluginStatus,
    /// What happened last.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub last_event: Option<PluginEvent>,
    /// The last failed decision: generation, cause and details; for a guest that panicked, its message,
    /// file and line.
    pub last_failure: Option<String>,
    /// Whether its breaker lets requests through.
    pub breaker: BreakerState,
    /// Decisions of all generations, without those shown to a shadow.
    pub decisions: u64,
    /// Decisions that the fallback policy made instead.
    pub fallbacks: u64,
    /// Answers that refused a request (`shed`).
    #[serde(default)]
    pub sheds: u64,
    /// Answers that had a request wait: it is asked again, and counts among the decisions each time.
    #[serde(default)]
    pub waits: u64,
    /// Batches of events about requests that could not be reported to it.
    pub completion_failures: u64,
    /// Such events that were dropped because too many waited to be reported.
    #[serde(default)]
    pub events_dropped: u64,
    /// File operations of its guests that were refused because its private directory was full.
    pub tmp_refusals: u64,
    /// Swaps, promotions and rollbacks.
    pub swaps: u64,
    /// Rollbacks among them.
    pub rollbacks: u64,
    /// How far the shadow agrees, if there is one.
    pub shadow: Option<ShadowReport>,
    /// All generations that live, oldest first.
    pub generations: Vec<GenerationDetail>,
    /// System calls that the stable module imports.
    pub syscalls: Vec<String>,
    /// What the stable generation was loaded with.
    pub config: WasmPolicyConfig,
    /// What the stable generation was loaded with.
    pub options: PluginOptions,
}

/// Everything known about a plugin; `None` once it is unloaded.
pub(crate) fn of(name: &str, plugin: &WasmPolicy) -> Option<PluginDetail> {
    let active = Guard::into_inner(plugin.in_use())?;
    let stats = plugin.stats();
    let last_event = plugin.last_event();
    let generations = stats.generations.iter().map(|counted| generation(counted, &active)).collect();
    Some(PluginDetail {
        name: name.to_owned(),
        state: PluginStatus::of(&active),
        last_event,
        last_failure: plugin.state().last_failure(),
        breaker: if stats.breaker_open { BreakerState::Open } else { BreakerState::Closed },
        decisions: stats.decisions,
        fallbacks: stats.fallbacks,
        sheds: stats.sheds,
        waits: stats.waits,
        completion_failures: stats.completion_failures,
        events_dropped: stats.events_dropped,
        tmp_refusals: stats.tmp_refusals,
        swaps: stats.swaps,
        rollbacks: stats.rollbacks,
        shadow: active.shadow.as_ref().map(|shadow| shadow.report()),
        generations,
        syscalls: active.stable.facts.syscalls.clone(),
        config: active.stable.config.clone(),
        options: active.stable.options.clone(),
    })
}

fn role_in(active: &Active, id: u64) -> (GenerationRole, Option<Arc<Generation>>) {
    let canary = active.canary.as_ref().map(|canary| &canary.generation);
    let shadow = active.shadow.as_ref().map(|shadow| &shadow.generation);
    let known = [
        (GenerationRole::Stable, Some(&active.stable)),
        (GenerationRole::Canary, canary),
        (GenerationRole::Shadow, shadow),
        (GenerationRole::Previous, active.previous.as_ref()),
    ];
    let found = known.into_iter().find_map(|(role, generation)| {
        generation.filter(|generation| generation.id == id).map(|generation| (role, Arc::clone(generation)))
    });
    found.map_or((GenerationRole::Draining, None), |(role, generation)| (role, Some(generation)))
}

fn generation(counted: &GenerationStats, active: &Active) -> GenerationDetail {
    let (role, generation) = role_in(active, counted.generation);
    let pool = generation.as_ref().map(|generation| generation.pool.counts()).unwrap_or_default();
    let is_on_trial = matches!(role, GenerationRole::Canary | GenerationRole::Shadow);
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
    let quantile = |(name, at): (&str, f64)| {
        let time = counted.latency.quantile(at)?;
        Some((name.to_owned(), u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    };
    let failed = |(cause, count): &(crate::policies::decision::FailureCause, u64)| {
        (*count > 0).then(|| (cause.to_string(), *count))
    };
    GenerationDetail {
        generation: counted.generation,
        role,
        digest: generation.as_ref().map(|generation| generation.digest.clone()).unwrap_or_default(),
        loaded_at_secs: generation.as_ref().map_or(0, |generation| seconds(generation.loaded_at)),
        provenance: generation.as_ref().map(|generation| generation.provenance()),
        rollout: generation.as_ref().filter(|_| is_on_trial).map(|generation| generation.options.rollout),
        version: generation.map(|generation| generation.facts.manifest.version.clone()).unwrap_or_default(),
        decisions: counted.decisions,
        failures: counted.failures.iter().filter_map(failed).collect(),
        latency_ns: quantiles.into_iter().filter_map(quantile).collect(),
        instances: pool.live,
        idle: pool.idle,
        in_call: pool.live.saturating_sub(pool.idle),
        waiting: pool.waiting,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_called_the_same_in_json_and_on_the_command_line() {
        let states = [
            PluginStatus::Serving,
            PluginStatus::Paused,
            PluginStatus::Canary,
            PluginStatus::Shadow,
            PluginStatus::Probation,
        ];
        for state in states {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for breaker in [BreakerState::Closed, BreakerState::Open] {
            assert_eq!(serde_json::to_value(breaker).unwrap(), breaker.as_str());
        }
        let roles = [
            GenerationRole::Stable,
            GenerationRole::Canary,
            GenerationRole::Shadow,
            GenerationRole::Previous,
            GenerationRole::Draining,
        ];
        for role in roles {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }
}
