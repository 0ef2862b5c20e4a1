//! What is said of workers in the words of sglang-router and smg, beside this router's own.

use serde::{Deserialize, Serialize};

use sglang_router_rs::core::WorkerRole;

/// A worker in the words of sglang-router and smg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SglangWorker {
    /// As `role`.
    pub worker_type: WorkerRole,
    /// As `model`.
    pub model_id: Option<String>,
    /// As `healthy`.
    pub is_healthy: bool,
    /// Always `Http`.
    pub connection_mode: String,
}

/// How many workers there are of each role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RoleCounts {
    /// Of the role `prefill`.
    pub prefill_count: usize,
    /// Of the role `decode`.
    pub decode_count: usize,
    /// Of the role `regular`.
    pub regular_count: usize,
}
