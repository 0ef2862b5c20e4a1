//! The requests that wait in the router, as they are shown.

use serde::{Deserialize, Serialize};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum WaitsFor {
    /// For its turn: as many are served as may be at a time.
    Limit = 0,
    /// For a worker that is ready.
    Workers = 1,
    /// Because the policy, a plugin, has it wait.
    Plugin = 2,
}

impl WaitsFor {
    /// All of them, at the places of their numbers.
    pub const ALL: [Self; 3] = [Self::Limit, Self::Workers, Self::Plugin];

    /// The name in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Workers => "workers",
            Self::Plugin => "plugin",
        }
    }
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WaitingView {
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// Which endpoint, as in metrics.
    pub route: String,
    /// The model that it names, if that is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Milliseconds that it has waited.
    pub waited_ms: u64,
    /// Milliseconds that it may wait yet.
    pub left_ms: u64,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// The policy that has it wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The generation that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its place: the smallest is asked first. Missing too if it is infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<f64>,
}

/// The requests that wait in the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// How many wait.
    pub waiting: usize,
    /// How many may.
    pub size: usize,
    /// Bytes of the bodies of all that wait.
    pub body_bytes: u64,
    /// How many those may be.
    pub max_body_bytes: u64,
    /// Requests that are served at a time at the most; null: no limit.
    pub max_concurrent_requests: Option<usize>,
    /// Requests that are served now; null: they are not counted without a limit.
    pub served: Option<usize>,
    /// Those who have waited longest.
    pub requests: Vec<WaitingView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for (position, what) in WaitsFor::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, position);
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }
}
