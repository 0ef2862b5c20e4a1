//! Changing plugins while the router runs, whoever asks: the operations API, the watched plugin
//! directory, the state directory at start.

pub mod digest;
pub mod kept_plugin;
mod durable_file;
pub mod kept_set;
#[cfg(test)]
mod kept_set_check;
pub mod state_dir;
pub mod error;
pub mod settings;
pub mod module_file;
pub(crate) mod loaded_files;
pub mod manager;
pub mod plugin_metrics;
pub mod restore;
mod plugin_files;
pub mod dir_watch;

pub use crate::manage::error::ManageError;
pub use crate::manage::manager::{Module, PluginManager};
pub use crate::manage::settings::Settings;
