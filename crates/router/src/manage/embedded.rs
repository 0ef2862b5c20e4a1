//! Modules that the router brings along, beside those in files.

use std::io;
use std::path::Path;

use crate::config::embedded_path::{embedded_name, embedded_path};
use crate::manage::digest::sha256;
use sglang_router_rs::policies::{Load, ModuleBytes, Origin, PluginError, WasmPolicyConfig, read_module};

/// The module that a path names, in a file or embedded.
///
/// # Errors
///
/// [`PluginError`] if it cannot be read, or is not what was embedded.
pub(crate) fn module_at(path: &str) -> Result<ModuleBytes, PluginError> {
    embedded_name(path).map_or_else(|| read_module(Path::new(path)), |name| embedded_module(path, name))
}

/// The load of the module that the settings name.
///
/// # Errors
///
/// As [`module_at`], for an embedded one. A file is read by the load.
pub(crate) fn load_of(config: WasmPolicyConfig) -> Result<Load, PluginError> {
    match embedded_name(&config.module_path) {
        None => Ok(Load::file(config)),
        Some(name) => {
            let module = embedded_module(&config.module_path, name)?;
            Ok(Load::module(config, module))
        }
    }
}

/// Where settings of an embedded module are told, as the rest of a sentence; empty for a file.
pub(crate) fn settings_page(path: &str) -> String {
    let module = embedded_name(path).and_then(sgl_shipped::module);
    module.map(|module| format!(" (its settings: {})", module.page)).unwrap_or_default()
}

/// True if a module is one of those that are embedded.
pub(crate) fn is_embedded(digest: &str) -> bool {
    sgl_shipped::MODULES.iter().any(|module| module.digest == digest)
}

/// The module of a digest, and what to call its source; none that is not embedded.
pub(crate) fn module_of(digest: &str) -> Option<Result<(ModuleBytes, String), PluginError>> {
    let module = sgl_shipped::MODULES.iter().find(|module| module.digest == digest)?;
    let path = embedded_path(module.name);
    Some(embedded_module(&path, module.name).map(|module| (module, path)))
}

fn embedded_module(path: &str, name: &str) -> Result<ModuleBytes, PluginError> {
    let module = sgl_shipped::module(name).ok_or_else(|| {
        let known = sgl_shipped::names().join(", ");
        let why = format!("this router brings no such module along; it has: {known}");
        PluginError::Read { path: path.into(), source: io::Error::new(io::ErrorKind::NotFound, why) }
    })?;
    let found = sha256(module.wasm);
    if found != module.digest {
        return Err(PluginError::Digest { found, expected: module.digest.to_owned() });
    }
    Ok(ModuleBytes { wasm: module.wasm.to_vec(), signature: None, origin: Origin::Embedded })
}
