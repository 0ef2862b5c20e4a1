//! Why the policy was not changed.

use crate::manage::error::ManageError;
use sglang_router_rs::config::Faults;

/// Why the policy was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// There is no such policy.
    #[error(
        "there is no policy {name}; GET /v1/policies (`sgl-router policy list`) lists those that there are"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It places requests already.
    #[error("the policy {name} is in use already")]
    InUse {
        /// Its name.
        name: String,
    },
    /// Another one is on trial.
    #[error("the policy {name} is on trial: promote it or roll it back first")]
    OnTrial {
        /// Its name.
        name: String,
    },
    /// There is no trial.
    #[error("no policy is on trial")]
    NoTrial,
    /// There is nothing to go back to.
    #[error("no policy is on trial, and none was in use before this one")]
    NothingBefore,
    /// The last change was a rollback: another one would bring back what was rolled back.
    #[error(
        "{now} is in use since {from} was rolled back; to use {from} again: PUT /v1/policy (`sgl-router policy use {from}`)"
    )]
    RolledBack {
        /// The policy in use.
        now: String,
        /// What was rolled back.
        from: String,
    },
    /// The bounds of the trial cannot be.
    #[error("the trial's bounds cannot be: {}", .0.in_one_line())]
    Bounds(Faults),
    /// The embedded module of the policy cannot be loaded.
    #[error("the policy cannot be loaded: {0}")]
    Load(#[from] ManageError),
}
