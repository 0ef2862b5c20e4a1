//! What came of reading the configuration again.

use serde::{Deserialize, Serialize};

/// What came of reading the configuration again; of a dry run, what would have come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReloadReport {
    /// True if nothing was changed.
    pub dry_run: bool,
    /// What was applied.
    pub applied: Vec<ReloadChange>,
    /// Keys that were changed and are not followed: they need a restart. Each reload tells them again.
    pub needs_restart: Vec<ChangedValue>,
    /// What was not applied, and why; what was before goes on.
    pub refused: Vec<ReloadRefusal>,
    /// Workers that another source has, and that are left to it. That is no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_to_others: Vec<ReloadRefusal>,
}

/// One thing that a reload changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReloadChange {
    /// What kind of thing.
    pub what: Reloadable,
    /// Which: a worker's URL, a name of a plugin, of a client's key, of a model, or who sees a certificate.
    pub name: String,
    /// What became of it.
    pub change: ReloadedAs,
    /// Its settings that are other than before; of what was added or removed, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ChangedValue>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a reload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reloadable {
    /// A worker.
    Worker,
    /// A plugin.
    Plugin,
    /// The tokenizer of a model.
    Tokenizer,
    /// The rules about signatures, all of them.
    Trust,
    /// A certificate, by who sees it.
    Certificate,
    /// A key of a client.
    ClientKey,
    /// How many decisions are recorded.
    Records,
}

/// What becomes of a thing by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReloadedAs {
    /// It is new.
    Added,
    /// It is as the configuration says now.
    Changed,
    /// It goes.
    Removed,
}

/// A value that is written otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ChangedValue {
    /// Its key, such as `health.interval_secs`.
    pub key: String,
    /// What was written before; `null` = nothing, `***` = a secret.
    pub before: Option<String>,
    /// What is written now.
    pub now: Option<String>,
}

/// One thing that a reload left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReloadRefusal {
    /// What kind of thing.
    pub what: Reloadable,
    /// Which.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Reloadable {
    /// Its name in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Plugin => "plugin",
            Self::Tokenizer => "tokenizer",
            Self::Trust => "trust",
            Self::Certificate => "certificate",
            Self::ClientKey => "client key",
            Self::Records => "records",
        }
    }
}

impl ReloadedAs {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}
