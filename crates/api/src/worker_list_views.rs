//! Workers in the forms that other routers show them in.

use serde::{Deserialize, Serialize};

use sglang_router_rs::core::{KnownReport, WorkerRole};

/// The URLs of the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerUrls {
    /// One for each.
    pub urls: Vec<String>,
}

/// How loaded the workers are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerLoads {
    /// One for each.
    pub workers: Vec<WorkerLoad>,
}

/// How loaded one is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerLoad {
    /// Its URL.
    pub worker: String,
    /// Which part of a request it serves.
    pub worker_type: WorkerRole,
    /// Requests in flight to it from this router.
    pub load: usize,
    /// What it said of itself.
    pub report: KnownReport,
}

/// A worker that is being removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerRemoval {
    /// Always `accepted`: the removal goes on.
    pub status: String,
    /// Its id.
    pub worker_id: String,
    /// Its URL.
    pub url: String,
    /// What did not happen beside it, for people; left out if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
