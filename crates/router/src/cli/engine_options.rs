//! The engine of plugins, as a configuration sets it.

use crate::config::checked::{CheckedConfig, CompileSettings};
use sglang_router_rs::engine::{CompilerProcess, EngineOptions};

/// The engine that a router of this configuration runs plugins on.
pub(crate) fn engine_options(config: &CheckedConfig) -> EngineOptions {
    EngineOptions {
        max_plugin_memory: config.max_plugin_memory,
        aot_cache: config.aot_cache.clone(),
        compiler: config.compile.map(compiler),
        ..EngineOptions::default()
    }
}

/// This program, with the limits of the configuration.
fn compiler(settings: CompileSettings) -> CompilerProcess {
    let CompileSettings { max_memory, max_time } = settings;
    CompilerProcess { max_memory_bytes: max_memory, max_time, ..CompilerProcess::this_program() }
}
