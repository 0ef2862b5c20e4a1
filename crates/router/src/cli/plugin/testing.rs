//! `test`: cases of an author.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::conformance::conformance;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, table};
use crate::cli::plugin::trial_args::TestingArgs;
use crate::cli::plugin::tried_module::{trial_settings, tried_module, untried};
use crate::trial::cases::case_file::CaseFile;
use crate::trial::cases::case_run::{CaseFinding, run_case};
use crate::trial::tried_plugin::TrialEngine;
use sglang_router_rs::types::shown_path;

/// What was found.
#[derive(Debug, Serialize)]
struct TestingView {
    /// The module, as it was typed.
    file: String,
    passed: usize,
    failed: usize,
    cases: Vec<CaseFinding>,
}

/// Runs the cases of a file, or the kit, and prints what was found. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError::FailedCases`], [`CommandError::Untried`] if the module cannot be loaded,
/// [`CommandError::Usage`] for a file that cannot be read.
pub(crate) fn testing(args: &TestingArgs, authorities: &[PathBuf], json: bool) -> Result<(), CommandError> {
    let Some(path) = &args.cases else { return conformance(args, authorities, json) };
    let fault = |fault: String| CommandError::Usage(format!("{}: {fault}", shown_path(path)));
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let file = CaseFile::read(&text).map_err(fault)?;
    let module = tried_module(&args.file, &args.trial, authorities)?;
    let seed = args.seed.or(file.seed).unwrap_or_default();
    let mut settings = trial_settings(&args.trial, seed)?;
    // What is typed wins.
    let typed = std::mem::replace(&mut settings.config, file.config);
    settings.config.extend(typed);
    let engine = TrialEngine::new()?;
    // Said once, and not in each case, unless a case has a configuration of its own.
    if file.case.iter().all(|case| case.config.is_empty()) {
        drop(engine.load(&module, &settings).map_err(|error| untried(&args.file, &error))?);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let wanted = file.case.into_iter().filter(|case| case.name.contains(&args.filter));
    let cases: Vec<CaseFinding> =
        wanted.map(|case| run_case(&engine, &module, &settings, folder, case)).collect();
    if cases.is_empty() {
        return Err(CommandError::Usage(format!("--filter: no case has {:?} in its name", args.filter)));
    }
    let failed = cases.iter().filter(|case| !case.passed).count();
    let (file, ran) = (args.file.to_string_lossy().into_owned(), cases.len());
    print(&TestingView { file, passed: ran - failed, failed, cases }, json, shown)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::FailedCases { failed, ran }) }
}

fn shown(view: &TestingView) -> String {
    let rows = view.cases.iter().flat_map(rows).collect::<Vec<_>>();
    let (passed, failed) = (view.passed, view.failed);
    let table = table(&["CASE", "STEP", "EXPECTED", "FOUND", "RESULT"], &rows);
    format!("{table}\n{}: {passed} passed, {failed} failed\n", count(view.cases.len(), "case"))
}

fn rows(case: &CaseFinding) -> Vec<Vec<String>> {
    let result = |passed: bool| if passed { "passed" } else { "FAILED" }.to_owned();
    let row = |step: String, expected: &str, found: &str, passed: bool| {
        vec![case.case.clone(), step, expected.to_owned(), found.to_owned(), result(passed)]
    };
    let of_steps = case.expectations.iter();
    let mut rows: Vec<Vec<String>> =
        of_steps.map(|one| row(one.step.to_string(), &one.expected, &one.found, one.passed)).collect();
    if let Some(fault) = &case.fault {
        rows.push(row("-".to_owned(), "a case that can be run", fault, false));
    }
    if rows.is_empty() {
        rows.push(row("-".to_owned(), "nothing", "-", case.passed));
    }
    rows
}
