//! Errors of the operations API: problem JSON (RFC 9457).

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Which kind of error, as a URI: `urn:sgl-router:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status, as a number.
    pub status: u16,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// Which kind of error, for programs, such as `missing_export`.
    pub code: String,
    /// Each fault of a configuration, if it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ProblemFault>,
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ProblemFault {
    /// The key, such as `max_memory_bytes`.
    pub key: String,
    /// What was there.
    pub found: String,
    /// What is allowed.
    pub expected: String,
}

impl Problem {
    /// An error with this status; its code is the status in words, such as `not_found`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("error");
        let code = title.to_ascii_lowercase().replace([' ', '-'], "_");
        Self::coded(status, &code, detail)
    }

    /// An error with this status and code.
    pub fn coded(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sgl-router:problem:{code}"),
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            faults: Vec::new(),
        }
    }
}
