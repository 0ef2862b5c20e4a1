//! What an operator may set: serde types with their defaults, and the checks of a config file.
//!
//! What a plugin may be given, and its checks, are the library's ([`sglang_router_rs::config`]); the
//! rest, the router's file, is here.
//!
//! Text becomes a [`RouterConfig`] (`toml_text`), flags are laid over it, and
//! [`check()`] turns it into a [`CheckedConfig`], which is all that the rest accepts.

pub(crate) mod retry_on;
mod compile_section;
pub(crate) mod registry_section;
pub(crate) mod fleet_section;
pub(crate) mod requests_section;
mod queue_section;
pub(crate) mod tls_section;
pub(crate) mod engine_calls;
pub(crate) mod forward_paths;
pub(crate) mod cors;
pub(crate) mod forwarding;
pub(crate) mod calls_section;
pub(crate) mod embedded_path;
pub(crate) mod plugin_entry;
pub(crate) mod engine_setting;
pub(crate) mod tokenizer_entry;
pub(crate) mod secret;
pub(crate) mod client_key_file;
pub(crate) mod admin_token;
pub(crate) mod keys_section;
pub(crate) mod worker_entry;
pub(crate) mod worker_source;
pub(crate) mod access_log_section;
pub(crate) mod sources_section;
pub(crate) mod trace_section;
mod metrics_section;
pub(crate) mod router;
pub(crate) mod near_names;
mod own_address;
pub(crate) mod toml_text;
pub(crate) mod files;
pub(crate) mod written_keys;
pub(crate) mod checked;
pub(crate) mod config_view;
pub(crate) mod other_names;
mod plugin_set;
mod check_tokenizers;
mod check_trust;
mod check_queue;
mod check_tls;
pub(crate) mod check_workers;
mod check_sources;
pub(crate) mod check;

pub use crate::config::access_log_section::LineForm;
pub use crate::config::calls_section::CallSettings;
pub use crate::config::check::{Surroundings, check};
pub use crate::config::checked::{CheckedConfig, PickerSettings, RecordSettings};
pub use crate::config::engine_setting::EngineSetting;
pub use crate::config::files::read_config;
pub use crate::config::plugin_entry::PluginEntry;
pub use crate::config::requests_section::{RequestSettings, SessionSource};
pub use crate::config::retry_on::RetryCondition;
pub use crate::config::router::RouterConfig;
pub use crate::config::secret::Secret;
pub use crate::config::sources_section::{DnsEntry, KubernetesSection, SourcesSection};
pub use crate::config::tokenizer_entry::TokenizerEntry;
pub use crate::config::worker_entry::WorkerEntry;
pub use crate::config::worker_source::WorkerSource;
