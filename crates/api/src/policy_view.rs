//! The policy that places requests, and those that could.

use serde::{Deserialize, Serialize};

use crate::pushed::AfterRestart;
use sglang_router_rs::config::CanaryOptions;
use sglang_router_rs::policies::StandIn;

/// The policy that places requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PolicyKind,
    /// What decides in its place, while it is a plugin that was paused or whose breaker is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
    /// The policy of the configuration.
    pub configured: String,
    /// The one before, to which a rollback goes back.
    pub previous: Option<String>,
    /// What a restart comes back with: the configured policy (`configured`, and `gone` if that is another
    /// one), or this one (`kept`).
    pub after_restart: AfterRestart,
    /// The policy on trial, which places a share of the requests.
    pub trial: Option<PolicyTrialView>,
    /// What happened last.
    pub last_event: Option<String>,
}

/// What a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Built in.
    BuiltIn,
    /// A plugin that is loaded.
    Plugin,
    /// A module that the router brings along and loads when it is used.
    Embedded,
    /// Of the program that has put the router together.
    Custom,
}

impl PolicyKind {
    /// Its name in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Plugin => "plugin",
            Self::Embedded => "embedded",
            Self::Custom => "custom",
        }
    }
}

/// A policy on trial beside the one in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PolicyTrialView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PolicyKind,
    /// Its share, and the bounds by which it is promoted or rolled back: those of a plugin's canary.
    pub bounds: CanaryOptions,
    /// Whole seconds since it began.
    pub for_secs: u64,
    /// What was counted of it.
    pub own: TrialCounts,
    /// What was counted of the policy in use meanwhile.
    pub stable: TrialCounts,
}

/// What was counted of one side of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TrialCounts {
    /// Decisions.
    pub decisions: u64,
    /// Decisions that failed.
    pub failures: u64,
    /// Finished requests that say something about the choice.
    pub requests: u64,
    /// Those of them that failed.
    pub request_errors: u64,
    /// Time that one decision in a hundred exceeds, in nanoseconds; `null` before any was timed.
    pub p99_ns: Option<u64>,
}

/// Policies that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PolicyList {
    /// Built-in ones first, then plugins, then embedded modules that are not loaded.
    pub policies: Vec<PolicySummary>,
}

/// A policy that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PolicySummary {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PolicyKind,
    /// True if it places requests.
    pub in_use: bool,
    /// True if it places a share of them, on trial.
    pub on_trial: bool,
    /// What decides in its place, while it is a plugin that was paused or whose breaker is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
}

/// Which policy is to place requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyChoice {
    /// Its name: of a built-in policy, a plugin, or a module that the router brings along.
    pub name: String,
    /// With these it places a share of the requests first; without, all of them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryOptions>,
}
