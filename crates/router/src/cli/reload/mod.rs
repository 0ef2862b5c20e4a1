//! Reading the configuration again, by SIGHUP or by the operators' API: workers, plugins, tokenizers,
//! certificates, keys of clients and rules about signatures follow it. Everything else needs a restart.

mod next_config;
mod report;
mod worker_reload;
mod plugin_reload;
mod reloader;

pub(crate) use crate::cli::reload::reloader::{AtStart, Reloader};
