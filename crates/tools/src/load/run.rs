//! A whole run: rounds over all targets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::load::arrivals::{Arrivals, Pace};
use crate::load::bodies::Bodies;
use crate::load::plan::Plan;
use crate::load::record::Tally;
use crate::load::round::Round;
use crate::load::run_control::{RunControl, RunStage};
use crate::load::swaps::{SwapMark, Swapper, Swaps};
use crate::load::target::LoadTarget;
use crate::load::{closed_loop, open_loop};
use sgl_upstream::{UpstreamConnection, UpstreamError};

/// For the first connection to a target.
const REACH_LIMIT: Duration = Duration::from_secs(10);

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A target cannot be reached.
    #[error("{name} at {url} cannot be reached")]
    Unreachable {
        /// The target's name.
        name: String,
        /// Its address.
        url: String,
        /// What went wrong.
        source: UpstreamError,
    },
    /// The system has no thread for the pace.
    #[error("no thread could be started")]
    Thread(#[source] io::Error),
}

/// What was measured.
#[derive(Debug)]
pub struct RunOutcome {
    /// In the order of [`Plan::targets`].
    pub targets: Vec<TargetOutcome>,
    /// True if the run was ended early.
    pub interrupted: bool,
}

/// What was measured of one target.
#[derive(Debug)]
pub struct TargetOutcome {
    /// The target.
    pub target: LoadTarget,
    /// Its rounds; none if the run was ended before its first.
    pub rounds: Vec<RoundOutcome>,
}

/// One round of one target.
#[derive(Debug)]
pub struct RoundOutcome {
    /// Counts and times.
    pub tally: Tally,
    /// The time that the throughput refers to.
    pub measured: Duration,
    /// Swaps, in order.
    pub swaps: Vec<SwapMark>,
}

/// Makes a run. Each target is connected to once before anything is measured. `swapper` is used if
/// the plan has swaps.
///
/// # Errors
///
/// [`RunError`]. Requests that fail are no error of the run.
///
/// # Cancel safety
///
/// Dropping the future cuts everything off, and nothing is reported; [`RunControl::stop`] ends a run
/// with its report.
pub async fn run(
    plan: &Plan,
    control: &RunControl,
    swapper: Option<Arc<dyn Swapper>>,
) -> Result<RunOutcome, RunError> {
    for target in &plan.targets {
        reach(target).await?;
    }
    let bodies = Arc::new(Bodies::new(&plan.shape));
    let mut targets: Vec<TargetOutcome> = plan
        .targets
        .iter()
        .map(|target| TargetOutcome { target: target.clone(), rounds: Vec::new() })
        .collect();
    let count = targets.len();
    for number in 0..plan.rounds {
        let first = usize::try_from(number).unwrap_or(0);
        for turn in 0..count {
            let Some(outcome) = targets.get_mut((first + turn) % count) else { continue };
            if control.is_stopped() {
                break;
            }
            let target = outcome.target.name().to_owned();
            control.enter(RunStage { round: number + 1, rounds: plan.rounds, target });
            let round = one_round(plan, number, &outcome.target, &bodies, control, swapper.as_ref());
            outcome.rounds.push(round.await?);
        }
    }
    Ok(RunOutcome { targets, interrupted: control.is_stopped() })
}

async fn one_round(
    plan: &Plan,
    number: u32,
    target: &LoadTarget,
    bodies: &Arc<Bodies>,
    control: &RunControl,
    swapper: Option<&Arc<dyn Swapper>>,
) -> Result<RoundOutcome, RunError> {
    let round = Arc::new(Round::new(target, bodies, &plan.pace, plan.limits, control));
    let swaps = swapper
        .zip(plan.swaps_of(target))
        .map(|(swapper, swap_plan)| Swaps::start(&round, swap_plan, swapper));
    match &plan.pace {
        Pace::Closed { connections } => closed_loop::run(&round, *connections).await,
        pace => {
            let arrivals = Arrivals::new(pace, plan.seed.wrapping_add(u64::from(number)));
            open_loop::run(&round, arrivals).await.map_err(RunError::Thread)?;
        }
    }
    round.over.cancel();
    let swaps = match swaps {
        Some(swaps) => swaps.finish(&round).await,
        None => Vec::new(),
    };
    let tally = round.recorder.total();
    let measured = round.measured(tally.last_end);
    Ok(RoundOutcome { tally, measured, swaps })
}

async fn reach(target: &LoadTarget) -> Result<(), RunError> {
    match UpstreamConnection::open(target.address(), REACH_LIMIT).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let (name, url) = (target.name().to_owned(), target.url().to_string());
            Err(RunError::Unreachable { name, url, source })
        }
    }
}
