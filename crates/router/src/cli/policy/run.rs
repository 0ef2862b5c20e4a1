//! Asks the router and prints its answer.

use http::Method;

use crate::cli::plugin::client::{AdminClient, Call, json_type};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{nanoseconds, table};
use crate::cli::policy::args::{PolicyArgs, PolicyCommand, UseArgs};
use sgl_api::{AfterRestart, PolicyChoice, PolicyList, PolicyTrialView, PolicyView, TrialCounts};
use sglang_router_rs::config::CanaryOptions;
use sglang_router_rs::types::printable;

/// Runs one command on a runtime of its own. With `--json` a refusal goes to standard output too. Must
/// not be called inside another runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &PolicyArgs) -> Result<(), CommandError> {
    let client = AdminClient::new(&args.admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command(&client, args));
    if let (true, Some(problem)) = (args.json, done.as_ref().err().and_then(CommandError::problem)) {
        print(&problem, true, |_| String::new())?;
    }
    done
}

async fn command(client: &AdminClient, args: &PolicyArgs) -> Result<(), CommandError> {
    let call = match &args.command {
        PolicyCommand::List => {
            let list: PolicyList = client.json(Call::new(Method::GET, "/v1/policies")).await?;
            return print(&list, args.json, list_page);
        }
        PolicyCommand::Show => Call::new(Method::GET, "/v1/policy"),
        PolicyCommand::Use(choice) => choose(choice)?,
        PolicyCommand::Promote => Call::new(Method::POST, "/v1/policy/promote"),
        PolicyCommand::Rollback => Call::new(Method::POST, "/v1/policy/rollback"),
    };
    let view: PolicyView = match client.json(call).await {
        Err(CommandError::Refused(problem)) => return Err(CommandError::refused_load(*problem, &FLAGS)),
        answer => answer?,
    };
    print(&view, args.json, page)
}

/// The flags that set keys of a choice.
const FLAGS: [(&str, &str); 3] = [
    ("canary.percent", "--canary"),
    ("canary.min_secs", "--canary-secs"),
    ("canary.min_decisions", "--canary-decisions"),
];

fn choose(choice: &UseArgs) -> Result<Call, CommandError> {
    let default = CanaryOptions::default();
    let canary = choice.canary.map(|percent| CanaryOptions {
        percent,
        min_secs: choice.canary_secs.unwrap_or(default.min_secs),
        min_decisions: choice.canary_decisions.unwrap_or(default.min_decisions),
        ..default
    });
    let body = PolicyChoice { name: choice.name.clone(), canary };
    let body = serde_json::to_vec(&body).map_err(|error| CommandError::Usage(error.to_string()))?;
    Ok(Call { headers: vec![json_type()], body: body.into(), ..Call::new(Method::PUT, "/v1/policy") })
}

fn list_page(list: &PolicyList) -> String {
    let rows: Vec<Vec<String>> = list
        .policies
        .iter()
        .map(|policy| {
            let use_of = match (policy.in_use, policy.on_trial) {
                (true, _) => "in use",
                (_, true) => "on trial",
                _ => "",
            };
            vec![policy.name.clone(), policy.kind.as_str().to_owned(), use_of.to_owned()]
        })
        .collect();
    table(&["POLICY", "KIND", "USE"], &rows)
}

fn page(view: &PolicyView) -> String {
    let (name, configured) = (printable(&view.name), printable(&view.configured));
    let restart = match view.after_restart {
        AfterRestart::Configured => "it is that of the configuration".to_owned(),
        AfterRestart::Kept => "a restart comes back with it".to_owned(),
        AfterRestart::Gone => {
            format!(
                "a restart comes back with {configured}: the router has no --state-dir, or could not write there"
            )
        }
    };
    let mut text = format!("policy {name} ({}); {restart}\n", view.kind.as_str());
    if let Some(previous) = &view.previous {
        text.push_str(&format!("before: {}\n", printable(previous)));
    }
    if let Some(event) = &view.last_event {
        text.push_str(&format!("last: {}\n", printable(event)));
    }
    view.trial.iter().for_each(|trial| text.push_str(&trial_page(&name, trial)));
    text
}

fn trial_page(policy: &str, trial: &PolicyTrialView) -> String {
    let bounds = &trial.bounds;
    let row = |name: &str, counts: &TrialCounts| {
        vec![
            name.to_owned(),
            counts.decisions.to_string(),
            counts.failures.to_string(),
            counts.requests.to_string(),
            counts.request_errors.to_string(),
            nanoseconds(counts.p99_ns),
        ]
    };
    let rows = [row(policy, &trial.stable), row(&trial.name, &trial.own)];
    let head = ["POLICY", "DECISIONS", "FAILED", "REQUESTS", "FAILED", "P99"];
    format!(
        "on trial: {} ({}) with {} % of the decisions for {} s\n\
         promoted after {} s and {} decisions if it fails at most {} % more decisions and {} % more requests, and its \
         p99 is at most {} times as long or {} us longer\n\n{}",
        printable(&trial.name),
        trial.kind.as_str(),
        bounds.percent,
        trial.for_secs,
        bounds.min_secs,
        bounds.min_decisions,
        bounds.max_failure_rate_increase * 100.0,
        bounds.max_request_error_rate_increase * 100.0,
        bounds.max_p99_ratio,
        bounds.p99_slack_us,
        table(&head, &rows)
    )
}
