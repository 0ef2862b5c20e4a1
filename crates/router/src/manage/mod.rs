//! Changing plugins while the router runs, whoever asks: the operations API, the watched plugin
//! directory, the state directory at start.

pub(crate) mod digest;
pub(crate) mod file_stamp;
pub(crate) mod followed_file;
pub(crate) mod kept_plugin;
pub(crate) mod durable_file;
mod kept_set;
#[cfg(test)]
mod kept_set_check;
pub(crate) mod state_dir;
pub(crate) mod module_cache;
mod cache_pruning;
pub(crate) mod registry_modules;
mod error;
mod settings;
mod module_file;
pub(crate) mod embedded;
pub(crate) mod module_sources;
mod loaded_files;
mod manager;
pub(crate) mod cache_tending;
pub(crate) mod desired_load;
mod foresight;
mod kept_policy;
pub(crate) mod placing;
pub(crate) mod policy_metrics;
mod switch_error;
pub(crate) mod policy_switch;
pub(crate) mod plugin_metrics;
pub(crate) mod restore;
mod plugin_files;
pub(crate) mod dir_watch;

pub use crate::manage::error::ManageError;
pub use crate::manage::manager::PluginManager;
pub(crate) use crate::manage::module_file::Module;
pub(crate) use crate::manage::module_sources::ModuleSources;
pub(crate) use crate::manage::placing::Placing;
pub(crate) use crate::manage::policy_switch::PolicySwitch;
pub(crate) use crate::manage::settings::Settings;
pub(crate) use crate::manage::switch_error::SwitchError;
