//! A worker, as it is shown: the one place where its JSON is defined.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use sglang_router_rs::core::{KnownReport, WorkerRole};

/// A worker, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Its URL.
    pub url: String,
    /// Which part of a request it serves.
    pub role: WorkerRole,
    /// The model that it serves; null: any.
    pub model: Option<String>,
    /// Its share of the requests relative to others, where a policy looks at it.
    pub weight: f64,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Where prefill workers are met by decode workers.
    pub bootstrap_port: Option<u16>,
    /// True if policies may choose it.
    pub healthy: bool,
    /// True if its health checks pass.
    pub passing: bool,
    /// True if it said a moment ago that it is full, and is passed over while others are not.
    pub full: bool,
    /// True if it gets no new requests.
    pub draining: bool,
    /// Requests in flight to it from this router.
    pub load: usize,
    /// Whether its circuit lets requests through.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub circuit: CircuitState,
    /// Requests that it answered.
    pub succeeded: u64,
    /// Requests that it failed.
    pub failed: u64,
    /// What it said of itself.
    pub report: KnownReport,
}

/// All workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerList {
    /// In the order of the worker table.
    pub workers: Vec<WorkerView>,
}

/// Whether requests may go through to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum CircuitState {
    /// All requests.
    Closed = 0,
    /// None.
    Open = 1,
    /// One at a time, to see whether the worker is back; another if that takes too long.
    HalfOpen = 2,
}

impl CircuitState {
    /// The name in JSON and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
