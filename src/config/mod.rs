//! What an operator may set for plugins, and the check of that.

pub mod faults;
pub mod limits;
pub mod syscalls;
pub mod rollout;
pub mod plugin;
pub mod trust;
pub mod plugin_faults;

pub use crate::config::faults::{Fault, FaultKind, Faults};
pub use crate::config::plugin::{
    BreakerOptions, FailurePolicy, IfLoaded, Isolation, LaneOption, PluginOptions, WasmPolicyConfig,
};
pub use crate::config::rollout::{CanaryOptions, ProbationOptions, Rollout, ShadowOptions};
pub use crate::config::trust::{Require, TrustRule};
