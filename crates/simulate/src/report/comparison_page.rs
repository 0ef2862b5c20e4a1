//! Runs side by side as a page: one file without scripts and without anything from elsewhere.

use std::fmt::Write;

use serde_json::Value;

use crate::report::capacity_found::{CapacityFound, by_policy, capacity_head, shown};
use crate::report::over_seeds::{FigureKind, OverSeeds, over_seeds};
use crate::report::run_report::RunReport;
use crate::report::share_map::share_map;
use sgl_tools::page::{Axis, Plot, STYLE, Series, breakable, escaped, key};

/// The columns of a load's table: a head, what is in it, and whether it is a share.
const COLUMNS: [(&str, FigureKind, bool); 7] = [
    ("p50", FigureKind::TtftP50, false),
    ("p90", FigureKind::TtftP90, false),
    ("p99", FigureKind::TtftP99, false),
    ("E2E p99", FigureKind::E2eP99, false),
    ("hits", FigureKind::HitRate, true),
    ("TTFT ok", FigureKind::TtftOk, true),
    ("good", FigureKind::Goodput, true),
];

/// What is drawn over the load.
const OVER_LOAD: [(&str, FigureKind, &str); 6] = [
    ("Time to the first token, p50", FigureKind::TtftP50, "seconds"),
    ("Time to the first token, p90", FigureKind::TtftP90, "seconds"),
    ("Time to the first token, p99", FigureKind::TtftP99, "seconds"),
    ("Requests that met the objective", FigureKind::Goodput, "share"),
    ("Prompt tokens found in caches", FigureKind::HitRate, "share"),
    ("Whole answers, p99", FigureKind::E2eP99, "seconds"),
];

/// The page.
pub fn comparison_page(
    runs: &[RunReport],
    capacity: Option<(&[CapacityFound], f64)>,
    command: &str,
    settings: &Value,
) -> String {
    let groups = over_seeds(runs);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>sgl-router simulate</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>sgl-router simulate</h1>\n<p><code>{}</code></p>\n",
        escaped(command)
    );
    if let Some((found, share)) = capacity {
        push_capacity(&mut out, found, share);
    }
    let policies = distinct(groups.iter().map(|group| group.policy.as_str()));
    let loads: Vec<f64> = loads(&groups);
    for load in &loads {
        push_load(&mut out, *load, &groups, runs, &policies);
    }
    if loads.len() > 1 {
        push_over_load(&mut out, &groups, &policies);
    }
    push_notes(&mut out, runs);
    let settings = serde_json::to_string_pretty(settings).unwrap_or_default();
    let _ = write!(out, "<h2>Settings</h2>\n<pre>{}</pre>\n</body>\n</html>\n", escaped(&settings));
    out
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    names.for_each(|name| {
        if !all.contains(&name) {
            all.push(name);
        }
    });
    all
}

fn loads(groups: &[OverSeeds]) -> Vec<f64> {
    let mut loads: Vec<f64> = groups.iter().map(|group| group.load).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    loads
}

fn push_key(out: &mut String, policies: &[&str]) {
    out.push_str(&key(policies.iter().copied()));
}

/// The highest loads: a table, and what was found on the way to them.
fn push_capacity(out: &mut String, found: &[CapacityFound], share: f64) {
    let _ = writeln!(
        out,
        "<h2>{}</h2>\n<table>\n<tr><th>policy</th><th>load</th><th>requests/s</th></tr>",
        capacity_head(share)
    );
    let all = by_policy(found);
    for (policy, load, rate) in &all {
        let (load, rate) = (shown(*load), shown(*rate));
        let _ = writeln!(out, "<tr><td>{}</td><td>{load}</td><td>{rate}</td></tr>", breakable(policy));
    }
    out.push_str("</table>\n");
    let policies: Vec<&str> = all.iter().map(|(policy, _, _)| *policy).collect();
    push_key(out, &policies);
    let series = |policy: &&str| {
        let own = found.iter().find(|one| one.policy == *policy);
        let mut points = own.map(|one| one.tried.clone()).unwrap_or_default();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Series { name: (*policy).to_owned(), points }
    };
    let series: Vec<Series> = policies.iter().map(series).collect();
    let loads = series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let x = Axis::linear(loads.fold(0.0, f64::max), "load");
    let plot = Plot { x, y: Axis::linear(1.0, "share"), series, first_colour: 0, marks: Vec::new() };
    out.push_str("<div class=\"plots\">\n");
    push_figure(out, "Requests that met the objective, of the first seed", &plot);
    out.push_str("</div>\n");
}

/// Who was sent what over time, of the first seed.
fn push_shares(out: &mut String, load: f64, runs: &[RunReport], policies: &[&str]) {
    let same = |run: &&RunReport, policy: &str| {
        run.facts.policy == policy && run.facts.load.total_cmp(&load).is_eq()
    };
    for policy in policies {
        let run = runs.iter().find(|run| same(run, policy));
        if let Some(map) = run.and_then(|run| share_map(&run.sent_over_time)) {
            let title = format!("Shares of the workers over time: {}", escaped(policy));
            let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>\n{map}</figure>");
        }
    }
}

/// One load: a table, and how times to the first token are distributed.
fn push_load(out: &mut String, load: f64, groups: &[OverSeeds], runs: &[RunReport], policies: &[&str]) {
    let _ = writeln!(out, "<h2>Load {load}</h2>\n<table>\n<tr><th>first token, s</th>");
    COLUMNS.iter().for_each(|(head, _, _)| {
        let _ = write!(out, "<th>{head}</th>");
    });
    out.push_str("</tr>\n");
    for group in groups.iter().filter(|group| group.load.total_cmp(&load).is_eq()) {
        let _ = write!(out, "<tr><td>{}</td>", breakable(&group.policy));
        for (_, kind, is_share) in COLUMNS {
            let _ = match group.figure(kind).map(|spread| spread.mean) {
                Some(mean) if is_share || mean < 10.0 => write!(out, "<td>{mean:.2}</td>"),
                Some(mean) => write!(out, "<td>{mean:.1}</td>"),
                None => write!(out, "<td>-</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    push_key(out, policies);
    let series = |policy: &&str| {
        let same = |run: &&RunReport| run.facts.policy == *policy && run.facts.load.total_cmp(&load).is_eq();
        let points = runs.iter().find(same).map(|run| run.ttft_curve.clone()).unwrap_or_default();
        Series { name: (*policy).to_owned(), points }
    };
    let series: Vec<Series> = policies.iter().map(series).collect();
    let times = series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let x = Axis::log(times, "seconds to the first token");
    let plot =
        Plot { x, y: Axis::nines("share of requests up to"), series, first_colour: 0, marks: Vec::new() };
    out.push_str("<div class=\"plots beside\">\n");
    push_figure(out, "Time to the first token, of the first seed", &plot);
    push_shares(out, load, runs, policies);
    out.push_str("</div>\n");
}

fn push_over_load(out: &mut String, groups: &[OverSeeds], policies: &[&str]) {
    out.push_str("<h2>Over the load</h2>\n");
    push_key(out, policies);
    out.push_str("<div class=\"plots\">\n");
    for (title, kind, unit) in OVER_LOAD {
        let series = |policy: &&str| {
            let own = groups.iter().filter(|group| group.policy == *policy);
            let mut points: Vec<(f64, f64)> =
                own.filter_map(|group| Some((group.load, group.figure(kind)?.mean))).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            Series { name: (*policy).to_owned(), points }
        };
        let series: Vec<Series> = policies.iter().map(series).collect();
        let all = || series.iter().flat_map(|series| series.points.iter().copied());
        let x = Axis::linear(all().map(|point| point.0).fold(0.0, f64::max), "load");
        let y = match unit {
            "share" => Axis::linear(1.0, unit),
            _ => Axis::log(all().map(|point| point.1).collect::<Vec<_>>().into_iter(), unit),
        };
        push_figure(out, title, &Plot { x, y, series, first_colour: 0, marks: Vec::new() });
    }
    out.push_str("</div>\n");
}

fn push_figure(out: &mut String, title: &str, plot: &Plot) {
    let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>\n{}</figure>", plot.render());
}

/// What a reader must know besides the figures.
fn push_notes(out: &mut String, runs: &[RunReport]) {
    for run in runs {
        for note in run.notes() {
            let _ = writeln!(out, "<p class=\"verdict bad\">{}</p>", escaped(&note));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::report::ledger::RunLedger;
    use crate::report::run_report::{RefusalCause, RunFacts};

    #[test]
    fn page_of_runs_in_which_nobody_was_answered_has_no_points() {
        let run = |load| {
            let facts = RunFacts { policy: "toll".to_owned(), load, seed: 1 };
            RunLedger::new(1, 1).report(facts, std::iter::empty(), 1.0, Duration::ZERO)
        };
        let page = comparison_page(&[run(1.0), run(1.4)], None, "simulate", &json!({}));
        assert!(
            page.contains("<td>toll</td><td>-</td><td>-</td><td>-</td><td>-</td><td>-</td><td>0.00</td>")
        );
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        // Of all curves only that of the objective, which nobody met, has points.
        assert_eq!(page.matches("points=\"\"").count(), 1 + OVER_LOAD.len(), "{page}");
    }

    #[test]
    fn page_has_a_table_and_curves_for_each_load_and_names_cannot_break_out_of_it() {
        let run = |policy: &str, load: f64| {
            let facts = RunFacts { policy: policy.to_owned(), load, seed: 1 };
            let mut run = RunLedger::new(1, 1).report(facts, std::iter::empty(), 1.0, Duration::ZERO);
            run.ttft_curve = vec![(0.5, 0.0), (2.0, 0.99)];
            run.refusals.insert(RefusalCause::Shed, 3);
            run
        };
        let runs = [run("<b>", 1.0), run("toll", 1.0), run("<b>", 1.4), run("toll", 1.4)];
        let page = comparison_page(&runs, None, "simulate --policy '<b>'", &json!({"workers": 8}));
        assert_eq!(page.matches("<h2>Load 1").count(), 2, "{page}");
        assert_eq!(page.matches("<svg viewBox").count(), 2 + OVER_LOAD.len());
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>") && !page.contains("<script"), "{page}");
        assert!(
            page.contains("toll at load 1.4, seed 1: 3 requests were not answered: the policy"),
            "{page}"
        );
        let found = CapacityFound {
            policy: "<b>".to_owned(),
            seed: 1,
            load: 1.25,
            requests_per_second: 3.0,
            tried: vec![(1.0, 0.99), (2.0, 0.5)],
        };
        let page = comparison_page(&runs, Some((&[found], 0.95)), "simulate", &json!({}));
        assert!(page.contains("<h2>Highest load at which 95 % of the requests"), "{page}");
        assert!(page.contains("<tr><td>&lt;b&gt;</td><td>1.25</td><td>3.00</td></tr>"), "{page}");
        assert_eq!(page.matches("<svg viewBox").count(), 2 + OVER_LOAD.len() + 1);
    }
}
