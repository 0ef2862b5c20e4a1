//! What decides in a plugin's place while it is out of the path.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

/// Why a plugin is out of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// An operator paused it.
    Paused,
    /// Its breaker is open: it failed too often. It is tried again by itself.
    BreakerOpen,
}

/// What decides in a plugin's place while it is out of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandIn {
    /// Why the plugin does not decide.
    pub because: Absence,
    /// The built-in policy that decides; null: requests are refused.
    pub policy: Option<String>,
}

/// As a sentence's part, such as `paused: round_robin decides`.
impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = match self.because {
            Absence::Paused => "paused",
            Absence::BreakerOpen => "breaker open",
        };
        match &self.policy {
            Some(policy) => write!(f, "{because}: {policy} decides"),
            None => write!(f, "{because}: requests are refused"),
        }
    }
}

/// What decides in this plugin's place now; `None` while it decides itself.
pub(crate) fn stand_in(plugin: &WasmPolicy) -> Option<StandIn> {
    let is_paused = plugin.in_use().as_ref().is_some_and(|active| active.paused);
    let because = match (is_paused, plugin.breaker().is_open()) {
        (true, _) => Absence::Paused,
        (false, true) => Absence::BreakerOpen,
        (false, false) => return None,
    };
    Some(StandIn { because, policy: plugin.fallback().stand_in().map(str::to_owned) })
}
