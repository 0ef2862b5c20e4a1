//! Runs that differ in their seeds only, together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::groups_over_seeds::{GroupOverSeeds, groups_over_seeds};
use crate::report::run_report::RunReport;
use crate::report::seed_spread::{SeedSpread, spread};

/// The figures of one policy at one load, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverSeeds {
    /// The policy.
    pub policy: String,
    /// The load.
    pub load: f64,
    /// How many seeds.
    pub seeds: usize,
    /// Each figure by its name, over those seeds that have it.
    pub figures: BTreeMap<FigureKind, Option<SeedSpread>>,
    /// Requests that are reported apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupOverSeeds>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Median of the time to the first token.
    TtftP50,
    /// Its 90th percentile.
    TtftP90,
    /// Its 99th percentile.
    TtftP99,
    /// Median of the time per token.
    TpotP50,
    /// Its 99th percentile.
    TpotP99,
    /// Median of the time to the last token.
    E2eP50,
    /// Its 99th percentile.
    E2eP99,
    /// Share of prompt tokens found in caches.
    HitRate,
    /// The most work of a worker over the mean.
    Imbalance,
    /// Share of requests whose first token came in time.
    TtftOk,
    /// Share of requests that met the objective.
    Goodput,
    /// Requests that were not answered, since nobody was chosen.
    Refused,
    /// Requests that were not answered, since a worker failed.
    Failed,
}

impl FigureKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::TtftP50,
        Self::TtftP90,
        Self::TtftP99,
        Self::TpotP50,
        Self::TpotP99,
        Self::E2eP50,
        Self::E2eP99,
        Self::HitRate,
        Self::Imbalance,
        Self::TtftOk,
        Self::Goodput,
        Self::Refused,
        Self::Failed,
    ];

    /// What a run has of it; of nobody there are no times.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn of(self, run: &RunReport) -> Option<f64> {
        match self {
            Self::TtftP50 => run.ttft.map(|times| times.p50),
            Self::TtftP90 => run.ttft.map(|times| times.p90),
            Self::TtftP99 => run.ttft.map(|times| times.p99),
            Self::TpotP50 => run.tpot.map(|times| times.p50),
            Self::TpotP99 => run.tpot.map(|times| times.p99),
            Self::E2eP50 => run.e2e.map(|times| times.p50),
            Self::E2eP99 => run.e2e.map(|times| times.p99),
            Self::HitRate => run.hit_rate,
            Self::Imbalance => run.imbalance,
            Self::TtftOk => Some(run.ttft_ok),
            Self::Goodput => Some(run.goodput),
            Self::Refused => Some(run.refused as f64),
            Self::Failed => Some(run.failed as f64),
        }
    }
}

/// Puts runs together that differ in their seeds only, in the order in which they first occur.
pub fn over_seeds(runs: &[RunReport]) -> Vec<OverSeeds> {
    let mut groups: Vec<(&str, f64, Vec<&RunReport>)> = Vec::new();
    for run in runs {
        let (policy, load) = (run.facts.policy.as_str(), run.facts.load);
        let group = groups.iter_mut().find(|(name, at, _)| *name == policy && at.total_cmp(&load).is_eq());
        match group {
            Some((_, _, same)) => same.push(run),
            None => groups.push((policy, load, vec![run])),
        }
    }
    let together = |(policy, load, runs): (&str, f64, Vec<&RunReport>)| OverSeeds {
        policy: policy.to_owned(),
        load,
        seeds: runs.len(),
        figures: FigureKind::ALL
            .map(|kind| (kind, spread(runs.iter().filter_map(|run| kind.of(run)))))
            .into(),
        groups: groups_over_seeds(&runs),
    };
    groups.into_iter().map(together).collect()
}

impl OverSeeds {
    /// One of its figures.
    pub fn figure(&self, kind: FigureKind) -> Option<SeedSpread> {
        self.figures.get(&kind).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ledger::{EndedRequest, RunLedger};
    use crate::report::run_report::RunFacts;
    use crate::report::slo::Slo;
    use crate::workload::Workload;

    fn run(policy: &str, load: f64, seed: u64, ttft: f64) -> RunReport {
        let mut workload = Workload::new(512);
        workload.push(0.0, 100, 1, &[]);
        let mut ledger = RunLedger::new(1, 1);
        let ended = EndedRequest {
            request: 0,
            worker: 0,
            prefill: None,
            came: 0.0,
            first_token: ttft,
            ended: ttft,
            cached: 0,
        };
        ledger.finish(&ended, &workload.requests()[0], &Slo::default());
        let facts = RunFacts { policy: policy.to_owned(), load, seed };
        ledger.report(facts, std::iter::empty(), ttft, std::time::Duration::ZERO)
    }

    #[test]
    fn seeds_of_one_policy_at_one_load_are_put_together() {
        let runs =
            [run("a", 1.0, 1, 1.0), run("b", 1.0, 1, 9.0), run("a", 1.0, 2, 4.0), run("a", 1.5, 1, 3.0)];
        let all = over_seeds(&runs);
        let named = |of: &OverSeeds| (of.policy.clone(), of.load, of.seeds);
        let expected = [("a".to_owned(), 1.0, 2), ("b".to_owned(), 1.0, 1), ("a".to_owned(), 1.5, 1)];
        assert!(all.iter().map(named).eq(expected));
        let first = all[0].figure(FigureKind::TtftP50);
        assert_eq!(first, Some(SeedSpread { mean: 2.5, min: 1.0, max: 4.0 }));
        let json = serde_json::to_value(&all[0]).unwrap();
        assert_eq!(json["figures"]["ttft_ok"]["mean"], 0.5);
    }
}
