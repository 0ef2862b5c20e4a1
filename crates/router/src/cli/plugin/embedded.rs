//! `list --embedded`: the modules that this program brings along.

use serde::Serialize;

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::table;
use sglang_router_rs::policies::{WasmPolicyConfig, check_module};

/// All of them.
#[derive(Debug, Serialize)]
struct EmbeddedList {
    modules: Vec<EmbeddedView>,
    total_bytes: usize,
}

/// One of them.
#[derive(Debug, Serialize)]
struct EmbeddedView {
    name: &'static str,
    /// As its manifest says.
    version: String,
    digest: &'static str,
    size_bytes: usize,
    /// The page of the repository that tells of it and its settings.
    page: &'static str,
}

/// Prints them; no router is asked.
///
/// # Errors
///
/// [`CommandError::Output`] if nobody reads it.
pub(crate) fn list(json: bool) -> Result<(), CommandError> {
    let version = |wasm| check_module(wasm, WasmPolicyConfig::DEFAULT_MEMORY_BYTES, &[]);
    let modules: Vec<EmbeddedView> = sgl_shipped::MODULES
        .iter()
        .map(|module| EmbeddedView {
            name: module.name,
            version: version(module.wasm).map(|facts| facts.manifest.version).unwrap_or_default(),
            digest: module.digest,
            size_bytes: module.wasm.len(),
            page: module.page,
        })
        .collect();
    let total_bytes = modules.iter().map(|module| module.size_bytes).sum();
    print(&EmbeddedList { modules, total_bytes }, json, text)
}

fn text(list: &EmbeddedList) -> String {
    let row = |module: &EmbeddedView| {
        let (version, bytes) = (module.version.clone(), module.size_bytes.to_string());
        vec![module.name.to_owned(), version, bytes, module.digest.to_owned()]
    };
    let rows: Vec<Vec<String>> = list.modules.iter().map(row).collect();
    let (count, bytes) = (rows.len(), list.total_bytes);
    format!("{}{count} modules, {bytes} bytes\n", table(&["NAME", "VERSION", "BYTES", "SHA256"], &rows))
}
