//! What an operator may set: serde types with their defaults, and the checks of a config file.
//!
//! What a plugin may be given, and its checks, are the library's ([`sglang_router_rs::config`]); the
//! rest, the router's file, is here.
//!
//! Text becomes a [`router::RouterConfig`] ([`toml_text`]), flags are laid over it, and
//! [`check`] turns it into a [`checked::CheckedConfig`], which is all that the rest accepts.

pub mod retry_on;
pub mod compile_section;
pub mod plugin_entry;
pub mod worker_entry;
pub mod router;
pub mod toml_text;
pub mod files;
pub mod fixed;
pub mod checked;
mod plugin_set;
mod check_trust;
pub(crate) mod check_workers;
pub mod check;

pub use crate::config::checked::CheckedConfig;
pub use crate::config::router::RouterConfig;
