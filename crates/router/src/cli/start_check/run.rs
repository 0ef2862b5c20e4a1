//! Looks at everything and prints what was found.

use serde::Serialize;

use crate::cli::configuration::look_at;
use crate::cli::flags::ServeArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::count;
use crate::cli::start_check::finding::{CheckFinding, CheckFindings};
use crate::cli::start_check::{fleet_look, looks, plugin_looks, source_looks};
use crate::config::checked::CheckedConfig;
use crate::sources::SourceLook;
use sglang_router_rs::types::printable;

/// What was found, with what would run.
#[derive(Debug, Serialize)]
struct StartCheck {
    would_start: bool,
    policy: String,
    workers: usize,
    plugins: usize,
    sources: Vec<SourceLook>,
    #[serde(flatten)]
    findings: CheckFindings,
}

/// Does everything that a start does up to listening, and prints all that is wrong. Must not be called inside
/// a runtime.
///
/// # Errors
///
/// [`CommandError::WouldNotStart`], which has an exit code.
pub fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let (config, faults) = look_at(args);
    let mut findings = CheckFindings::default();
    faults.iter().for_each(|fault| findings.fault(CheckFinding::of(fault)));
    looks::look(args, &config, &mut findings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Boxed: it is much larger than what surrounds it.
    runtime.block_on(Box::pin(plugin_looks::look(&config, &mut findings)));
    runtime.block_on(Box::pin(fleet_look::look(&config, &mut findings)));
    let sources = runtime.block_on(Box::pin(source_looks::look(&config, &mut findings)));
    let faults = findings.faults.len();
    print(&StartCheck::of(&config, sources, findings), args.start_check.json, page)?;
    if faults == 0 { Ok(()) } else { Err(CommandError::WouldNotStart(faults)) }
}

impl StartCheck {
    fn of(config: &CheckedConfig, sources: Vec<SourceLook>, findings: CheckFindings) -> Self {
        Self {
            would_start: findings.faults.is_empty(),
            policy: config.policy.clone(),
            workers: config.workers.len(),
            plugins: config.plugins.len(),
            sources,
            findings,
        }
    }
}

fn page(check: &StartCheck) -> String {
    let mut text = String::new();
    for (kind, findings) in [("fault", &check.findings.faults), ("warning", &check.findings.warnings)] {
        for CheckFinding { key, line, problem, remedy } in findings {
            let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            let place = if key.is_empty() { "the configuration" } else { key };
            text.push_str(&format!(
                "{kind}: {}{line}: {}\n  to mend it: {}\n",
                printable(place),
                printable(problem),
                printable(remedy)
            ));
        }
    }
    for SourceLook { source, name, workers, ready, .. } in &check.sources {
        if let (Some(workers), Some(ready)) = (workers, ready) {
            let found = count(*workers, "worker");
            text.push_str(&format!("source: {source} {}: {found}, {ready} ready\n", printable(name)));
        }
    }
    if check.would_start {
        text.push_str(&format!(
            "it would start: policy {}, {}, {}\n",
            printable(&check.policy),
            count(check.workers, "worker"),
            count(check.plugins, "plugin")
        ));
    }
    text
}
