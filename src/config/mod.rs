//! What an operator may set of plugins, and its check.

pub mod faults;
pub mod limits;
pub mod syscalls;
pub mod rollout;
pub mod plugin;
pub mod trust;
pub mod plugin_faults;

pub use crate::config::faults::Fault;
pub use crate::config::faults::FaultKind;
pub use crate::config::faults::Faults;
pub use crate::config::plugin::BreakerOptions;
pub use crate::config::plugin::FailurePolicy;
pub use crate::config::plugin::IfLoaded;
pub use crate::config::plugin::Isolation;
pub use crate::config::plugin::LaneOption;
pub use crate::config::plugin::PluginOptions;
pub use crate::config::plugin::WasmPolicyConfig;
pub use crate::config::rollout::CanaryOptions;
pub use crate::config::rollout::ProbationOptions;
pub use crate::config::rollout::Rollout;
pub use crate::config::rollout::ShadowOptions;
pub use crate::config::trust::Require;
pub use crate::config::trust::TrustRule;
