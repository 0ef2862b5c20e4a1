//! A worker, as it is shown: the one place where its JSON is defined.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sglang_worker::{RoleCounts, SglangWorker};
use sglang_router_rs::core::{BookNumbers, KnownReport, WorkerRole};

/// A worker, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Its name in paths, which follows from its URL. A router before this field tells none.
    #[serde(default)]
    pub id: String,
    /// Its URL.
    pub url: String,
    /// Which part of a request it serves.
    pub role: WorkerRole,
    /// The model that it serves; null: any.
    pub model: Option<String>,
    /// Its share of the requests relative to others, where a policy looks at it.
    pub weight: f64,
    /// Where it comes from: `config`, `operator`, `file`, `dns` or `kubernetes`. A router before this field
    /// tells none.
    #[serde(default)]
    pub source: String,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Where prefill workers are met by decode workers.
    pub bootstrap_port: Option<u16>,
    /// True if policies may choose it.
    pub healthy: bool,
    /// True if its health checks pass.
    pub passing: bool,
    /// True once its first health check is over, or if it has none. A router before this field tells nothing.
    #[serde(default = "yes")]
    pub checked: bool,
    /// Why its last health check failed, or TLS with it, for people; left out if they did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// True if it said a moment ago that it is full, and is passed over while others are not.
    pub full: bool,
    /// True if it gets no new requests.
    pub draining: bool,
    /// Who has it drained: `operator`, `source` (which says that it is not ready), `removal`. Left out where
    /// nobody has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained_by: Vec<String>,
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
    /// What is known of its engine. A router before this field tells nothing.
    #[serde(default)]
    pub engine: EngineView,
    /// What the router has sent to it, by its own books; left out while no plugin reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<BookNumbers>,
    /// Its data-parallel ranks, where each is a candidate of its own; what is said of the worker is of all of
    /// them then. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankView>,
    /// The same in the words of sglang-router and smg.
    #[serde(flatten)]
    pub sglang: SglangWorker,
    /// What of a request to add or change it had no effect, for people; left out in other answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn yes() -> bool {
    true
}

/// A data-parallel rank of a worker, as policies see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RankView {
    /// Its number.
    pub rank: u32,
    /// Its name for policies, in records and in metrics: that of the worker, `@` and the number.
    pub url: String,
    /// True if policies may choose it.
    pub healthy: bool,
    /// True if it said a moment ago that it is full, and is passed over while others are not.
    pub full: bool,
    /// Requests in flight to it from this router.
    pub load: usize,
    /// Whether its circuit lets requests through.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub circuit: CircuitState,
    /// Requests that it answered.
    pub succeeded: u64,
    /// Requests that it failed.
    pub failed: u64,
    /// What the engine said of it.
    pub report: KnownReport,
    /// Tokens that its KV cache can hold.
    pub kv_capacity_tokens: Option<u32>,
    /// Requests that it runs at the same time at most.
    pub max_running_requests: Option<u32>,
    /// What the router has sent to it, by its own books; left out while no plugin reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<BookNumbers>,
}

/// What is known of the engine behind a worker; null where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EngineView {
    /// What the configuration says: `auto`, `sglang`, `vllm`, `llamacpp` or `none`.
    pub setting: String,
    /// Which one it is.
    pub name: Option<String>,
    /// The version that it says it has.
    pub version: Option<String>,
    /// Tokens that its KV cache can hold.
    pub kv_capacity_tokens: Option<u32>,
    /// Tokens of a block of that cache.
    pub block_size: Option<u32>,
    /// Requests that it runs at the same time at most.
    pub max_running_requests: Option<u32>,
    /// Where it tells of its load.
    pub load_path: Option<String>,
    /// The names under which it serves, by its own list of models: models, then their adapters (LoRA).
    pub models: Option<Vec<String>>,
}

/// All workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WorkerList {
    /// In the order of the worker table.
    pub workers: Vec<WorkerView>,
    /// How many there are.
    #[serde(default)]
    pub total: usize,
    /// How many there are of each role.
    #[serde(default)]
    pub stats: RoleCounts,
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
