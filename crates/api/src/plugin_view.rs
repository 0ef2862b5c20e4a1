//! Plugins, as they are shown.

use serde::{Deserialize, Serialize};

use sglang_router_rs::policies::{
    BreakerState, FailureCause, GenerationDetail, GenerationRole, Origin, PluginDetail, PluginEvent,
    PluginStatus,
};

/// One plugin in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PluginSummary {
    /// Its name.
    pub name: String,
    /// What it is in.
    pub state: PluginStatus,
    /// True if the router places requests with it.
    pub in_use: bool,
    /// The generation that decides.
    pub generation: u64,
    /// SHA-256 of its module, 64 hex digits.
    pub digest: String,
    /// Where the module comes from. A router before this field tells none.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Version that the module's manifest states.
    pub version: String,
    /// Whether its breaker lets requests through.
    pub breaker: BreakerState,
    /// Decisions over all generations, without those that a shadow was shown.
    pub decisions: u64,
    /// Decisions that the fallback policy made instead.
    pub fallbacks: u64,
    /// Failures of the generations that live, of a shadow left out.
    pub failures: u64,
    /// Those among them in which it chose nobody though somebody could be chosen. A router before this
    /// field tells none.
    #[serde(default)]
    pub no_choice: u64,
    /// 99th percentile of the decision times of the generation that decides, in nanoseconds.
    pub p99_ns: Option<u64>,
    /// Generations that live.
    pub live_generations: usize,
    /// What happened last.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub last_event: Option<PluginEvent>,
    /// Names of inputs that it declares and that some workers do not report: it decides without them.
    /// `GET /v1/plugins/{name}` tells how many. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreported: Vec<String>,
}

/// All plugins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PluginList {
    /// Sorted by name.
    pub plugins: Vec<PluginSummary>,
}

/// Everything that is known of one plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PluginView {
    /// True if the router places requests with it.
    pub in_use: bool,
    /// Share of the decisions that go to the canary in percent, if there is one.
    pub canary_percent: Option<f64>,
    /// Inputs that it declares and that some workers do not report; left out where it is not asked for
    /// (`GET /v1/plugins/{name}` tells it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreported: Option<Vec<UnreportedInput>>,
    /// The rest.
    #[serde(flatten)]
    pub detail: PluginDetail,
}

/// An input that a plugin declares, and how many workers do not report it: it decides without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct UnreportedInput {
    /// Its name, such as `queued_tokens`.
    pub input: String,
    /// Workers that there are.
    pub workers: usize,
    /// Those among them that never reported it.
    pub never: usize,
    /// Those that did, and do not at present: they are ill, or their last report is too old.
    pub not_now: usize,
}

impl PluginSummary {
    /// The short form, but for what workers do not report.
    pub fn of(detail: &PluginDetail, in_use: bool) -> Self {
        let stable = detail.generations.iter().find(|one| one.role == GenerationRole::Stable);
        let deciding = || detail.generations.iter().filter(|one| one.role != GenerationRole::Shadow);
        let no_choice = FailureCause::NoChoice.to_string();
        Self {
            name: detail.name.clone(),
            state: detail.state,
            in_use,
            generation: stable.map_or(0, |one| one.generation),
            digest: stable.map(|one| one.digest.clone()).unwrap_or_default(),
            origin: stable.and_then(|one| Some(one.provenance.as_ref()?.origin.clone())),
            version: stable.map(|one| one.version.clone()).unwrap_or_default(),
            breaker: detail.breaker,
            decisions: detail.decisions,
            fallbacks: detail.fallbacks,
            failures: deciding().map(failures).sum(),
            no_choice: deciding().filter_map(|one| one.failures.get(&no_choice)).sum(),
            p99_ns: stable.and_then(|one| one.latency_ns.get("p99").copied()),
            live_generations: detail.generations.len(),
            last_event: detail.last_event.clone(),
            unreported: Vec::new(),
        }
    }
}

/// Failures of a generation, whatever their cause.
pub fn failures(generation: &GenerationDetail) -> u64 {
    generation.failures.values().sum()
}
