//! `sgl-router status`: what a running router is and does.

use clap::Args;
use http::Method;

use crate::cli::admin_args::AdminArgs;
use crate::cli::plugin::client::{AdminClient, Call};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, table};
use sgl_api::{FleetAnswer, FleetView, LatencyView, RouterStatus, WorkerList, WorkerView};
use sglang_router_rs::types::printable;

/// What a running router is and does: its policy, its workers, and how long its requests take
///
/// Exit codes: 0 it serves, 1 it would answer /readiness with 503 (stopping, or no worker is well), 2 wrong usage, 3 the router cannot be
/// reached. The token of the operators' listener comes from --admin-token-file or the variable
/// SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Prints JSON for scripts: the status, with the workers and the fleet beside it
    #[arg(long)]
    pub json: bool,
}

/// Asks once and prints. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &StatusArgs) -> Result<(), CommandError> {
    let client = AdminClient::new(&args.admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, workers, fleet) = runtime.block_on(ask(&client))?;
    if args.json {
        let all = serde_json::json!({"status": status, "workers": workers.workers, "fleet": fleet});
        print(&all, true, |_| String::new())?;
    } else {
        print(&status, false, |status| page(status, fleet.as_ref(), &workers.workers))?;
    }
    match trouble(&status) {
        None => Ok(()),
        Some(trouble) => Err(CommandError::NotServing(trouble)),
    }
}

/// The status, the workers and the fleet of one moment, nearly.
async fn ask(client: &AdminClient) -> Result<(RouterStatus, WorkerList, Option<FleetView>), CommandError> {
    let status = client.json(Call::new(Method::GET, "/v1/status")).await?;
    let workers = client.json(Call::new(Method::GET, "/workers")).await?;
    let fleet: FleetAnswer = client.json(Call::new(Method::GET, "/v1/fleet")).await?;
    Ok((status, workers, fleet.fleet))
}

/// Why it serves nobody, by the rule of `/readiness`.
pub(crate) fn trouble(status: &RouterStatus) -> Option<String> {
    match &status.unready {
        Some(why) => Some(why.clone()),
        None if !status.ready => Some("the router is stopping".to_owned()),
        None => None,
    }
}

/// What the policy is and, if it does not decide, what does.
pub(crate) fn policy_words(status: &RouterStatus) -> String {
    let kind = if status.policy_is_plugin { "plugin" } else { "built in" };
    let stand_in =
        status.policy_stand_in.as_ref().map_or_else(String::new, |stand_in| format!("; {stand_in}"));
    printable(&format!("{kind}{stand_in}"))
}

fn page(status: &RouterStatus, fleet: Option<&FleetView>, workers: &[WorkerView]) -> String {
    let is_chosen = !status.configured_policy.is_empty() && status.configured_policy != status.policy;
    let chosen = if is_chosen {
        format!(", chosen by an operator; configured: {}", printable(&status.configured_policy))
    } else {
        String::new()
    };
    let requests = &status.requests;
    let answered = requests.succeeded + requests.client_errors + requests.server_errors;
    let mut text = format!(
        "sgl-router {}, up {}\npolicy {} ({}{chosen})\n{}{} ready of {}{}, {} in flight, {} waiting\n\
         {} answered, {} of them 4xx, {} 5xx; {} broken off, {} tried again, {} without a worker\n",
        printable(&status.version),
        span(status.uptime_ms),
        printable(&status.policy),
        policy_words(status),
        trial_line(status),
        status.workers.healthy,
        count(status.workers.all, "worker"),
        full(status),
        count(status.workers.in_flight, "request"),
        requests.waiting,
        answered,
        requests.client_errors,
        requests.server_errors,
        requests.broken,
        requests.retries,
        requests.unplaced,
    );
    text.push_str(&own_errors(status));
    text.extend(fleet.map(fleet_line));
    for (name, times) in times(status) {
        text.push_str(&format!(
            "{name}: {} median, {} 90 %, {} 99 %\n",
            seconds(times.quantile(0.5)),
            seconds(times.quantile(0.9)),
            seconds(times.quantile(0.99))
        ));
    }
    if !workers.is_empty() {
        text.push('\n');
        text.push_str(&table(&HEAD, &workers.iter().map(row).collect::<Vec<_>>()));
        text.push_str(&faults(workers));
    }
    text
}

/// What the router answered itself, by code, the most frequent first.
fn own_errors(status: &RouterStatus) -> String {
    let mut codes: Vec<_> = status.own_errors.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let codes: Vec<String> =
        codes.into_iter().map(|(code, count)| format!("{count} {}", printable(code))).collect();
    if codes.is_empty() { String::new() } else { format!("errors of its own: {}\n", codes.join(", ")) }
}

/// How many workers are full, if any are.
fn full(status: &RouterStatus) -> String {
    let full = status.workers.full;
    if full == 0 { String::new() } else { format!(", {full} full") }
}

/// How the router and its fleet stand.
fn fleet_line(fleet: &FleetView) -> String {
    let (name, router) = (printable(&fleet.name), fleet.router.as_deref().map(printable).unwrap_or_default());
    let link = if fleet.connected { "NATS reached" } else { "cut off from NATS" };
    let time = fleet.link_ms.map(|ms| format!(" for {}", span(ms))).unwrap_or_default();
    let mut text = format!("fleet {name} as {router}, {link}{time}");
    let own = fleet.routers.iter().find(|one| fleet.router.as_ref() == Some(&one.name));
    for plugin in &fleet.plugins {
        let served = own.and_then(|own| own.plugins.iter().find(|one| one.name == plugin.name));
        let (served, wanted) = (served.map_or(0, |one| one.serving), plugin.wanted.unwrap_or(0));
        if (served, wanted) == (0, 0) {
            continue;
        }
        let number = |generation: u64| match generation {
            0 => "nothing of the fleet's".to_owned(),
            generation => format!("generation {generation}"),
        };
        text.push_str(&format!("; {} serves {}", printable(&plugin.name), number(served)));
        text.push_str(&if served == wanted {
            ", as desired".to_owned()
        } else {
            format!(", desired: {}", number(wanted))
        });
    }
    text.extend(fleet.holding.iter().map(|reason| format!("; holds: {}", printable(reason))));
    text.push('\n');
    text
}

/// Why workers fail their checks, to be read below their table.
pub(crate) fn faults(workers: &[WorkerView]) -> String {
    let ill = workers.iter().filter_map(|worker| Some((worker, worker.fault.as_ref()?)));
    let lines: String =
        ill.map(|(worker, fault)| format!("{}: {}\n", printable(&worker.url), printable(fault))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// The policy on trial, if there is one, with how far it is.
pub(crate) fn trial_line(status: &RouterStatus) -> String {
    let Some(trial) = &status.policy_trial else { return String::new() };
    format!(
        "on trial: {} with {} % of the decisions for {} of at least {} s, {} failed of {}, at least {}\n",
        printable(&trial.name),
        trial.bounds.percent,
        trial.for_secs,
        trial.bounds.min_secs,
        trial.own.failures,
        count(trial.own.decisions, "decision"),
        trial.bounds.min_decisions,
    )
}

/// What is measured, with its name.
fn times(status: &RouterStatus) -> impl Iterator<Item = (&'static str, &LatencyView)> {
    let all = [
        ("first byte", Some(&status.first_byte)),
        ("last byte", Some(&status.duration)),
        ("decision", status.decision.as_ref()),
    ];
    all.into_iter().filter_map(|(name, times)| Some((name, times?)))
}

const HEAD: [&str; 9] =
    ["WORKER", "STATE", "ENGINE", "IN FLIGHT", "RUNNING", "QUEUED", "LATENCY", "REPORT", "FAILED"];

fn row(worker: &WorkerView) -> Vec<String> {
    vec![
        worker.url.clone(),
        worker_state(worker),
        worker.engine.name.clone().unwrap_or_else(|| "-".to_owned()),
        worker.load.to_string(),
        known(worker.report.running),
        known(worker.report.waiting),
        latency(worker),
        report_age(worker),
        worker.failed.to_string(),
    ]
}

/// A number that a worker may not have told.
pub(crate) fn known(number: Option<i32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Moving average of the times to the first byte of its answers, as this router measures them.
pub(crate) fn latency(worker: &WorkerView) -> String {
    seconds(worker.report.latency_ms.map(|ms| f64::from(ms) / 1000.0))
}

/// Time since a worker told its load.
pub(crate) fn report_age(worker: &WorkerView) -> String {
    let age = worker.report.report_age_ms;
    age.map_or_else(|| "never".to_owned(), |age| seconds(Some(f64::from(age) / 1000.0)))
}

/// In words whether it gets requests, and why not.
pub(crate) fn worker_state(worker: &WorkerView) -> String {
    let mut words = Vec::new();
    if worker.draining {
        words.push(match worker.drained_by.join(", ") {
            by if by.is_empty() => "draining".to_owned(),
            by => format!("draining ({by})"),
        });
    }
    if worker.circuit != sgl_api::CircuitState::Closed {
        words.push(format!("circuit {}", worker.circuit.as_str().replace('_', " ")));
    }
    if !worker.passing {
        words.push(if worker.checked { "fails its checks" } else { "not checked yet" }.to_owned());
    }
    if worker.full {
        words.push("full".to_owned());
    }
    if words.is_empty() {
        words.push(if worker.healthy { "ready" } else { "not ready" }.to_owned());
    }
    words.join(", ")
}

/// A time in the unit that suits it.
pub(crate) fn seconds(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < 1e-6 => format!("{:.0} ns", time * 1e9),
        Some(time) if time < 1e-5 => format!("{:.1} us", time * 1e6),
        Some(time) if time < 1e-3 => format!("{:.0} us", time * 1e6),
        Some(time) if time < 1e-2 => format!("{:.1} ms", time * 1e3),
        Some(time) if time < 1.0 => format!("{:.0} ms", time * 1e3),
        Some(time) => format!("{time:.1} s"),
    }
}

/// A long time, to its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        (1..48, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} days {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_about_the_fleet_says_how_long_and_what_is_served() {
        use sgl_api::{FleetPluginView, FleetRouterPluginView, FleetRouterView};
        let own = |serving| FleetRouterPluginView { name: "p".to_owned(), serving, ..Default::default() };
        let fleet = |serving, connected| FleetView {
            name: "prod".to_owned(),
            router: Some("r1".to_owned()),
            connected,
            link_ms: Some(12_300),
            plugins: vec![FleetPluginView { name: "p".to_owned(), wanted: Some(3), ..Default::default() }],
            routers: vec![FleetRouterView {
                name: "r1".to_owned(),
                plugins: vec![own(serving)],
                ..Default::default()
            }],
            ..FleetView::default()
        };
        let as_desired = "fleet prod as r1, NATS reached for 12 s; p serves generation 3, as desired\n";
        assert_eq!(fleet_line(&fleet(3, true)), as_desired);
        let behind =
            "fleet prod as r1, cut off from NATS for 12 s; p serves generation 2, desired: generation 3\n";
        assert_eq!(fleet_line(&fleet(2, false)), behind);
        let mut holds = fleet(0, true);
        holds.holding = Some("the server lost its data".to_owned());
        let said = fleet_line(&holds);
        assert!(
            said.contains("p serves nothing of the fleet's, desired: generation 3; holds: the server lost"),
            "{said}"
        );
    }

    #[test]
    fn times_have_units_that_suit_them() {
        let shown =
            [None, Some(5e-8), Some(2.5e-6), Some(3e-4), Some(2.5e-3), Some(0.25), Some(12.34)].map(seconds);
        assert_eq!(shown, ["-", "50 ns", "2.5 us", "300 us", "2.5 ms", "250 ms", "12.3 s"]);
        let spans = [900, 61_000, 3_700_000, 200_000_000].map(span);
        assert_eq!(spans, ["0 s", "1 min 1 s", "1 h 1 min", "2 days 7 h"]);
    }
}
