//! `check`: loads modules as a router does, without one, and says what it would say of them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::plugin::args::CheckArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::show::form;
use crate::cli::registry_reading::{module_bytes, reference_in};
use sgl_oci::RegistryError;
use sglang_router_rs::engine::{CompilerProcess, EngineOptions};
use sglang_router_rs::policies::{
    Load, ModuleBytes, ModuleFacts, PluginError, PluginInfo, PolicyFactory, WasmPolicyConfig, check_module,
    read_module,
};
use sglang_router_rs::types::{in_full, printable};

/// The name under which modules are loaded: theirs is the operator's to give.
const NAME: &str = "checked";

/// What was found of all modules.
#[derive(Debug, Serialize)]
struct Checked {
    modules: Vec<CheckedModule>,
}

/// What was found of one.
#[derive(Debug, Serialize)]
struct CheckedModule {
    /// As it was typed; a terminal gets it escaped.
    file: String,
    /// True if a router would load it with default settings.
    fits: bool,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Module(Box<ModuleView>),
    Fault { code: &'static str, fault: String },
}

/// What a module is that a router would load.
#[derive(Debug, Serialize)]
struct ModuleView {
    name: String,
    version: String,
    digest: String,
    size_bytes: usize,
    initial_memory_bytes: u64,
    form: String,
    abi: u32,
    inputs: Vec<String>,
    /// Optional exports that a router will call.
    hooks: Vec<String>,
    /// True if one instance decides everything.
    serial: bool,
    imports: Vec<String>,
    warnings: Vec<String>,
}

/// Checks modules: manifest, imports and exports, then a load with default settings and its self-test.
///
/// # Errors
///
/// [`CommandError::Faulty`] if a router would refuse one of them.
///
/// # Cancel safety
///
/// Dropping the future leaves the rest unchecked.
pub(crate) async fn check(args: &CheckArgs, authorities: &[PathBuf], json: bool) -> Result<(), CommandError> {
    let registry = args.registry.client(authorities);
    let compiler = Some(CompilerProcess::this_program());
    let factory = PolicyFactory::with_engine(EngineOptions { compiler, ..EngineOptions::default() });
    let mut checked = Checked { modules: Vec::with_capacity(args.files.len()) };
    for file in &args.files {
        let found = match reference_in(file) {
            Err(error) => Found::of_registry(&error),
            Ok(None) => Found::of(load(&factory, file, read_module(file)).await),
            Ok(Some(reference)) => match registry.pull(&reference).await {
                Ok(pulled) => Found::of(load(&factory, file, Ok(module_bytes(&pulled))).await),
                Err(error) => Found::of_registry(&error),
            },
        };
        let fits = matches!(found, Found::Module(_));
        checked.modules.push(CheckedModule { file: file.to_string_lossy().into_owned(), fits, found });
    }
    print(&checked, json, |checked| checked.modules.iter().map(text).collect())?;
    let (all, good) = (checked.modules.len(), checked.modules.iter().filter(|module| module.fits).count());
    if good == all { Ok(()) } else { Err(CommandError::Faulty { faulty: all - good, checked: all }) }
}

impl Found {
    fn of(loaded: Result<ModuleView, PluginError>) -> Self {
        match loaded {
            Ok(view) => Self::Module(Box::new(view)),
            Err(error) => Self::Fault { code: error.code(), fault: in_full(&error) },
        }
    }

    fn of_registry(error: &RegistryError) -> Self {
        Self::Fault { code: error.code(), fault: error.to_string() }
    }
}

async fn load(
    factory: &PolicyFactory,
    file: &Path,
    module: Result<ModuleBytes, PluginError>,
) -> Result<ModuleView, PluginError> {
    let module = module?;
    let facts = check_module(&module.wasm, WasmPolicyConfig::DEFAULT_MEMORY_BYTES, &[])?;
    let config = WasmPolicyConfig::new(NAME, file.to_string_lossy());
    let info = factory.load(Load::module(config, module)).await?;
    // The next module must not be given this one's state.
    factory.unload_wasm_plugin(NAME);
    Ok(ModuleView::of(info, facts))
}

impl ModuleView {
    fn of(info: PluginInfo, facts: ModuleFacts) -> Self {
        Self {
            name: info.manifest.name,
            version: info.manifest.version,
            digest: info.digest,
            size_bytes: info.provenance.size_bytes,
            initial_memory_bytes: facts.initial_memory_bytes,
            form: info.provenance.form,
            abi: info.provenance.abi,
            inputs: info.provenance.inputs,
            hooks: info.provenance.hooks,
            serial: info.provenance.serial,
            imports: info.provenance.imports,
            warnings: facts.oversights,
        }
    }
}

fn text(module: &CheckedModule) -> String {
    let file = printable(&module.file);
    let view = match &module.found {
        Found::Module(view) => view,
        Found::Fault { code, fault } => return format!("{file}: {} ({code})\n", printable(fault)),
    };
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let size =
        format!("{} bytes, {} bytes of memory at the start", view.size_bytes, view.initial_memory_bytes);
    let mut lines = vec![
        ("manifest", format!("{} {}", view.name, view.version)),
        ("form", form(&view.form, view.abi, view.serial)),
        ("inputs", list(&view.inputs)),
        ("hooks", list(&view.hooks)),
        ("imports", list(&view.imports)),
        ("size", size),
        ("digest", format!("sha256:{}", view.digest)),
    ];
    lines.extend(view.warnings.iter().map(|warning| ("warning", warning.clone())));
    let lines = lines.iter().map(|(key, value)| format!("  {key:<9} {}\n", printable(value.trim())));
    format!("{file}: fits: a router would load it with default settings\n{}", lines.collect::<String>())
}
