//! `check`: loads modules as a router does, without one, and says what it would say of them and how they decide.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::plugin::args::CheckArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::show::form;
use crate::cli::plugin::table::{count, nanoseconds};
use crate::cli::plugin::tried_module::{UnreadTrial, read_tried, trial_settings};
use crate::trial::module_sheet::{ModuleSheet, module_sheet};
use crate::trial::trial_decision::TrialOutcome;
use crate::trial::tried_plugin::{TrialEngine, TrialSettings};
use sgl_oci::RegistryError;
use sglang_router_rs::policies::{ModuleBytes, PluginError, PluginOptions, SignatureState, module_faults};
use sglang_router_rs::types::{in_full, printable};

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
    /// True if a router would load it with these settings.
    fits: bool,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Module(Box<ModuleView>),
    /// The first, and all.
    Faults {
        code: &'static str,
        fault: String,
        faults: Vec<FoundFault>,
    },
}

/// What a router would refuse a module for, and what is to be done.
#[derive(Debug, Serialize)]
struct FoundFault {
    code: &'static str,
    fault: String,
}

/// What a module is that a router would load.
#[derive(Debug, Serialize)]
struct ModuleView {
    name: String,
    version: String,
    digest: String,
    size_bytes: usize,
    initial_memory_bytes: u64,
    /// Beyond which it says it never grows.
    maximum_memory_bytes: Option<u64>,
    form: String,
    abi: u32,
    inputs: Vec<String>,
    /// Optional exports that a router will call.
    hooks: Vec<String>,
    /// True if one instance decides everything.
    serial: bool,
    imports: Vec<String>,
    /// Whether it is signed; whose keys count is the router's affair.
    signature: SignatureState,
    #[serde(flatten)]
    sheet: ModuleSheet,
}

/// Checks modules: manifest, imports and exports, a load with its self-test, and decisions. Must not be called
/// inside a runtime.
///
/// # Errors
///
/// [`CommandError::Faulty`] if a router would refuse one of them, [`CommandError::Usage`] for flags that cannot
/// be read.
pub(crate) fn check(args: &CheckArgs, authorities: &[PathBuf], json: bool) -> Result<(), CommandError> {
    let settings = trial_settings(&args.trial, 0)?;
    let self_test = given_self_test(args);
    let settings = TrialSettings { options: PluginOptions { self_test, ..settings.options }, ..settings };
    let engine = TrialEngine::new()?;
    let one = |file: &PathBuf| {
        let found = match read_tried(file, &args.trial, authorities) {
            Ok(module) => found(&engine, &module, &settings),
            Err(UnreadTrial::File(error)) => Found::of(vec![FoundFault::of(&error)]),
            Err(UnreadTrial::Registry(error)) => Found::of_registry(&error),
            Err(UnreadTrial::System(error)) => {
                Found::of(vec![FoundFault { code: "system", fault: error.to_string() }])
            }
        };
        let fits = matches!(found, Found::Module(_));
        CheckedModule { file: file.to_string_lossy().into_owned(), fits, found }
    };
    let checked = Checked { modules: args.files.iter().map(one).collect() };
    print(&checked, json, |checked| checked.modules.iter().map(text).collect())?;
    let (all, good) = (checked.modules.len(), checked.modules.iter().filter(|module| module.fits).count());
    if good == all { Ok(()) } else { Err(CommandError::Faulty { faulty: all - good, checked: all }) }
}

/// True unless the options leave the self-test out.
fn given_self_test(args: &CheckArgs) -> bool {
    let options =
        args.trial.options.as_deref().and_then(|text| serde_json::from_str::<PluginOptions>(text).ok());
    options.is_none_or(|options| options.self_test)
}

fn found(engine: &TrialEngine, module: &ModuleBytes, settings: &TrialSettings) -> Found {
    let faults = module_faults(&module.wasm, settings.max_memory_bytes, &settings.allowed_syscalls);
    if !faults.is_empty() {
        return Found::of(
            faults.into_iter().map(|fault| FoundFault::of(&PluginError::Module(fault))).collect(),
        );
    }
    let plugin = match engine.load(module, settings) {
        Ok(plugin) => plugin,
        Err(error) => return Found::of(vec![FoundFault::of(&error)]),
    };
    match module_sheet(&plugin) {
        Ok(sheet) => {
            let (info, facts) = (plugin.info().clone(), plugin.facts());
            Found::Module(Box::new(ModuleView {
                name: info.manifest.name,
                version: info.manifest.version,
                digest: info.digest,
                size_bytes: info.provenance.size_bytes,
                initial_memory_bytes: facts.initial_memory_bytes,
                maximum_memory_bytes: facts.maximum_memory_bytes,
                form: info.provenance.form,
                abi: info.provenance.abi,
                inputs: info.provenance.inputs,
                hooks: info.provenance.hooks,
                serial: info.provenance.serial,
                imports: info.provenance.imports,
                signature: info.provenance.signature,
                sheet,
            }))
        }
        Err(fault) => Found::of(vec![FoundFault { code: "undecided", fault }]),
    }
}

impl FoundFault {
    fn of(error: &PluginError) -> Self {
        Self { code: error.code(), fault: in_full(error) }
    }
}

impl Found {
    /// One fault at least.
    fn of(faults: Vec<FoundFault>) -> Self {
        let first = faults.first().map(|first| (first.code, first.fault.clone()));
        let (code, fault) = first.unwrap_or_default();
        Self::Faults { code, fault, faults }
    }

    fn of_registry(error: &RegistryError) -> Self {
        Self::of(vec![FoundFault { code: error.code(), fault: error.to_string() }])
    }
}

fn text(module: &CheckedModule) -> String {
    let file = printable(&module.file);
    let view = match &module.found {
        Found::Module(view) => view,
        Found::Faults { code, fault, faults } if faults.len() == 1 => {
            return format!("{file}: {} ({code})\n", printable(fault));
        }
        Found::Faults { faults, .. } => {
            let line = |one: &FoundFault| format!("  {} ({})\n", printable(&one.fault), one.code);
            return format!(
                "{file}: {}\n{}",
                count(faults.len(), "fault"),
                faults.iter().map(line).collect::<String>()
            );
        }
    };
    let lines = sheet_lines(view);
    let lines = lines.iter().map(|(key, value)| format!("  {key:<9} {}\n", printable(value.trim())));
    format!("{file}: fits: a router would load it\n{}", lines.collect::<String>())
}

fn sheet_lines(view: &ModuleView) -> Vec<(&'static str, String)> {
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let most = view
        .maximum_memory_bytes
        .map_or(String::new(), |most| format!(", {most} at the most by its own word"));
    let memory = format!(
        "{} bytes at the start, {} after its decisions{most}",
        view.initial_memory_bytes, view.sheet.memory_bytes
    );
    let signature = match view.signature {
        SignatureState::Absent => "none",
        SignatureState::Unverified => "there is one; `plugin verify` says whose",
        SignatureState::Verified => "verified",
    };
    let of_eight = match &view.sheet.decision {
        TrialOutcome::Chosen { .. } => {
            format!("of eight idle workers it chose {}", view.sheet.decision.text())
        }
        other => other.text(),
    };
    let times: Vec<String> = view
        .sheet
        .times
        .iter()
        .map(|time| format!("{} over {}", nanoseconds(Some(time.ns)), count(time.workers, "worker")))
        .collect();
    let mut lines = vec![
        ("manifest", format!("{} {}", view.name, view.version)),
        ("form", form(&view.form, view.abi, view.serial)),
        ("inputs", list(&view.inputs)),
        ("hooks", list(&view.hooks)),
        ("imports", list(&view.imports)),
        ("memory", memory),
        ("size", format!("{} bytes", view.size_bytes)),
        ("digest", format!("sha256:{}", view.digest)),
        ("signature", signature.to_owned()),
        ("decision", of_eight),
        ("time", times.join(", ")),
    ];
    lines.extend(view.sheet.warnings.iter().map(|warning| ("warning", warning.clone())));
    lines
}
