//! `sgl-router reload`: a running router reads its configuration again.

use clap::Args;
use http::Method;

use crate::cli::admin_args::AdminArgs;
use crate::cli::plugin::client::{AdminClient, Call};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, table};
use sgl_api::{ChangedValue, ReloadReport};
use sglang_router_rs::types::printable;

/// Has a running router read its configuration again, as SIGHUP does, and shows what came of it
///
/// Exit codes: 0 done, 1 the configuration has faults or a part of it was refused, 2 wrong usage, 3 the router
/// cannot be reached. The token of the operators' listener comes from --admin-token-file or the variable
/// SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Changes nothing, and shows what would come of it
    #[arg(long)]
    pub dry_run: bool,
    /// Prints JSON for scripts
    #[arg(long)]
    pub json: bool,
}

/// Asks once and prints. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &ReloadArgs) -> Result<(), CommandError> {
    let client = AdminClient::new(&args.admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = if args.dry_run { "/v1/config/reload?dry_run=1" } else { "/v1/config/reload" };
    let report: ReloadReport = match runtime.block_on(client.json(Call::new(Method::POST, path))) {
        Ok(report) => report,
        Err(CommandError::Refused(problem)) => {
            if args.json {
                print(&problem, true, |_| String::new())?;
            }
            return Err(CommandError::refused_load(*problem, &[]));
        }
        Err(error) => return Err(error),
    };
    print(&report, args.json, page)?;
    match report.refused.len() {
        0 => Ok(()),
        refused => Err(CommandError::PartlyRefused(refused)),
    }
}

fn page(report: &ReloadReport) -> String {
    let mut text = String::new();
    let rows = report.applied.iter().map(|change| {
        let mut told: Vec<String> = change.values.iter().map(value).collect();
        told.extend(change.note.clone());
        let words = [change.what.as_str(), &change.name, change.change.as_str(), &told.join("; ")];
        words.map(str::to_owned).to_vec()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !report.applied.is_empty() {
        text.push_str(&table(
            &["WHAT", "NAME", if report.dry_run { "WOULD BE" } else { "IS" }, "HOW"],
            &rows,
        ));
    }
    for left in &report.needs_restart {
        let instead = if left.key == "policy" { "; at once: sgl-router policy use NAME" } else { "" };
        text.push_str(&format!("needs a restart: {}{instead}\n", printable(&value(left))));
    }
    for left in &report.left_to_others {
        let (what, name) = (left.what.as_str(), printable(&left.name));
        text.push_str(&format!("{what} {name}: {}\n", printable(&left.reason)));
    }
    for refusal in &report.refused {
        let (what, name) = (refusal.what.as_str(), printable(&refusal.name));
        text.push_str(&format!("refused: {what} {name}: {}\n", printable(&refusal.reason)));
    }
    if text.is_empty() {
        text.push_str("nothing has changed\n");
    } else if report.dry_run {
        text.push_str(&format!("{} would be applied; nothing was\n", count(report.applied.len(), "change")));
    }
    text
}

fn value(ChangedValue { key, before, now }: &ChangedValue) -> String {
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{key}: {} -> {}", told(before), told(now))
}
