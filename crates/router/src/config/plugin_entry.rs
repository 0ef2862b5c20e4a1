//! A plugin, as the configuration says.

use std::collections::HashMap;

use serde::Deserialize;

use sglang_router_rs::config::{Fault, PluginOptions, WasmPolicyConfig, plugin_faults};

/// `[[plugins]]`, and the `.toml` file beside a module in the plugin directory: one plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginEntry {
    /// Path of the `.wasm` file; `embedded:NAME`, a module that the router brings along; or
    /// `oci://HOST/REPOSITORY:TAG`, with `@sha256:DIGEST` behind it or instead of the tag. Default: the
    /// embedded one of the plugin's name; where there is none it must be given. In the plugin directory it
    /// is the file beside, and no other can be named.
    pub module_path: String,
    /// Name of the policy: 1 to 64 letters, digits, `_`, `-`, `.`; not a built-in policy's.
    /// Must be given; in the plugin directory it is the file's stem by default.
    pub name: String,
    /// Budget of one call in milliseconds: 1 to 30,000. Default: 10.
    pub max_execution_time_ms: u64,
    /// Linear memory of one instance in bytes: 65,536 to 104,857,600. Default: 16 MiB.
    pub max_memory_bytes: usize,
    /// WASI preview 1 functions that the module may import. Default: none.
    pub allowed_syscalls: Vec<String>,
    /// The plugin's own configuration. Default: empty.
    pub config: HashMap<String, serde_json::Value>,
    /// Everything else.
    pub options: PluginOptions,
}

impl Default for PluginEntry {
    fn default() -> Self {
        Self {
            module_path: String::new(),
            name: String::new(),
            max_execution_time_ms: WasmPolicyConfig::DEFAULT_EXECUTION_TIME_MS,
            max_memory_bytes: WasmPolicyConfig::DEFAULT_MEMORY_BYTES,
            allowed_syscalls: Vec::new(),
            config: HashMap::new(),
            options: PluginOptions::default(),
        }
    }
}

impl PluginEntry {
    /// The entry of the two halves that the policy factory takes.
    pub(crate) fn of(config: WasmPolicyConfig, options: PluginOptions) -> Self {
        Self {
            module_path: config.module_path,
            name: config.name,
            max_execution_time_ms: config.max_execution_time_ms,
            max_memory_bytes: config.max_memory_bytes,
            allowed_syscalls: config.allowed_syscalls,
            config: config.config,
            options,
        }
    }

    /// The two halves that the policy factory takes.
    pub fn into_parts(self) -> (WasmPolicyConfig, PluginOptions) {
        let config = WasmPolicyConfig {
            module_path: self.module_path,
            name: self.name,
            max_execution_time_ms: self.max_execution_time_ms,
            max_memory_bytes: self.max_memory_bytes,
            allowed_syscalls: self.allowed_syscalls,
            config: self.config,
        };
        (config, self.options)
    }

    /// All faults of its settings, with their keys as they are in its table. `built_in` are the names
    /// of the built-in policies.
    pub fn faults(&self, built_in: &[&str]) -> Vec<Fault> {
        let (config, options) = self.clone().into_parts();
        plugin_faults(&config, &options, built_in)
    }
}

/// Gives the plugin of this name another module; it keeps its other settings. Adds one if there is none.
pub(crate) fn set_module(plugins: &mut Vec<PluginEntry>, name: &str, path: &str) {
    match plugins.iter_mut().find(|plugin| plugin.name == name) {
        Some(plugin) => path.clone_into(&mut plugin.module_path),
        None => plugins.push(PluginEntry {
            name: name.to_owned(),
            module_path: path.to_owned(),
            ..PluginEntry::default()
        }),
    }
}
