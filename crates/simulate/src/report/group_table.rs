//! What came of groups of requests, side by side.

use crate::report::groups_over_seeds::GroupOverSeeds;
use crate::report::seed_spread::SeedSpread;
use crate::report::text_table::{spread_cell, text_table};

/// The groups as text, a row for each policy, load and group; nothing without groups.
pub(crate) fn group_table<'a>(
    groups: impl Iterator<Item = (&'a str, f64, usize, &'a GroupOverSeeds)>,
) -> String {
    let head = [
        "policy",
        "load",
        "requests of",
        "count",
        "unanswered",
        "TTFT p50",
        "p90",
        "p99",
        "E2E p99",
        "TTFT ok",
        "good",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (policy, load, seeds, group) in groups {
        let cell = |figure, is_share| spread_cell(figure, seeds, is_share);
        let whole =
            |figure: Option<SeedSpread>| figure.map_or_else(String::new, |of| format!("{:.0}", of.mean));
        rows.push(vec![
            policy.to_owned(),
            load.to_string(),
            group.group.clone(),
            whole(group.requests),
            whole(group.unanswered),
            cell(group.ttft_p50, false),
            cell(group.ttft_p90, false),
            cell(group.ttft_p99, false),
            cell(group.e2e_p99, false),
            cell(group.ttft_ok, true),
            cell(group.goodput, true),
        ]);
    }
    if rows.len() == 1 { String::new() } else { format!("\n{}", text_table(&rows)) }
}
