//! Policies that are Wasm plugins.
//!
//! ```text
//!  registry ─► load: bytes ─► Generation ─► rollout: Generation ─► in use
//!                                                                   │
//!  decide:  question ─► generation in use ─► message ─► guest ─► checked choice
//! ```
//!
//! A *plugin* is a name with its state; a *generation* is one loaded, compiled, warmed version of
//! it. A call keeps the generation that it started on.
//!
//! Each room knows only those before it, in this order: [`state`], [`message`], [`load`], [`rollout`],
//! `decide`.

pub mod state;
pub mod message;
pub mod load;
pub mod rollout;
mod decide;
pub mod detail;
pub mod registry;

pub use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
pub use crate::policies::wasm::load::error::PluginError;
pub use crate::policies::wasm::load::provenance::Provenance;
pub use crate::policies::wasm::load::source::{MAX_MODULE_BYTES, read_module};
pub use crate::policies::wasm::load::trust::{ModuleBytes, Origin, TrustPolicy};
pub use crate::policies::wasm::registry::PluginInfo;
pub use crate::policies::wasm::rollout::operation_error::OperationError;
pub use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
pub use crate::policies::wasm::state::stats::PluginStats;
