//! A module and its settings, as the commands take them that have it decide without a router.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::push::own_config;
use crate::cli::plugin::trial_args::TrialFlags;
use crate::cli::registry_reading::{UnreadModule, reference_in};
use crate::manage::embedded::module_at;
use crate::trial::tried_plugin::TrialSettings;
use sgl_oci::RegistryError;
use sglang_router_rs::policies::{ModuleBytes, ModuleFault, PluginError, PluginOptions, WasmPolicyConfig};
use sglang_router_rs::types::{in_full, shown_path};

/// Time for a call, in milliseconds. Generous, so that what a busy machine does besides does not decide what
/// is found; a call that takes so long has failed.
const CALL_MS: u64 = 2000;

/// Why a module was not read.
#[derive(Debug)]
pub(crate) enum UnreadTrial {
    /// Its file, or what is embedded.
    File(Box<PluginError>),
    /// Its registry.
    Registry(RegistryError),
    /// The system.
    System(io::Error),
}

/// Reads the module: a file, an embedded one, or one of a registry. Must not be called inside a runtime.
///
/// # Errors
///
/// [`UnreadTrial`].
pub(crate) fn read_tried(
    file: &Path,
    flags: &TrialFlags,
    authorities: &[PathBuf],
) -> Result<ModuleBytes, UnreadTrial> {
    match reference_in(file).map_err(UnreadTrial::Registry)? {
        None => module_at(&file.to_string_lossy()).map_err(|error| UnreadTrial::File(Box::new(error))),
        Some(reference) => flags.registry.read(&reference, authorities).map_err(|error| match error {
            UnreadModule::Registry(error) => UnreadTrial::Registry(error),
            UnreadModule::Runtime(error) => UnreadTrial::System(error),
        }),
    }
}

/// The same for a command that does nothing without it.
///
/// # Errors
///
/// [`CommandError::Untried`] or [`CommandError::Registry`].
pub(crate) fn tried_module(
    file: &Path,
    flags: &TrialFlags,
    authorities: &[PathBuf],
) -> Result<ModuleBytes, CommandError> {
    read_tried(file, flags, authorities).map_err(|unread| match unread {
        UnreadTrial::File(error) => untried(file, &error),
        UnreadTrial::Registry(error) => error.into(),
        UnreadTrial::System(error) => error.into(),
    })
}

/// How it is loaded, by its flags.
///
/// # Errors
///
/// [`CommandError::Usage`] for flags that cannot be read.
pub(crate) fn trial_settings(flags: &TrialFlags, seed: u64) -> Result<TrialSettings, CommandError> {
    let options: PluginOptions = match &flags.options {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| CommandError::Usage(format!("--options: {error}")))?
        }
        None => PluginOptions::default(),
    };
    // A load is judged by `check`: who looks at a decision wants to see one, be it wrong.
    let options = PluginOptions { self_test: false, ..options };
    Ok(TrialSettings {
        config: own_config(&flags.config)?.into_iter().collect(),
        allowed_syscalls: flags.allow_syscall.clone(),
        max_memory_bytes: flags.memory.unwrap_or(WasmPolicyConfig::DEFAULT_MEMORY_BYTES),
        max_execution_time_ms: CALL_MS,
        options,
        seed,
    })
}

/// A module that a router would not load with these settings either.
pub(crate) fn untried(file: &Path, error: &PluginError) -> CommandError {
    let flag = match error {
        PluginError::Module(ModuleFault::Syscalls { needed, .. }) => {
            format!("; here: --allow-syscall {}", needed.join(","))
        }
        _ => String::new(),
    };
    CommandError::Untried { file: shown_path(file), reason: in_full(error) + &flag }
}
