//! The subcommands of `sgl-router`, one file each, and what they share.

mod setting;
mod flag_values;
pub(crate) mod tls_flags;
mod call_flags;
mod registry_flags;
mod fleet_access_flags;
mod fleet_flags;
mod registry_reading;
mod watch_flags;
mod source_flags;
mod check_flags;
pub mod foreign;
mod flags;
mod variables;
mod serve_flags;
mod flag_keys;
mod log;
mod version;
pub(crate) mod start_error;
mod request_logs;
mod front_listener;
pub(crate) mod assembly;
pub(crate) mod configuration;
mod stray_variables;
mod surroundings;
mod engine_options;
mod module_trial;
mod reload;
pub mod serve;
#[cfg(feature = "envoy")]
pub mod picker;
#[cfg(feature = "tools")]
pub mod sim_worker;
pub mod compile_worker;
#[cfg(feature = "tools")]
pub mod simulate;
pub(crate) mod admin_args;
pub mod plugin;
pub mod key;
pub mod start_check;
pub mod status;
pub mod worker;
pub mod reload_command;
pub mod policy;
pub mod fleet;
pub mod top;
#[cfg(feature = "tools")]
pub mod load;
#[cfg(feature = "tools")]
pub mod calibrate;

mod shown_command;
pub mod completions;
pub mod manual;
mod argv;
mod usage_tips;
pub mod command_line;

pub use crate::cli::flags::ServeArgs;
