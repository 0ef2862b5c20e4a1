//! What came of a request, as an author describes it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::config::near_names::nearest_first;
use sglang_router_rs::policies::RequestCompletion;

/// What came of a request by the names of the ABI. What is left out is not known; it has succeeded unless told
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DescribedOutcome {
    ok: Option<bool>,
    status: Option<u16>,
    after_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    total_ms: Option<f64>,
    prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    pub(crate) tag: Option<u64>,
}

impl DescribedOutcome {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// A name is none, or its value is not what it may be.
    pub(crate) fn of(told: &Value) -> Result<Self, String> {
        Self::deserialize(told).map_err(|error| nearest_first(&error.to_string()))
    }

    /// How long after the decision the first token came.
    pub(crate) fn after(&self) -> Duration {
        time(self.after_ms).unwrap_or_default()
    }

    /// The same request with what is known of its end.
    pub(crate) fn completion(&self, unknown: RequestCompletion) -> RequestCompletion {
        let ok = self.ok.unwrap_or(true);
        RequestCompletion {
            success: ok,
            judged: true,
            status: self.status.or(ok.then_some(200)),
            first_byte: time(self.first_byte_ms),
            total: time(self.total_ms).unwrap_or_default(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            cached_tokens: self.cached_tokens,
            ..unknown
        }
    }
}

fn time(ms: Option<f64>) -> Option<Duration> {
    ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
}
