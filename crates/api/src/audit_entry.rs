//! Changes by operators, as they are told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
}

/// A change that an operator made, or tried to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When it was done, as RFC 3339 has it, UTC.
    pub time: String,
    /// Who asked for it: an address and a port, or `signal`.
    pub who: String,
    /// The name of the token that was shown: `admin`; none if none was, or a wrong one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What was asked for: the method and the path, or the signal.
    pub change: String,
    /// What it was about, where the path does not say it: the worker that was added, the policy with its share
    /// and its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// The status of the answer; none for signals, and for loads whose answer is a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is otherwise than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<AuditedChange>,
}

/// One thing that is otherwise than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditedChange {
    /// `worker URL`, `plugin NAME`, or `policy`.
    pub what: String,
    /// As it was; null if it was not there.
    pub before: Value,
    /// As it is; null if it is gone.
    pub after: Value,
}
