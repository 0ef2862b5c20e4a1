//! Runs the commands.

use std::io;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::cli::plugin::CommandError;
use crate::cli::plugin::client::{AdminClient, Call, encoded, json_type};
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::table;
use crate::cli::status::{faults, latency, worker_state};
use crate::cli::worker::args::{DrainArgs, OneWorker, WorkerArgs, WorkerCommand};
use crate::cli::worker::sources_page::sources_page;
use crate::cli::worker::worker_settings::body_of;
use sgl_api::{SourceList, WorkerList, WorkerRemoval, WorkerView, problem_code};
use sglang_router_rs::types::printable;

/// How often a worker is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(500);

const HEAD: [&str; 8] = ["WORKER", "STATE", "SOURCE", "ROLE", "MODEL", "WEIGHT", "IN FLIGHT", "LATENCY"];

/// Runs one command on a runtime of its own. With `--json` a refusal goes to standard output too. Must
/// not be called inside another runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &WorkerArgs) -> Result<(), CommandError> {
    let client = AdminClient::new(&args.admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command(&client, &args.command, args.json));
    if let (true, Some(problem)) = (args.json, done.as_ref().err().and_then(CommandError::problem)) {
        print(&problem, true, |_| String::new())?;
    }
    done
}

async fn command(client: &AdminClient, command: &WorkerCommand, json: bool) -> Result<(), CommandError> {
    match command {
        WorkerCommand::List => {
            let list: WorkerList = client.json(Call::new(Method::GET, "/workers")).await?;
            print(&list, json, |list| {
                table(&HEAD, &list.workers.iter().map(row).collect::<Vec<_>>()) + &faults(&list.workers)
            })
        }
        WorkerCommand::Sources => {
            let list: SourceList = client.json(Call::new(Method::GET, "/v1/sources")).await?;
            print(&list, json, sources_page)
        }
        WorkerCommand::Add(new) => {
            let mut body = body_of(&new.settings, new.api_key_file.as_deref())?;
            body.insert("url".to_owned(), Value::from(new.url.as_str()));
            let view: WorkerView =
                client.json(with_body(Method::POST, "/workers".to_owned(), &body)?).await?;
            let warnings = warnings(&view);
            let view = wait_until_healthy(client, new.wait, view).await?;
            print(&view, json, |view| {
                format!("{warnings}{}: added, {}\n", printable(&view.url), worker_state(view))
            })
        }
        WorkerCommand::Set(change) => {
            let body = body_of(&change.settings, change.api_key_file.as_deref())?;
            let view: WorkerView =
                client.json(with_body(Method::PATCH, path_of(&change.worker), &body)?).await?;
            print(&view, json, |view| {
                let warnings = warnings(view);
                format!("{warnings}{}: changed, {}\n", printable(&view.url), worker_state(view))
            })
        }
        WorkerCommand::Drain(DrainArgs { one, force }) => {
            let mut call = post("drain", one);
            if *force {
                call.path.push_str("&force=true");
            }
            let view: WorkerView = client.json(call).await?;
            let view = wait_until_idle(client, one, view).await?;
            let in_flight = view.load;
            print(&view, json, |view| {
                format!(
                    "{}: drained until `sgl-router worker undrain` or a restart of the router, {in_flight} in flight\n",
                    printable(&view.url)
                )
            })
        }
        WorkerCommand::Undrain(one) => {
            let view: WorkerView = client.json(post("undrain", one)).await?;
            print(&view, json, |view| format!("{}: {}\n", printable(&view.url), worker_state(view)))
        }
        WorkerCommand::Rm(one) => remove(client, one, json).await,
    }
}

async fn remove(client: &AdminClient, one: &OneWorker, json: bool) -> Result<(), CommandError> {
    let removal: WorkerRemoval = client.json(Call::new(Method::DELETE, path_of(&one.worker))).await?;
    let (url, warnings) = (printable(&removal.url), warning_lines(&removal.warnings));
    let Some(limit) = one.wait else {
        let told = format!("{warnings}{url}: is removed once it has no request in flight\n");
        return print(&removal, json, |_| told);
    };
    let deadline = Instant::now() + Duration::from_secs(limit);
    while find(client, &removal.url).await?.is_some() {
        pause(deadline, &format!("{url} is still there after {limit} s; its removal goes on")).await?;
    }
    print(&removal, json, |_| format!("{warnings}{url}: removed\n"))
}

/// A line for each thing that had no effect.
fn warnings(view: &WorkerView) -> String {
    warning_lines(&view.warnings)
}

fn warning_lines(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("warning: {}\n", printable(warning))).collect()
}

/// The worker as it is once it has passed a health check, if that is to be waited for.
async fn wait_until_healthy(
    client: &AdminClient,
    limit: Option<u64>,
    mut view: WorkerView,
) -> Result<WorkerView, CommandError> {
    let Some(limit) = limit else { return Ok(view) };
    let deadline = Instant::now() + Duration::from_secs(limit);
    let mut told = None;
    while !view.healthy {
        let (url, fault) = (printable(&view.url), view.fault.as_deref().map(printable));
        if fault.is_some() && fault != told {
            // Who waits for long wants to know what for; that it cannot be written ends no wait.
            let fault = fault.as_deref().unwrap_or_default();
            let _ = writeln!(io::stderr().lock(), "{url}: {fault}; waiting up to {limit} s");
            told = Some(fault.to_owned());
        }
        let why = fault.map_or_else(String::new, |fault| format!(" ({fault})"));
        let over = format!("{url} has passed no health check in {limit} s{why}; it stays added");
        pause(deadline, &over).await?;
        let gone = || CommandError::Waited(format!("{url} was removed while it was waited for"));
        view = find(client, &view.url).await?.ok_or_else(gone)?;
    }
    Ok(view)
}

/// The worker as it is once it has nothing in flight, if that is to be waited for.
async fn wait_until_idle(
    client: &AdminClient,
    one: &OneWorker,
    mut view: WorkerView,
) -> Result<WorkerView, CommandError> {
    let Some(limit) = one.wait else { return Ok(view) };
    let deadline = Instant::now() + Duration::from_secs(limit);
    while view.load > 0 {
        let (url, load) = (printable(&view.url), view.load);
        pause(deadline, &format!("{url} has {load} in flight after {limit} s; it goes on draining")).await?;
        match find(client, &view.url).await? {
            Some(now) => view = now,
            None => return Ok(view),
        }
    }
    Ok(view)
}

/// Waits for a moment, or fails with this once the time is over.
async fn pause(deadline: Instant, over: &str) -> Result<(), CommandError> {
    if Instant::now() >= deadline {
        return Err(CommandError::Waited(over.to_owned()));
    }
    tokio::time::sleep(LOOK.min(deadline - Instant::now())).await;
    Ok(())
}

/// The worker, if it is there.
async fn find(client: &AdminClient, url: &str) -> Result<Option<WorkerView>, CommandError> {
    match client.json(Call::new(Method::GET, path_of(url))).await {
        Ok(view) => Ok(Some(view)),
        Err(CommandError::Refused(problem)) if problem.code == problem_code::WORKER_NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

fn path_of(worker: &str) -> String {
    format!("/workers/{}", encoded(worker))
}

fn post(what: &str, one: &OneWorker) -> Call {
    Call::new(Method::POST, format!("/workers/{what}?url={}", encoded(&one.worker)))
}

fn with_body(method: Method, path: String, body: &Map<String, Value>) -> Result<Call, CommandError> {
    let body = to_json(body)?;
    Ok(Call { headers: vec![json_type()], body, ..Call::new(method, path) })
}

fn to_json(value: &impl Serialize) -> Result<Bytes, CommandError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| CommandError::Usage(error.to_string()))
}

fn row(worker: &WorkerView) -> Vec<String> {
    vec![
        worker.url.clone(),
        worker_state(worker),
        worker.source.clone(),
        worker.role.to_string(),
        worker.model.clone().unwrap_or_else(|| "-".to_owned()),
        worker.weight.to_string(),
        worker.load.to_string(),
        latency(worker),
    ]
}
