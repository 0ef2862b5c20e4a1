//! What a guest may do: its limits, its imports, its private directory.
//!
//! ```text
//!  SandboxSpec ─► Sandbox ─┬─ guest ──► Guest: limits, deadline, services, System
//!                          └─ linker ─► host functions, system calls
//! ```

pub mod services;
pub(crate) mod memory_limiter;
pub(crate) mod last_words;
pub mod tmp_limits;
#[cfg(feature = "wasi")]
pub mod wasi;
#[cfg(not(feature = "wasi"))]
#[path = "no_wasi.rs"]
pub mod wasi;
pub(crate) mod store_data;
pub(crate) mod host_functions;
pub mod plugin_sandbox;

pub(crate) use crate::engine::sandbox::plugin_sandbox::Sandbox;
pub use crate::engine::sandbox::plugin_sandbox::SandboxSpec;
pub use crate::engine::sandbox::services::HostServices;
pub(crate) use crate::engine::sandbox::store_data::StoreData;
pub use crate::engine::sandbox::tmp_limits::TmpLimits;
pub use crate::engine::sandbox::wasi::PrivateDirectory;
