//! Policies that are Wasm plugins.
//!
//! ```text
//!  WasmPolicyConfig ─► plugin_faults ─► loader ─► Generation ─► ArcSwap in its Plugin ─► Registry
//!                                                │
//!  decide: Plugin ─► Generation.pool ─► wire.encode ─► guest ─► wire.decode + check ─► Decision
//! ```
//!
//! A *plugin* is a name with its state; a *generation* is one loaded, compiled, warmed version of
//! it. A call keeps the generation that it started on.

pub mod trust;
pub mod error;
mod error_code;
pub mod progress;
pub mod latency;
pub(crate) mod significance;
pub(crate) mod verdict;
pub mod stats;
pub(crate) mod completions;
pub(crate) mod plugin_log;
pub(crate) mod shared_map;
pub(crate) mod row_state;
pub(crate) mod kept;
pub mod state;
pub mod producers;
pub(crate) mod oversights;
pub mod module_check;
/// Public for `benches/micro` alone.
#[doc(hidden)]
mod cut;
pub mod wire;
pub(crate) mod secret_headers;
pub(crate) mod breaker;
pub(crate) mod failure;
pub(crate) mod recipe;
pub mod provenance;
pub(crate) mod lane_choice;
pub(crate) mod generation;
pub(crate) mod loader;
pub mod shadow;
pub(crate) mod active;
pub(crate) mod question;
mod outliving;
pub(crate) mod call;
pub mod event;
pub(crate) mod watch;
pub(crate) mod handover;
pub mod plugin;
mod service;
mod rollout;
mod telling;
mod alone;
mod ask;
mod nobody;
mod policy;
pub mod detail;
pub mod registry;

pub use crate::config::plugin::PluginOptions;
pub use crate::config::plugin::WasmPolicyConfig;
pub use crate::policies::wasm::error::OperationError;
pub use crate::policies::wasm::error::PluginError;
pub use crate::policies::wasm::loader::MAX_MODULE_BYTES;
pub use crate::policies::wasm::loader::read_module;
pub use crate::policies::wasm::plugin::WasmPolicy;
pub use crate::policies::wasm::provenance::Provenance;
pub use crate::policies::wasm::registry::PluginInfo;
pub use crate::policies::wasm::registry::Registry;
pub use crate::policies::wasm::stats::PluginStats;
pub use crate::policies::wasm::trust::ModuleBytes;
pub use crate::policies::wasm::trust::Origin;
pub use crate::policies::wasm::trust::TrustPolicy;
