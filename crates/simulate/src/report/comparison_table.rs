//! Runs side by side: for people, and as JSON.

use serde_json::{Value, json};

use crate::report::group_table::group_table;
use crate::report::over_seeds::{FigureKind, OverSeeds, over_seeds};
use crate::report::run_report::RunReport;
use crate::report::text_table::{spread_cell, text_table};

/// The columns of the table: a head, what is in it, and whether it is a share.
const COLUMNS: [(&str, FigureKind, bool); 10] = [
    ("TTFT p50", FigureKind::TtftP50, false),
    ("p90", FigureKind::TtftP90, false),
    ("p99", FigureKind::TtftP99, false),
    ("TPOT p50", FigureKind::TpotP50, false),
    ("p99", FigureKind::TpotP99, false),
    ("E2E p99", FigureKind::E2eP99, false),
    ("hits", FigureKind::HitRate, true),
    ("imbalance", FigureKind::Imbalance, true),
    ("TTFT ok", FigureKind::TtftOk, true),
    ("good", FigureKind::Goodput, true),
];

/// The figures of all runs as text: a row for each policy at each load. Times in seconds; of several seeds
/// the mean, and how far from it the furthest is. `-` where there is none.
pub fn comparison_table(runs: &[RunReport]) -> String {
    let groups = over_seeds(runs);
    let mut rows = vec![head()];
    rows.extend(groups.iter().map(row));
    let mut out = text_table(&rows);
    let of_all = groups.iter().flat_map(|all| {
        all.groups.iter().map(move |group| (all.policy.as_str(), all.load, all.seeds, group))
    });
    out.push_str(&group_table(of_all));
    for note in runs.iter().flat_map(RunReport::notes) {
        out.push_str(&note);
        out.push('\n');
    }
    out
}

fn head() -> Vec<String> {
    ["policy", "load"].into_iter().chain(COLUMNS.map(|(head, _, _)| head)).map(str::to_owned).collect()
}

fn row(group: &OverSeeds) -> Vec<String> {
    let cell = |(_, kind, is_share): (&str, FigureKind, bool)| {
        spread_cell(group.figure(kind), group.seeds, is_share)
    };
    [group.policy.clone(), format!("{}", group.load)].into_iter().chain(COLUMNS.map(cell)).collect()
}

/// The figures of all runs, and those of several seeds together.
pub fn comparison_json(runs: &[RunReport], settings: Value) -> Value {
    json!({ "settings": settings, "summary": over_seeds(runs), "runs": runs })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::ledger::RunLedger;
    use crate::report::quantile_set::QuantileSet;
    use crate::report::run_report::{RefusalCause, RunFacts};

    fn run(policy: &str, seed: u64, ttft: f32) -> RunReport {
        let facts = RunFacts { policy: policy.to_owned(), load: 1.4, seed };
        let mut run = RunLedger::new(1, 1).report(facts, std::iter::empty(), 1.0, Duration::ZERO);
        run.answered = 1;
        run.ttft = QuantileSet::of(&mut [ttft]);
        run.hit_rate = Some(0.25);
        run
    }

    #[test]
    fn table_has_a_row_for_each_policy_with_the_spread_over_seeds() {
        let mut odd = run("toll", 2, 2.0);
        odd.refusals.insert(RefusalCause::Shed, 3);
        odd.fallbacks.insert("trap".to_owned(), 7);
        let table = comparison_table(&[run("toll", 1, 1.0), odd, run("least_load", 1, 15.0)]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("policy      load      TTFT p50"), "{table}");
        assert!(lines[1].starts_with("toll         1.4  1.500 ±0.500"), "{table}");
        assert!(lines[2].starts_with("least_load   1.4          15.0"), "{table}");
        assert_eq!(
            lines[3..],
            [
                "toll at load 1.4, seed 2: the fallback decided 7 times (trap)",
                "toll at load 1.4, seed 2: 3 requests were not answered: the policy refused them"
            ]
        );
    }

    #[test]
    fn where_nobody_was_answered_there_are_no_times_and_it_is_said_why() {
        for (refusal, why) in [
            (Some(RefusalCause::Shed), "2 requests were not answered: the policy refused them"),
            (Some(RefusalCause::Unplaced), "2 requests were not answered: nobody was chosen for them"),
            (Some(RefusalCause::TooLarge), "2 requests were not answered: prompt and answer are larger"),
            (None, "2 requests failed with their workers"),
        ] {
            let mut ledger = RunLedger::new(2, 1);
            for _ in 0..2 {
                match refusal {
                    Some(cause) => ledger.refuse(cause),
                    None => ledger.fail(),
                }
            }
            assert!(ledger.is_complete());
            let facts = RunFacts { policy: "toll".to_owned(), load: 1.0, seed: 1 };
            let run = ledger.report(facts, std::iter::empty(), 0.0, Duration::ZERO);
            let table = comparison_table(std::slice::from_ref(&run));
            let lines: Vec<&str> = table.lines().collect();
            let cells: Vec<&str> = lines[1].split_whitespace().collect();
            assert_eq!(
                cells,
                ["toll", "1", "-", "-", "-", "-", "-", "-", "-", "-", "0.000", "0.000"],
                "{table}"
            );
            assert_eq!(lines[2], "toll at load 1, seed 1: no request was answered, so there are no times");
            assert!(lines[3].starts_with(&format!("toll at load 1, seed 1: {why}")), "{table}");
            assert!(run.ttft_curve.is_empty());
            let json = comparison_json(&[run], json!({}));
            for times in ["ttft", "tpot", "e2e", "hit_rate", "imbalance"] {
                assert_eq!(json["runs"][0].get(times), Some(&Value::Null), "{times}");
            }
            assert_eq!(json["summary"][0]["figures"].get("ttft_p50"), Some(&Value::Null));
        }
    }

    #[test]
    fn json_has_each_run_and_the_seeds_together() {
        let json = comparison_json(&[run("toll", 1, 1.0), run("toll", 2, 2.0)], json!({"workers": 8}));
        assert_eq!((&json["runs"][1]["seed"], &json["settings"]["workers"]), (&json!(2), &json!(8)));
        assert_eq!(json["summary"][0]["figures"]["ttft_p50"]["mean"], 1.5);
    }
}
