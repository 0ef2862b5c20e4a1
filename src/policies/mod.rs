//! Policies: they choose workers.
//!
//! A policy is native ([`native`], Rust) or a plugin ([`wasm`], a sandboxed Wasm module). A
//! [`factory::PolicyFactory`] makes both, and they are used through [`policy_handle::PolicyHandle`],
//! which also is a [`load_balancing::LoadBalancingPolicy`] for routers that embed this crate.

pub mod explanation;
pub mod select_worker_info;
pub mod decision;
pub mod load_balancing;
pub mod native;
pub mod wasm;
pub mod policy_handle;
pub mod factory;

pub use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
pub use crate::policies::decision::{Chooser, DecideError, Decision, FailureCause, PairDecision};
pub use crate::policies::explanation::{Explained, Explanation};
pub use crate::policies::factory::PolicyFactory;
pub use crate::policies::load_balancing::{LoadBalancingPolicy, RequestCompletion};
pub use crate::policies::policy_handle::PolicyHandle;
pub use crate::policies::select_worker_info::{HeaderLookup, RequestNeeds, SelectWorkerInfo, key_of};
pub use crate::policies::wasm::detail::{
    BreakerState, GenerationDetail, GenerationRole, PluginDetail, PluginStatus,
};
pub use crate::policies::wasm::load::error::PluginError;
pub use crate::policies::wasm::load::load_request::Load;
pub use crate::policies::wasm::load::progress::{LoadStep, Progress, unwatched};
pub use crate::policies::wasm::load::provenance::Provenance;
pub use crate::policies::wasm::load::source::{MAX_MODULE_BYTES, read_module};
pub use crate::policies::wasm::load::trust::{ModuleBytes, Origin, TrustPolicy};
pub use crate::policies::wasm::registry::{ManifestInfo, PluginInfo};
pub use crate::policies::wasm::rollout::event::PluginEvent;
pub use crate::policies::wasm::rollout::operation_error::OperationError;
pub use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
pub use crate::policies::wasm::state::stats::PluginStats;
pub use sgl_policy_abi::Leg;
