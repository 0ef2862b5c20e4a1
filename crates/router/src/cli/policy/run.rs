//! Asks the router and prints its answer.

use http::Method;

use crate::cli::plugin::client::{AdminClient, Call, json_type};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, nanoseconds, table};
use crate::cli::policy::args::{PolicyArgs, PolicyCommand, UseArgs};
use crate::cli::status::span;
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
            let use_of = match &policy.stand_in {
                Some(stand_in) => format!("{use_of} ({stand_in})").trim_start().to_owned(),
                None => use_of.to_owned(),
            };
            vec![policy.name.clone(), policy.kind.as_str().to_owned(), use_of]
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
    let stand_in = view.stand_in.as_ref().map_or_else(String::new, |stand_in| format!("; {stand_in}"));
    let kind = printable(&format!("{}{stand_in}", view.kind.as_str()));
    let mut text = format!("policy {name} ({kind}); {restart}\n");
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
         p99 is at most {} times as long or {} us longer\n{}\n{}",
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
        still_missing(trial),
        table(&head, &rows)
    )
}

/// What keeps the policy on trial from being promoted yet, with how long that takes at the rate so far.
fn still_missing(trial: &PolicyTrialView) -> String {
    let decisions = trial.bounds.min_decisions.saturating_sub(trial.own.decisions);
    let secs = trial.bounds.min_secs.saturating_sub(trial.for_secs);
    if decisions == 0 && secs == 0 {
        return String::new();
    }
    let rated = (decisions * trial.for_secs.max(1)).checked_div(trial.own.decisions);
    let span = match rated {
        Some(rated) => format!("some {} at the rate so far", span(rated.max(secs) * 1000)),
        None => "no telling how long: none was made so far".to_owned(),
    };
    format!("still missing: {} and {secs} s, {span}\n", count(decisions, "decision"))
}

#[cfg(test)]
mod tests {
    use sgl_api::PolicyKind;

    use super::*;

    #[test]
    fn what_a_trial_still_needs_is_told_with_the_time_that_it_takes() {
        let trial = |decisions, for_secs| PolicyTrialView {
            name: "p".to_owned(),
            kind: PolicyKind::Plugin,
            bounds: CanaryOptions { min_secs: 30, min_decisions: 1000, ..CanaryOptions::default() },
            for_secs,
            own: TrialCounts { decisions, ..TrialCounts::default() },
            stable: TrialCounts::default(),
        };
        let told = |decisions, for_secs| still_missing(&trial(decisions, for_secs));
        assert_eq!(
            told(100, 10),
            "still missing: 900 decisions and 20 s, some 1 min 30 s at the rate so far\n"
        );
        assert_eq!(told(999, 1), "still missing: 1 decision and 29 s, some 29 s at the rate so far\n");
        assert_eq!(
            told(0, 5),
            "still missing: 1000 decisions and 25 s, no telling how long: none was made so far\n"
        );
        assert_eq!(told(1000, 30), "");
    }
}
