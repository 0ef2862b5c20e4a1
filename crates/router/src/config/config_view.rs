//! A configuration as operators see it: what is secret in it is hidden.

use serde_json::{Value, json};

use crate::config::checked::CheckedConfig;
use crate::config::plugin_entry::PluginEntry;
use crate::config::worker_entry::WorkerEntry;
use crate::config::written_keys::HIDDEN;

/// Keys of a worker that nobody is to see.
pub(crate) const WORKER_SECRETS: [&str; 1] = ["api_key"];

/// Keys of what a reload follows: one table or list each.
const FOLLOWED: [&str; 4] = ["workers", "plugins", "tokenizers", "trust"];

/// All of a configuration; `Null` if it has no JSON form.
pub(crate) fn config_view(config: &CheckedConfig) -> Value {
    let mut view = config.fixed.clone();
    let hidden = |is_there| if is_there { json!(HIDDEN) } else { Value::Null };
    set(&mut view, "admin", "token", hidden(config.admin_token.is_some()));
    set(&mut view, "keys", "worker_api_key", hidden(config.proxy.keys.worker.is_some()));
    let lists = [
        config.workers.iter().map(shown_worker).collect(),
        config.plugins.iter().map(plugin_settings).collect(),
        serde_json::to_value(&config.tokenizers).unwrap_or_default(),
        serde_json::to_value(&config.trust).unwrap_or_default(),
    ];
    if let Value::Object(table) = &mut view {
        table.extend(FOLLOWED.map(str::to_owned).into_iter().zip(lists));
    }
    view
}

/// The view of a router that runs as `running` says and follows `read` where a reload does; `share` of the
/// requests are recorded, if any may be.
pub(crate) fn followed(mut running: Value, read: &CheckedConfig, share: Option<f64>) -> Value {
    if let Some(share) = share {
        set(&mut running, "records", "sample", json!(share));
    }
    let mut read = config_view(read);
    if let (Value::Object(running), Value::Object(read)) = (&mut running, &mut read) {
        running.extend(FOLLOWED.iter().filter_map(|key| read.remove_entry(*key)));
    }
    running
}

/// The settings of a worker, with its secrets.
pub(crate) fn worker_settings(worker: &WorkerEntry) -> Value {
    serde_json::to_value(worker).unwrap_or_default()
}

/// The settings of a plugin.
pub(crate) fn plugin_settings(plugin: &PluginEntry) -> Value {
    let (config, options) = plugin.clone().into_parts();
    let mut settings = serde_json::to_value(config).unwrap_or_default();
    if let Value::Object(table) = &mut settings {
        table.insert("options".to_owned(), serde_json::to_value(options).unwrap_or_default());
    }
    settings
}

fn shown_worker(worker: &WorkerEntry) -> Value {
    let mut settings = worker_settings(worker);
    let secrets = settings.as_object_mut().into_iter().flatten();
    secrets.filter(|(key, _)| WORKER_SECRETS.contains(&key.as_str())).for_each(|(_, value)| {
        *value = json!(HIDDEN);
    });
    settings
}

/// Sets a key of a table that is there.
fn set(view: &mut Value, table: &str, key: &str, value: Value) {
    if let Some(Value::Object(table)) = view.get_mut(table) {
        table.insert(key.to_owned(), value);
    }
}
