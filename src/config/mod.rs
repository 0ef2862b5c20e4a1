//! What an operator may set: serde types with their defaults, and the checks of a config file.
//!
//! What a plugin may be given ([`plugin`], [`rollout`], [`trust`]) and its checks ([`plugin_faults`])
//! are the library's; the rest is the router's file.
//!
//! Text becomes a [`router::RouterConfig`] ([`toml_text`]), flags are laid over it, and
//! [`check`] turns it into a [`checked::CheckedConfig`], which is all that the rest accepts.

pub mod faults;
pub mod limits;
pub mod syscalls;
pub mod rollout;
pub mod plugin;
pub mod trust;
pub mod plugin_faults;
#[cfg(feature = "router")]
pub mod worker_url;
#[cfg(feature = "router")]
pub mod retry_on;
#[cfg(feature = "router")]
pub mod compile;
#[cfg(feature = "router")]
pub mod plugin_entry;
#[cfg(feature = "router")]
pub mod worker_entry;
#[cfg(feature = "router")]
pub mod router;
#[cfg(feature = "router")]
pub mod toml_text;
#[cfg(feature = "router")]
pub mod files;
#[cfg(feature = "router")]
pub mod fixed;
#[cfg(feature = "router")]
pub mod checked;
#[cfg(feature = "router")]
mod plugin_set;
#[cfg(feature = "router")]
mod check_trust;
#[cfg(feature = "router")]
pub(crate) mod check_workers;
#[cfg(feature = "router")]
pub mod check;

#[cfg(feature = "router")]
pub use crate::config::checked::CheckedConfig;
pub use crate::config::faults::Fault;
pub use crate::config::faults::FaultKind;
pub use crate::config::faults::Faults;
pub use crate::config::plugin::BreakerOptions;
pub use crate::config::plugin::FailurePolicy;
pub use crate::config::plugin::IfLoaded;
pub use crate::config::plugin::Isolation;
pub use crate::config::plugin::Lane;
pub use crate::config::plugin::PluginOptions;
pub use crate::config::plugin::WasmPolicyConfig;
pub use crate::config::rollout::CanaryOptions;
pub use crate::config::rollout::ProbationOptions;
pub use crate::config::rollout::Rollout;
pub use crate::config::rollout::ShadowOptions;
#[cfg(feature = "router")]
pub use crate::config::router::RouterConfig;
pub use crate::config::trust::Require;
pub use crate::config::trust::TrustRule;
#[cfg(feature = "router")]
pub use crate::config::worker_url::WorkerUrl;
