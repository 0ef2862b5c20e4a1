//! What an operator may set: serde types with their defaults, and the checks of a config file.

pub mod plugin;

pub use crate::config::plugin::BreakerOptions;
pub use crate::config::plugin::FailurePolicy;
pub use crate::config::plugin::IfLoaded;
pub use crate::config::plugin::Isolation;
pub use crate::config::plugin::Lane;
pub use crate::config::plugin::PluginOptions;
pub use crate::config::plugin::WasmPolicyConfig;
