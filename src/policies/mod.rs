//! Policies: what picks a worker.
//!
//! A policy is native ([`native`], Rust) or a plugin ([`wasm`], a sandboxed Wasm module). Both
//! are made by a [`factory::PolicyFactory`] and used through [`handle::Policy`], which also is a
//! [`policy::LoadBalancingPolicy`] for routers that embed this crate.

pub mod explanation;
pub mod info;
pub mod decision;
pub mod policy;
pub mod native;
pub mod wasm;
pub mod handle;
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
pub use crate::policies::handle::Policy;
pub use crate::policies::info::HeaderLookup;
pub use crate::policies::info::Leg;
pub use crate::policies::info::RequestNeeds;
pub use crate::policies::info::SelectWorkerInfo;
pub use crate::policies::info::key_of;
pub use crate::policies::policy::LoadBalancingPolicy;
pub use crate::policies::policy::RequestCompletion;
pub use crate::policies::wasm::detail::BreakerState;
pub use crate::policies::wasm::detail::GenerationDetail;
pub use crate::policies::wasm::detail::GenerationRole;
pub use crate::policies::wasm::detail::PluginDetail;
pub use crate::policies::wasm::detail::PluginStatus;
pub use crate::policies::wasm::error::OperationError;
pub use crate::policies::wasm::error::PluginError;
pub use crate::policies::wasm::event::PluginEvent;
pub use crate::policies::wasm::loader::MAX_MODULE_BYTES;
pub use crate::policies::wasm::loader::read_module;
pub use crate::policies::wasm::plugin::WasmPolicy;
pub use crate::policies::wasm::progress::LoadStep;
pub use crate::policies::wasm::progress::Progress;
pub use crate::policies::wasm::progress::unwatched;
pub use crate::policies::wasm::provenance::Provenance;
pub use crate::policies::wasm::registry::ManifestInfo;
pub use crate::policies::wasm::registry::PluginInfo;
pub use crate::policies::wasm::stats::PluginStats;
pub use crate::policies::wasm::trust::ModuleBytes;
pub use crate::policies::wasm::trust::Origin;
pub use crate::policies::wasm::trust::TrustPolicy;
