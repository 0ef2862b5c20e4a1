//! Groups of requests in runs that differ in their seeds only, together.

use serde::Serialize;

use crate::report::request_groups::GroupRun;
use crate::report::run_report::RunReport;
use crate::report::seed_spread::{SeedSpread, spread};

/// A group's figures of one policy at one load, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupOverSeeds {
    /// What its requests have in common.
    pub group: String,
    /// How many there are.
    pub requests: Option<SeedSpread>,
    /// How many of them were not answered.
    pub unanswered: Option<SeedSpread>,
    /// Median of the time to the first token.
    pub ttft_p50: Option<SeedSpread>,
    /// Its 90th percentile.
    pub ttft_p90: Option<SeedSpread>,
    /// Its 99th percentile.
    pub ttft_p99: Option<SeedSpread>,
    /// The 99th percentile of the time to the last token.
    pub e2e_p99: Option<SeedSpread>,
    /// Share whose first token came in time.
    pub ttft_ok: Option<SeedSpread>,
    /// Share that met the objective.
    pub goodput: Option<SeedSpread>,
}

/// The groups of runs that differ in their seeds only.
pub(crate) fn groups_over_seeds(runs: &[&RunReport]) -> Vec<GroupOverSeeds> {
    let Some(first) = runs.first() else { return Vec::new() };
    let together = |(place, group): (usize, &GroupRun)| {
        let all: Vec<&GroupRun> = runs.iter().filter_map(|run| run.groups.get(place)).collect();
        let over = |figure: fn(&GroupRun) -> Option<f64>| spread(all.iter().filter_map(|run| figure(run)));
        GroupOverSeeds {
            group: group.group.clone(),
            requests: over(|run| Some(count(run.requests))),
            unanswered: over(|run| Some(count(run.requests.saturating_sub(run.answered)))),
            ttft_p50: over(|run| run.ttft.map(|times| times.p50)),
            ttft_p90: over(|run| run.ttft.map(|times| times.p90)),
            ttft_p99: over(|run| run.ttft.map(|times| times.p99)),
            e2e_p99: over(|run| run.e2e.map(|times| times.p99)),
            ttft_ok: over(|run| Some(run.ttft_ok)),
            goodput: over(|run| Some(run.goodput)),
        }
    };
    first.groups.iter().enumerate().map(together).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn count(count: u64) -> f64 {
    count as f64
}
