//! How a new generation gets the traffic: at once, first a share of it, or only a copy of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a new generation of a plugin takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Rollout {
    /// All decisions at once; the old generation stays warm for the probation. The default.
    #[default]
    Immediate,
    /// A share of the decisions, then all or none.
    Canary(CanaryOptions),
    /// A copy of every n-th decision, off the request path. It never decides; promote it by hand.
    Shadow(ShadowOptions),
}

/// How a new generation takes over, without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// All decisions at once.
    Immediate,
    /// A share of the decisions first.
    Canary,
    /// Copies of decisions.
    Shadow,
}

impl Rollout {
    /// Which of the three it is.
    pub fn mode(&self) -> RolloutMode {
        match self {
            Self::Immediate => RolloutMode::Immediate,
            Self::Canary(_) => RolloutMode::Canary,
            Self::Shadow(_) => RolloutMode::Shadow,
        }
    }
}

impl RolloutMode {
    /// The name that configuration, API and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for RolloutMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a canary is promoted or rolled back. Each bound compares it with the stable generation
/// over the same time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CanaryOptions {
    /// Share of the decisions in percent, above 0 and at most 100. Requests with a key stay on
    /// one side. Default: 10.
    pub percent: f64,
    /// Seconds before it can be promoted. Default: 30.
    pub min_secs: u64,
    /// Decisions that it must have made before it can be promoted. Default: 1000.
    pub min_decisions: u64,
    /// Failed decisions, as a share of all (0.0 to 1.0), that it may have more than the stable
    /// generation. Default: 0.01.
    pub max_failure_rate_increase: f64,
    /// Failed requests, as a share of all (0.0 to 1.0), that it may have more. Default: 0.01.
    pub max_request_error_rate_increase: f64,
    /// Times that its decision p99 may exceed the stable one's. Default: 1.5.
    pub max_p99_ratio: f64,
    /// Microseconds that its decision p99 may exceed the stable one's in any case, so that noise on fast
    /// plugins breaks no bound. Default: 100.
    pub p99_slack_us: u64,
}

impl Default for CanaryOptions {
    fn default() -> Self {
        Self {
            percent: 10.0,
            min_secs: 30,
            min_decisions: 1000,
            max_failure_rate_increase: 0.01,
            max_request_error_rate_increase: 0.01,
            max_p99_ratio: 1.5,
            p99_slack_us: 100,
        }
    }
}

/// What a shadow is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ShadowOptions {
    /// Every n-th decision is copied; 1 = all. Default: 10.
    pub every: u32,
}

impl Default for ShadowOptions {
    fn default() -> Self {
        Self { every: 10 }
    }
}

/// When a generation that has just taken over is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ProbationOptions {
    /// Seconds that the previous generation stays warm; 0 = no probation. Default: 30.
    pub secs: u64,
    /// Failures during that time that roll back at once, if the rate is exceeded too. Default: 5.
    pub max_failures: u64,
    /// Failed decisions during that time, as a share of all (0.0 to 1.0), above which it is
    /// rolled back. Default: 0.01.
    pub max_failure_rate: f64,
}

impl Default for ProbationOptions {
    fn default() -> Self {
        Self { secs: 30, max_failures: 5, max_failure_rate: 0.01 }
    }
}
