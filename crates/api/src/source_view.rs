//! Where workers come from, as it is shown.

use serde::{Deserialize, Serialize};

/// All sources of workers but the configuration and operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceList {
    /// One for the file, each name and each selector.
    pub sources: Vec<SourceView>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceView {
    /// `file`, `dns` or `kubernetes`.
    pub source: String,
    /// The file, the name, or the role and the labels.
    pub name: String,
    /// `waiting` (for its first answer), `current`, `failing` (what is known stays) or `holding` (more than half
    /// of its workers are missing in the last answer, and serve on for now).
    pub state: String,
    /// Milliseconds since it was last answered.
    pub age_ms: Option<u64>,
    /// Why it is not answered, for people; left out while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// For how many milliseconds missing workers still serve; left out while none is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// The workers that it told of.
    pub members: Vec<SourceMemberView>,
}

/// A worker that a source told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceMemberView {
    /// Its name there: a pod's, or its URL.
    pub id: String,
    /// Its URL.
    pub url: String,
    /// `serving`, `not_ready`, `held` (missing in the last answer), `elsewhere` (its URL is another source's),
    /// `dismissed` (an operator removed it) or `leaving`.
    pub state: String,
}
