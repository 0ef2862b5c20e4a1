//! What a guest may do: its limits, its imports, its private directory.
//!
//! ```text
//!  SandboxSpec ─► Sandbox ─┬─ guest ──► Guest: limits, deadline, services, System
//!                          └─ linker ─► host functions, system calls
//! ```

pub(crate) mod services;
mod memory_limiter;
mod last_words;
pub(crate) mod tmp_limits;
#[cfg(feature = "wasi")]
pub(crate) mod wasi;
#[cfg(not(feature = "wasi"))]
#[path = "no_wasi.rs"]
pub(crate) mod wasi;
mod store_data;
mod host_functions;
pub(crate) mod plugin_sandbox;

pub(crate) use crate::engine::sandbox::plugin_sandbox::{Sandbox, SandboxSpec};
pub(crate) use crate::engine::sandbox::services::HostServices;
pub(crate) use crate::engine::sandbox::store_data::StoreData;
pub(crate) use crate::engine::sandbox::tmp_limits::TmpLimits;
pub(crate) use crate::engine::sandbox::wasi::PrivateDirectory;
