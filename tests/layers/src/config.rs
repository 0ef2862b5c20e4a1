//! Settings that the other layers name.

#[path = "../../../src/config/plugin.rs"]
pub mod plugin;
#[path = "../../../src/config/rollout.rs"]
pub mod rollout;
