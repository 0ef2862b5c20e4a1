//! The shape of settings in requests, for the API's description. Requests are merged as plain JSON and
//! checked afterwards, so nothing is parsed into these types.

use std::collections::HashMap;

use utoipa::ToSchema;

/// Settings of a plugin; what is left out stays as it is.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a JSON body that is never parsed into it")]
pub(crate) struct SettingsPatch {
    /// Budget of one call in milliseconds, without the wait for an instance: 1 to 30,000.
    max_execution_time_ms: Option<u64>,
    /// Linear memory of one instance in bytes: 65,536 to 104,857,600.
    max_memory_bytes: Option<usize>,
    /// WASI preview 1 functions that the module may import.
    allowed_syscalls: Option<Vec<String>>,
    /// The plugin's own configuration.
    config: Option<HashMap<String, serde_json::Value>>,
    /// Everything else: any keys of the plugin's options.
    options: Option<serde_json::Value>,
}

/// A file in the plugin directory, and settings; what is left out stays as it is.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a JSON body that is never parsed into it")]
pub(crate) struct FileAndSettings {
    /// Plain name of the file.
    file: String,
    /// The settings.
    #[schema(inline)]
    #[serde(flatten)]
    settings: SettingsPatch,
}
