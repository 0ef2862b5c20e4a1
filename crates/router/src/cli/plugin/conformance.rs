//! `test --conformance`: the cases that every plugin has to stand.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, table};
use crate::cli::plugin::trial_args::TestingArgs;
use crate::cli::plugin::tried_module::{trial_settings, tried_module, untried};
use crate::trial::conformance::kit::run_kit;
use crate::trial::conformance::kit_case::{KitBench, KitFinding, KitResult};
use crate::trial::tried_plugin::TrialEngine;
use sglang_router_rs::types::printable;

/// What was found.
#[derive(Debug, Serialize)]
struct ConformanceView {
    /// The module, as it was typed.
    file: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    cases: Vec<KitFinding>,
}

/// Runs the kit and prints what it found. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError::FailedCases`], [`CommandError::Untried`] if the module cannot be loaded,
/// [`CommandError::Usage`] if no case has such a name.
pub(crate) fn conformance(
    args: &TestingArgs,
    authorities: &[PathBuf],
    json: bool,
) -> Result<(), CommandError> {
    let module = tried_module(&args.file, &args.trial, authorities)?;
    let settings = trial_settings(&args.trial, args.seed.unwrap_or_default())?;
    let engine = TrialEngine::new()?;
    // Said once, and not in each case.
    drop(engine.load(&module, &settings).map_err(|error| untried(&args.file, &error))?);
    let bench = KitBench { engine: &engine, module: &module, settings: &settings };
    let cases = run_kit(&bench, &args.filter);
    if cases.is_empty() {
        return Err(CommandError::Usage(format!("--filter: no case has {:?} in its name", args.filter)));
    }
    let of = |result| cases.iter().filter(|finding| finding.result == result).count();
    let (passed, failed, skipped) = (of(KitResult::Passed), of(KitResult::Failed), of(KitResult::Skipped));
    let file = args.file.to_string_lossy().into_owned();
    let view = ConformanceView { file, passed, failed, skipped, cases };
    print(&view, json, text)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::FailedCases { failed, ran: passed + failed }) }
}

fn text(view: &ConformanceView) -> String {
    let row = |finding: &KitFinding| {
        let result = match finding.result {
            KitResult::Passed => "passed",
            KitResult::Failed => "FAILED",
            KitResult::Skipped => "skipped",
        };
        let why = finding.found.as_ref().filter(|_| finding.result == KitResult::Skipped);
        vec![finding.case.to_owned(), result.to_owned(), why.cloned().unwrap_or_default()]
    };
    let mut text = table(&["CASE", "RESULT", ""], &view.cases.iter().map(row).collect::<Vec<_>>());
    for finding in view.cases.iter().filter(|finding| finding.result == KitResult::Failed) {
        let found = printable(finding.found.as_deref().unwrap_or_default());
        text.push_str(&format!("\n{}\n  found: {found}\n", finding.case));
        text.extend(finding.remedy.map(|remedy| format!("  to do: {remedy}\n")));
    }
    let (passed, failed, skipped) = (view.passed, view.failed, view.skipped);
    text + &format!(
        "\n{}: {passed} passed, {failed} failed, {skipped} skipped\n",
        count(view.cases.len(), "case")
    )
}
