//! One simulation, from flags to reports.

use std::fs;
use std::io;
use std::io::{BufReader, Write};
use std::path::Path;
use std::thread;
use std::thread::available_parallelism;

use serde_json::{Value, json};

use crate::cli::simulate::args::SimulateArgs;
use crate::cli::simulate::error::SimulateError;
use crate::cli::simulate::policies::policies;
use crate::cli::simulate::sweep_progress_writer::SweepProgressWriter;
use sgl_simulate::engine::{EngineModel, WorkerEvents};
use sgl_simulate::fleet::{FleetSetup, RunProgress, Sweep};
use sgl_simulate::report::{
    Slo, capacity_json, capacity_table, comparison_json, comparison_page, comparison_table,
};
use sgl_simulate::workload::{RequestTraits, Workload, Workloads, too_short_note};
use sgl_tools::load::{Entry, Trace};

/// Requests of all repetitions at most.
const MOST_REPEATED: u64 = 20_000_000;

/// Workers, where nobody says how many.
const WORKERS: u32 = 8;

/// Makes all runs and writes their report. Must not be called inside a runtime.
///
/// # Errors
///
/// [`SimulateError`], which has an exit code.
pub fn run(args: &SimulateArgs) -> Result<(), SimulateError> {
    let policies = policies(args)?;
    let setup = setup(args)?;
    let seeds: Vec<u64> = (0..u64::from(args.seeds)).map(|seed| args.seed.wrapping_add(seed)).collect();
    let (workloads, asked) = workloads(args, &setup.model, &seeds)?;
    let workloads = repeated(workloads, args.repeat)?.with_traits(&args.traits.traits()?);
    setup.check(workloads.first())?;
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let sweep = Sweep {
        policies,
        loads: args.load.clone(),
        seeds,
        // What is made up has exact times.
        spread: args.spread.or(args.trace.is_none().then_some(0.0)),
        slo: Slo { ttft: args.slo_ttft, ttft_per_token: args.slo_ttft_per_token / 1e3, tpot: args.slo_tpot },
        threads: args.threads.map_or(cores, |threads| threads as usize),
    };
    // Before the runs: they must not end at a directory that does not exist.
    let file = match &args.json {
        Some(path) if path.as_os_str() != "-" => {
            Some((path, fs::File::create(path).map_err(unwritten(path))?))
        }
        _ => None,
    };
    let html = match &args.html {
        Some(path) => Some((path, fs::File::create(path).map_err(unwritten(path))?)),
        None => None,
    };
    let progress = RunProgress::default();
    let (runs, found) = thread::scope(|scope| {
        let _shown = SweepProgressWriter::start(scope, &progress, args.progress);
        let runs = sweep.run_watched(&setup, &workloads, &progress)?;
        let capacities = || sweep.capacities(&setup, &workloads, args.capacity_share, &progress);
        Ok::<_, SimulateError>((runs, args.capacity.then(capacities).transpose()?))
    })?;
    let found = found.as_deref().map(|found| (found, args.capacity_share));
    let settings = settings(asked, &setup, &sweep.slo, (workloads.first().traits(), args.repeat));
    if let Some((path, mut file)) = html {
        let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let page = comparison_page(&runs, found, &words.collect::<Vec<_>>().join(" "), &settings);
        file.write_all(page.as_bytes()).map_err(unwritten(path))?;
    }
    let json = || {
        let mut report = comparison_json(&runs, settings);
        if let (Value::Object(report), Some((found, share))) = (&mut report, found) {
            report.insert("capacity".to_owned(), capacity_json(found, share));
        }
        format!("{report:#}\n")
    };
    let table = || {
        let capacity = found.map(|(found, share)| capacity_table(found, share)).unwrap_or_default();
        comparison_table(&runs) + &capacity
    };
    match (&args.json, file) {
        (_, Some((path, mut file))) => {
            file.write_all(json().as_bytes()).map_err(unwritten(path))?;
            print(&table())
        }
        (Some(_), None) => print(&json()),
        (None, None) => print(&table()),
    }
}

/// What is asked with each of these seeds, and what a report says of it.
fn workloads(
    args: &SimulateArgs,
    model: &EngineModel,
    seeds: &[u64],
) -> Result<(Workloads, Value), SimulateError> {
    let Some(path) = &args.trace else {
        if args.generated.generate.is_none() && args.generated.rate.is_none() {
            let usage = "one of these is needed: --trace, --generate, --rate";
            return Err(SimulateError::Usage(usage.to_owned()));
        }
        let load = args.generated.load(args.requests, args.max_prompt_tokens)?;
        let workloads = Workloads::generated(&load, seeds, model.block_tokens);
        if workloads.first().is_empty() {
            return Err(SimulateError::Usage("--duration: no request comes in this time".to_owned()));
        }
        return Ok((workloads, json!({ "generated": load })));
    };
    let unreadable = |source| SimulateError::Unreadable { flag: "--trace", path: path.clone(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let fault = |source| SimulateError::Trace { path: path.clone(), source };
    let trace = Trace::read(BufReader::new(file)).map_err(fault)?;
    for note in trace.gaps().notes().into_iter().chain(too_short_note(&trace, model.block_tokens)) {
        // A simulation goes on though nobody can be told.
        let _ = writeln!(io::stderr().lock(), "--trace: {note}");
    }
    let most = args.max_prompt_tokens.unwrap_or(u32::MAX);
    let is_wanted = |entry: &Entry| entry.input_tokens <= most;
    let count = args.requests.map_or(usize::MAX, |count| count as usize);
    let workload = if args.think_times {
        let alone = |entry: &Entry| model.alone(entry.input_tokens, entry.output_tokens);
        Workload::of_trace_in_sessions(&trace, model.block_tokens, is_wanted, count, alone)
    } else {
        Workload::of_trace(&trace, model.block_tokens, is_wanted, count)
    };
    if workload.is_empty() {
        return Err(SimulateError::Usage(
            "--max-prompt-tokens: no prompt of the trace is as short".to_owned(),
        ));
    }
    Ok((workload.into(), json!({ "trace": path.to_string_lossy(), "think_times": args.think_times })))
}

/// All of it so many times, if that is not more than a machine can hold.
fn repeated(workloads: Workloads, times: u32) -> Result<Workloads, SimulateError> {
    let requests = u64::from(workloads.first().len()) * u64::from(times);
    if times > 1 && requests > MOST_REPEATED {
        let fault = format!("--repeat: {times} times is {requests} requests; allowed: {MOST_REPEATED}");
        return Err(SimulateError::Usage(fault));
    }
    Ok(workloads.repeated(times))
}

fn setup(args: &SimulateArgs) -> Result<FleetSetup, SimulateError> {
    let model = match &args.model {
        None => EngineModel::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|source| SimulateError::Unreadable {
                flag: "--model",
                path: path.clone(),
                source,
            })?;
            let fault = |source| SimulateError::Model { path: path.clone(), source };
            EngineModel::from_toml(&text).map_err(fault)?
        }
    };
    let pairs = model.pairs.map_or(WORKERS, |pairs| pairs.prefill.saturating_add(pairs.decode));
    let mut setup = FleetSetup::new(model, args.workers.unwrap_or(pairs) as usize);
    if let Some(path) = &args.worker_events {
        let flag = "--worker-events";
        let unreadable = |source| SimulateError::Unreadable { flag, path: path.clone(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let fault = |source| SimulateError::Events { path: path.clone(), source };
        setup.events = WorkerEvents::from_toml(&text).map_err(fault)?.events;
    }
    if args.speeds.len() > setup.speeds.len() {
        return Err(SimulateError::Usage("--speeds: there are not so many --workers".to_owned()));
    }
    setup.speeds.iter_mut().zip(&args.speeds).for_each(|(speed, given)| *speed = *given);
    setup.labels = args.traits.labels(setup.speeds.len())?;
    setup.report_interval = f64::from(args.load_interval_ms) / 1e3;
    setup.block_tokens = args.prefix_block_tokens;
    setup.max_blocks = args.prefix_max_blocks as usize;
    setup.reasks = args.reasks;
    setup.queue_size = args.queue_size as usize;
    setup.queue_timeout = args.queue_timeout_secs;
    Ok(setup)
}

fn settings(asked: Value, setup: &FleetSetup, slo: &Slo, (traits, repeat): (&RequestTraits, u32)) -> Value {
    let mut settings = json!({
        "workers": setup.speeds.len(),
        "speeds": setup.speeds,
        "labels": setup.labels,
        "requests": traits,
        "repeat": repeat,
        "events": setup.events,
        "report_interval": setup.report_interval,
        "queue": { "size": setup.queue_size, "timeout": setup.queue_timeout, "reasks": setup.reasks },
        "block_tokens": setup.block_tokens,
        "max_blocks": setup.max_blocks,
        "model": setup.model,
        "slo": slo,
    });
    if let (Value::Object(all), Value::Object(asked)) = (&mut settings, asked) {
        all.extend(asked);
    }
    settings
}

fn print(text: &str) -> Result<(), SimulateError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unwritten(Path::new("-")))
}

fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> SimulateError {
    let path = path.to_owned();
    |source| SimulateError::Report { path, source }
}
