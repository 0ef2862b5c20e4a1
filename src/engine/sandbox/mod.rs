//! What a guest may do: its limits, its imports, its private directory.
//!
//! ```text
//!  SandboxSpec ─► Sandbox ─┬─ guest ──► Guest: limits, deadline, system calls, /tmp, services
//!                          └─ linker ─► host functions, system calls, those that fill /tmp
//! ```

pub mod services;
pub(crate) mod limits;
pub(crate) mod last_words;
pub mod tmp_usage;
pub mod tmp_quota;
pub mod directory;
pub(crate) mod guest_log;
pub(crate) mod guest;
pub(crate) mod wasi;
pub(crate) mod host_functions;
pub(crate) mod tmp_calls;
pub mod plugin_sandbox;

pub use crate::engine::sandbox::directory::PrivateDirectory;
pub(crate) use crate::engine::sandbox::guest::Guest;
pub(crate) use crate::engine::sandbox::plugin_sandbox::Sandbox;
pub use crate::engine::sandbox::plugin_sandbox::SandboxSpec;
pub use crate::engine::sandbox::services::HostServices;
pub use crate::engine::sandbox::tmp_usage::TmpLimits;
