//! Changing plugins while the router runs, whoever asks: the operations API, the watched plugin
//! directory, the state directory at start.

pub mod digest;
pub mod state_dir;
pub mod error;
pub mod settings;
pub mod module_file;
pub mod manager;
pub mod restore;
pub mod dir_watch;

pub use crate::manage::error::ManageError;
pub use crate::manage::manager::Module;
pub use crate::manage::manager::PluginManager;
pub use crate::manage::manager::Pushed;
pub use crate::manage::settings::Settings;
