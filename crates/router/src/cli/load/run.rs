//! One run, from flags to reports.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::load::args::LoadArgs;
use crate::cli::load::error::LoadError;
use crate::cli::load::output::Outputs;
use crate::cli::load::plan::plan;
use crate::cli::load::progress_writer::ProgressWriter;
use crate::cli::load::swapper::PluginSwapper;
use sgl_tools::load::{Plan, RunControl, RunInfo, Summary};

/// Makes a run on a runtime of its own and writes its reports. Must not be called inside another
/// runtime.
///
/// # Errors
///
/// [`LoadError`], which has an exit code.
pub fn run(args: &LoadArgs) -> Result<(), LoadError> {
    let plan = plan(args)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build().map_err(LoadError::Runtime)?;
    runtime.block_on(make(args, &plan))
}

async fn make(args: &LoadArgs, plan: &Plan) -> Result<(), LoadError> {
    // Before anything is sent: a signal in between would lose the report.
    let signals = [handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?];
    let swapper = PluginSwapper::open(args).await?;
    let outputs = Outputs::open(args)?;
    let control = RunControl::default();
    let about = RunInfo::now(std::env::args_os().map(|word| word.to_string_lossy().into_owned()));
    let progress = ProgressWriter::start(&control, args.progress);
    let outcome = tokio::select! {
        outcome = sgl_tools::load::run(plan, &control, swapper) => outcome?,
        never = end_on(signals, &control) => match never {},
    };
    drop(progress);
    let summary = Summary::new(plan, &outcome, about);
    outputs.write(&summary)?;
    let found = summary.highest_error_rate();
    match args.max_error_rate {
        Some(allowed) if found > allowed => Err(LoadError::TooManyErrors { found, allowed }),
        Some(_) => Ok(()),
        None => summary.all_failed().map_or(Ok(()), |target| Err(LoadError::all_failed(target))),
    }
}

/// The first signal ends the run early, the second cuts it off.
async fn end_on(
    [mut interrupt, mut terminate]: [Signal; 2],
    control: &RunControl,
) -> std::convert::Infallible {
    let mut signalled = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    signalled().await;
    control.stop();
    signalled().await;
    control.abort();
    std::future::pending().await
}

fn handler(kind: SignalKind) -> Result<Signal, LoadError> {
    signal(kind).map_err(LoadError::Runtime)
}
