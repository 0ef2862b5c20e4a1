//! The subcommands of `sgl-router`, one file each, and what they share.

pub mod flags;
pub mod log;
pub mod assembly;
pub mod configuration;
mod reload;
pub mod serve;
#[cfg(feature = "tools")]
pub mod sim_worker;
pub mod compile_worker;
pub mod plugin;
#[cfg(feature = "tools")]
pub mod load;
