//! Policies: what picks a worker.
//!
//! A policy is native ([`native`], Rust) or a plugin ([`wasm`], a sandboxed Wasm module). Both
//! are made by a [`factory::PolicyFactory`] and used through [`policy::Policy`], which also is a
//! [`load_balancing::LoadBalancingPolicy`] for routers that embed this crate.

pub mod explanation;
pub mod info;
pub mod decision;
pub mod load_balancing;
pub mod native;
pub mod wasm;
pub mod policy;
pub mod factory;

pub use crate::config::plugin::PluginOptions;
pub use crate::config::plugin::WasmPolicyConfig;
pub use crate::policies::decision::Chooser;
pub use crate::policies::decision::DecideError;
pub use crate::policies::decision::Decision;
pub use crate::policies::decision::FailureCause;
pub use crate::policies::decision::PairDecision;
pub use crate::policies::explanation::Explained;
pub use crate::policies::explanation::Explanation;
pub use crate::policies::factory::PolicyFactory;
pub use crate::policies::info::HeaderLookup;
pub use crate::policies::info::RequestNeeds;
pub use crate::policies::info::SelectWorkerInfo;
pub use crate::policies::info::key_of;
pub use crate::policies::load_balancing::LoadBalancingPolicy;
pub use crate::policies::load_balancing::RequestCompletion;
pub use crate::policies::policy::Policy;
pub use crate::policies::wasm::detail::BreakerState;
pub use crate::policies::wasm::detail::GenerationDetail;
pub use crate::policies::wasm::detail::GenerationRole;
pub use crate::policies::wasm::detail::PluginDetail;
pub use crate::policies::wasm::detail::PluginStatus;
pub use crate::policies::wasm::load::error::PluginError;
pub use crate::policies::wasm::load::order::Load;
pub use crate::policies::wasm::load::progress::LoadStep;
pub use crate::policies::wasm::load::progress::Progress;
pub use crate::policies::wasm::load::progress::unwatched;
pub use crate::policies::wasm::load::provenance::Provenance;
pub use crate::policies::wasm::load::source::MAX_MODULE_BYTES;
pub use crate::policies::wasm::load::source::read_module;
pub use crate::policies::wasm::load::trust::ModuleBytes;
pub use crate::policies::wasm::load::trust::Origin;
pub use crate::policies::wasm::load::trust::TrustPolicy;
pub use crate::policies::wasm::registry::ManifestInfo;
pub use crate::policies::wasm::registry::PluginInfo;
pub use crate::policies::wasm::rollout::event::PluginEvent;
pub use crate::policies::wasm::rollout::operation_error::OperationError;
pub use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
pub use crate::policies::wasm::state::stats::PluginStats;
pub use sgl_policy_abi::Leg;
