//! Policies: they choose workers.
//!
//! A policy is native ([`NativePolicy`], Rust) or a plugin ([`WasmPolicy`], a sandboxed Wasm module).
//! A [`PolicyFactory`] makes both, and they are used through [`PolicyHandle`], which also is a
//! [`LoadBalancingPolicy`] for routers that embed this crate. [`trust`] reads keys and signs modules.

mod explanation;
mod select_worker_info;
mod fleet_needs;
mod wanted_names;
mod wait;
mod ask_order;
mod decision;
mod load_balancing;
mod native;
pub(crate) mod wasm;
mod policy_handle;
mod factory;

pub use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
pub use crate::policies::ask_order::AskOrder;
pub use crate::policies::decision::{Chooser, DecideError, Decision, FailureCause, PairDecision};
pub use crate::policies::explanation::{Explained, Explanation};
pub use crate::policies::factory::PolicyFactory;
pub use crate::policies::fleet_needs::FleetNeeds;
pub use crate::policies::load_balancing::{
    LoadBalancingPolicy, OutcomeNeeds, RequestCompletion, RequestFirstToken,
};
pub use crate::policies::native::native_policy::NativePolicy;
pub use crate::policies::policy_handle::PolicyHandle;
pub use crate::policies::select_worker_info::{
    FieldLookup, HeaderLookup, PromptTokens, QueryLookup, RequestNeeds, SelectWorkerInfo, WaitOffer, key_of,
};
pub use crate::policies::wait::{Wait, WaitKey};
pub use crate::policies::wanted_names::WantedNames;
pub use crate::policies::wasm::detail::{
    BreakerState, GenerationDetail, GenerationRole, PluginDetail, PluginStatus,
};
pub use crate::policies::wasm::load::error::{ModuleFault, PluginError};
pub use crate::policies::wasm::load::load_request::Load;
pub use crate::policies::wasm::load::manifest_section::{read_manifest, with_manifest};
pub use crate::policies::wasm::load::module_check::{ModuleFacts, check_module, module_faults};
pub use crate::policies::wasm::load::progress::{LoadStep, Progress, unwatched};
pub use crate::policies::wasm::load::provenance::{Limits, Provenance, SignatureState, SignedBy};
pub use crate::policies::wasm::load::source::{MAX_MODULE_BYTES, read_module};
pub use crate::policies::wasm::load::trust;
pub use crate::policies::wasm::load::trust::origin::{ModuleBytes, Origin};
pub use crate::policies::wasm::load::trust::rules::TrustPolicy;
pub use crate::policies::wasm::registry::{ManifestInfo, PluginInfo};
pub use crate::policies::wasm::rollout::canary_verdict::CanaryVerdict;
pub use crate::policies::wasm::rollout::event::{Displaced, Happened, PluginEvent, TakeOver};
pub use crate::policies::wasm::rollout::operation_error::{FormerModule, OperationError};
pub use crate::policies::wasm::rollout::policy_side::{PolicySide, SideCounts};
pub use crate::policies::wasm::rollout::shadow::ShadowReport;
pub use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
pub use crate::policies::wasm::stand_in::{Absence, StandIn};
pub use crate::policies::wasm::state::latency::LatencyCounts;
pub use crate::policies::wasm::state::stats::{DrainCounts, GenerationStats, PluginStats};
pub use sgl_policy_abi::{ABI_VERSION, Leg, Ticket};
