//! What an operator may set for plugins, and the check of that.

pub(crate) mod faults;
pub(crate) mod limits;
pub(crate) mod syscalls;
pub(crate) mod rollout;
pub(crate) mod plugin;
pub(crate) mod trust;
pub(crate) mod plugin_faults;

pub use crate::config::faults::{Fault, FaultKind, Faults};
pub use crate::config::plugin::{
    BreakerOptions, FailurePolicy, IfLoaded, Isolation, LaneOption, PluginOptions, WasmPolicyConfig,
};
pub use crate::config::plugin_faults::plugin_faults;
pub use crate::config::rollout::{CanaryOptions, ProbationOptions, Rollout, RolloutMode, ShadowOptions};
pub use crate::config::syscalls::KNOWN_SYSCALLS;
pub use crate::config::trust::{Require, TrustRule};
