//! `replay`: decisions that a router recorded, made again by other policies.

use std::fs;
use std::fs::File;
use std::io;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::replay_args::ReplayArgs;
use crate::cli::plugin::replay_text;
use crate::cli::registry_reading::UnreadModule;
use crate::cli::simulate::SimulateError;
use crate::cli::simulate::policies::policies_of;
use sgl_api::RecordLines;
use sgl_oci::ModuleReference;
use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::PolicyShelf;
use sgl_simulate::replay::{Contender, ReplayPlan, ReplayReport, replay};
use sglang_router_rs::types::{in_full, printable, shown_path};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// Pause between two lines of progress; shorter replays show none.
const PAUSE: Duration = Duration::from_secs(2);
/// Records between two looks at the clock.
const LOOK: u64 = 64;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct ReplayView<'a> {
    #[serde(flatten)]
    report: &'a ReplayReport,
    min_agreement: f64,
    agrees: bool,
}

/// Replays and prints what it found. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError::Disagrees`] if a policy agrees too rarely, [`CommandError::Usage`] if there is nothing to
/// replay, [`CommandError::Registry`] if a module cannot be read from its registry.
pub(crate) fn replay_records(
    args: &ReplayArgs,
    authorities: &[PathBuf],
    json: bool,
) -> Result<(), CommandError> {
    let shelf = PolicyShelf::new().map_err(|error| CommandError::Usage(in_full(&error)))?;
    let plan = plan(&shelf, args, authorities)?;
    // What policies draw.
    fastrand::seed(args.seed);
    let unread = |error: io::Error| CommandError::Usage(format!("{}: {error}", shown_path(&args.records)));
    let report = if args.records.as_os_str() == "-" {
        run(plan, io::stdin().lock(), None)
    } else {
        let file = File::open(&args.records).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        run(plan, BufReader::with_capacity(BUFFER_BYTES, file), Some(length))
    };
    let report = report.map_err(unread)?;
    if report.records.decisions == 0 {
        let (requests, skipped) = (report.records.requests, report.records.skipped.count);
        return Err(CommandError::Usage(format!(
            "{}: no decision to make again ({requests} records, {skipped} lines that are none)",
            shown_path(&args.records)
        )));
    }
    let agrees = report.agrees(args.min_agreement);
    let view = ReplayView { report: &report, min_agreement: args.min_agreement, agrees };
    print(&view, json, |view| replay_text::text(view.report))?;
    if agrees {
        return Ok(());
    }
    let below = report.modules.iter().filter(|module| module.agreement < args.min_agreement);
    let below = below.map(|module| format!("{} ({:.4})", printable(&module.name), module.agreement));
    let names = below.collect::<Vec<_>>().join(", ");
    Err(CommandError::Disagrees(format!("less than {} of the decisions alike: {names}", args.min_agreement)))
}

fn plan(shelf: &PolicyShelf, args: &ReplayArgs, authorities: &[PathBuf]) -> Result<ReplayPlan, CommandError> {
    let usage = |error: &(dyn std::error::Error + 'static)| {
        CommandError::Usage(in_full(error).replace("--policy: ", ""))
    };
    let names: Vec<String> = args.against.iter().chain(&args.policies).cloned().collect();
    let read = |reference: &ModuleReference| args.registry.read(reference, authorities);
    let sources =
        policies_of(&names, &args.policy_config, &args.allow_syscalls, &read).map_err(
            |error| match error {
                SimulateError::Unread { source: UnreadModule::Registry(error), .. } => error.into(),
                error => usage(&error),
            },
        )?;
    let contenders: Result<Vec<Contender>, _> =
        sources.iter().map(|source| Contender::new(shelf, source)).collect();
    let mut contenders = contenders.map_err(|error| usage(&error))?;
    let modules = contenders.split_off(usize::from(args.against.is_some()));
    let model = args.model.as_deref().map_or_else(|| Ok(EngineModel::default()), model)?;
    Ok(ReplayPlan { against: contenders.pop(), modules, model, examples: args.examples as usize })
}

fn model(path: &Path) -> Result<EngineModel, CommandError> {
    let fault = |error: String| CommandError::Usage(format!("--model: {}: {error}", shown_path(path)));
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    EngineModel::from_toml(&text).map_err(|error| fault(error.to_string()))
}

fn run(plan: ReplayPlan, source: impl BufRead, length: Option<u64>) -> io::Result<ReplayReport> {
    let began = Instant::now();
    let is_terminal = io::stderr().is_terminal();
    let mut shown = Duration::ZERO;
    let report = replay(plan, RecordLines::new(source), |bytes, records| {
        let passed = if records.is_multiple_of(LOOK) { began.elapsed() } else { return };
        if passed < shown + PAUSE {
            return;
        }
        shown = passed;
        let line = progress(bytes, length, records, passed);
        let mut out = io::stderr().lock();
        // A replay goes on without its progress if that cannot be written.
        let _ = if is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    });
    if is_terminal && shown > Duration::ZERO {
        // Clears the line for what comes after it.
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
    report
}

fn progress(bytes: u64, length: Option<u64>, records: u64, passed: Duration) -> String {
    let share = length.map(|length| format!("{} %, ", bytes.saturating_mul(100) / length.max(1)));
    format!("{}{records} records in {} s", share.unwrap_or_default(), passed.as_secs())
}
