//! The highest loads at which enough requests meet their objective.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

/// The capacity that one policy has with one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacityFound {
    /// The policy.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// The highest load; 0 if there is none.
    pub load: f64,
    /// Requests that were answered in a second then.
    pub requests_per_second: f64,
    /// Loads that were tried, and the share of requests that met their objective.
    pub tried: Vec<(f64, f64)>,
}

/// Mean, least and greatest over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CapacitySpread {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// Each policy with its capacity over all seeds, in load and in requests a second.
pub(crate) fn by_policy(found: &[CapacityFound]) -> Vec<(&str, CapacitySpread, CapacitySpread)> {
    let mut policies: Vec<&str> = Vec::new();
    for one in found {
        if !policies.contains(&one.policy.as_str()) {
            policies.push(&one.policy);
        }
    }
    let of = |policy: &str, value: fn(&CapacityFound) -> f64| {
        let values = || found.iter().filter(|one| one.policy == policy).map(value);
        #[expect(clippy::cast_precision_loss, reason = "there are few seeds")]
        let count = values().count().max(1) as f64;
        CapacitySpread {
            mean: values().sum::<f64>() / count,
            min: values().fold(f64::INFINITY, f64::min),
            max: values().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    let line = |policy| (policy, of(policy, |one| one.load), of(policy, |one| one.requests_per_second));
    policies.into_iter().map(line).collect()
}

/// What is looked for, in words.
pub(crate) fn capacity_head(share: f64) -> String {
    format!(
        "Highest load at which {} % of the requests meet their objective",
        (share * 1000.0).round() / 10.0
    )
}

/// The capacities as text: a row for each policy; of several seeds the mean, and how far from it the furthest
/// is.
pub fn capacity_table(found: &[CapacityFound], share: f64) -> String {
    let mut out = format!("{}\n", capacity_head(share));
    let all = by_policy(found);
    let width = all.iter().map(|(policy, _, _)| policy.chars().count()).max().unwrap_or_default();
    for (policy, load, rate) in all {
        // A string takes what is written.
        let _ = writeln!(out, "{policy:width$}  load {}  requests/s {}", shown(load), shown(rate));
    }
    out
}

/// A figure over the seeds.
pub(crate) fn shown(spread: CapacitySpread) -> String {
    let CapacitySpread { mean, min, max } = spread;
    if max > min { format!("{mean:.2} ±{:.2}", (max - mean).max(mean - min)) } else { format!("{mean:.2}") }
}

/// The capacities as JSON.
pub fn capacity_json(found: &[CapacityFound], share: f64) -> Value {
    let line = |(policy, load, rate): (&str, CapacitySpread, CapacitySpread)| json!({ "policy": policy, "load": load, "requests_per_second": rate });
    let summary: Vec<Value> = by_policy(found).into_iter().map(line).collect();
    json!({ "share": share, "summary": summary, "seeds": found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(policy: &str, seed: u64, load: f64) -> CapacityFound {
        let tried = vec![(load, 0.9)];
        CapacityFound { policy: policy.to_owned(), seed, load, requests_per_second: load * 2.0, tried }
    }

    #[test]
    fn capacities_of_seeds_are_put_together() {
        let all = [found("toll", 1, 1.5), found("toll", 2, 1.3), found("late", 1, 2.0)];
        let table = capacity_table(&all, 0.9);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "Highest load at which 90 % of the requests meet their objective");
        assert_eq!(lines[1], "toll  load 1.40 ±0.10  requests/s 2.80 ±0.20");
        assert_eq!(lines[2], "late  load 2.00  requests/s 4.00");
        let json = capacity_json(&all, 0.9);
        assert_eq!(json["summary"][0]["load"], json!({ "mean": 1.4, "min": 1.3, "max": 1.5 }));
        assert_eq!((&json["seeds"][2]["policy"], &json["share"]), (&json!("late"), &json!(0.9)));
    }
}
