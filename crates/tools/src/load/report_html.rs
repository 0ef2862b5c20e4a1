//! The report as a page: one file without scripts and without anything from elsewhere.

use std::fmt::Write;

use crate::load::comparison::Comparison;
use crate::load::course::Course;
use crate::load::numbers::{number, percent, times};
use crate::load::run_info::RunInfo;
use crate::load::run_verdict::verdicts;
use crate::load::summary::Summary;
use crate::load::target_summary::{Curves, TargetSummary};
use crate::page::{Axis, Plot, STYLE, Series, breakable, escaped, key};

/// Workers that get a bar.
const MOST_WORKERS: usize = 32;

/// The page.
pub fn html_page(summary: &Summary) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>sgl-router load</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>sgl-router load</h1>\n"
    );
    if summary.interrupted {
        out.push_str("<p><strong>Ended early; these are the figures until then.</strong></p>\n");
    }
    let class = if summary.all_failed().is_some() { "verdict bad" } else { "verdict" };
    for sentence in verdicts(summary) {
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(&sentence));
    }
    push_run(&mut out, &summary.run);
    summary.targets.iter().for_each(|target| push_target(&mut out, target));
    push_comparison(&mut out, &summary.comparison);
    push_distributions(&mut out, summary);
    for (colour, target) in summary.targets.iter().enumerate() {
        push_course(&mut out, target, colour);
        push_workers(&mut out, target, colour);
    }
    let settings = serde_json::to_string_pretty(&summary.settings).unwrap_or_default();
    let _ = write!(out, "<h2>Settings</h2>\n<pre>{}</pre>\n</body>\n</html>\n", escaped(&settings));
    out
}

fn push_run(out: &mut String, run: &RunInfo) {
    out.push_str("<dl>\n");
    let version = format!("sgl-router {}", run.version);
    for (name, text) in [("when", &run.started), ("version", &version), ("machine", &run.machine)] {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(text));
    }
    let _ = writeln!(out, "<dt>command</dt><dd><code>{}</code></dd>\n</dl>", escaped(&run.command));
}

fn push_target(out: &mut String, target: &TargetSummary) {
    let figures = &target.median;
    let _ = writeln!(
        out,
        "<h2>{}</h2>\n<p class=\"quiet\">{}</p>\n<p>{} requests, {} failed ({}); {} requests/s, {} tokens/s</p>",
        escaped(&target.name),
        escaped(&target.url),
        target.requests,
        target.failed,
        percent(target.error_rate),
        number(figures.requests_per_second),
        number(figures.tokens_per_second),
    );
    push_errors(out, target);
    let rows = [
        ("whole answer", &figures.latency_ms),
        ("first token", &figures.first_token_ms),
        ("between tokens", &figures.between_tokens_ms),
    ];
    if rows.iter().all(|(_, times)| times.is_none()) {
        return;
    }
    out.push_str(
        "<table>\n<tr><th>milliseconds</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    for (name, times) in rows {
        if let Some(times) = times {
            let cells = [times.p50, times.p90, times.p99, times.p999, times.max];
            let cells = cells.map(|ms| format!("<td>{}</td>", number(ms))).concat();
            let _ = writeln!(out, "<tr><td>{name}</td>{cells}</tr>");
        }
    }
    out.push_str(
        "</table>\n<p class=\"quiet\">Medians of the rounds; max is the longest of all. In an open loop all times count from \
         when a request was due.</p>\n",
    );
}

fn push_errors(out: &mut String, target: &TargetSummary) {
    if target.errors.is_empty() {
        return;
    }
    out.push_str("<table>\n<tr><th>failed by</th><th>requests</th></tr>\n");
    for (kind, count) in &target.errors {
        let _ = writeln!(out, "<tr><td>{}</td><td>{count}</td></tr>", escaped(kind));
    }
    out.push_str("</table>\n");
    for (kind, body) in &target.error_bodies {
        let _ = writeln!(
            out,
            "<p class=\"quiet\">One answer that failed by {} said:</p>\n<pre class=\"verdict said\">{}</pre>",
            escaped(kind),
            escaped(body)
        );
    }
}

fn push_comparison(out: &mut String, comparison: &[Comparison]) {
    let Some(first) = comparison.first() else { return };
    let _ = writeln!(
        out,
        "<h2>Against {}</h2>\n<table>\n<tr><th>target</th><th>req/s</th><th>p50</th><th>p99</th>\
         <th>first p50</th><th>first p99</th></tr>",
        escaped(&first.against)
    );
    for other in comparison {
        let cells = [
            other.requests_per_second,
            other.latency_p50,
            other.latency_p99,
            other.first_token_p50,
            other.first_token_p99,
        ]
        .map(|ratio| ratio.map_or("<td>-</td>".to_owned(), |ratio| format!("<td>{}</td>", times(ratio))));
        let _ = writeln!(out, "<tr><td>{}</td>{}</tr>", breakable(&other.name), cells.concat());
    }
    out.push_str("</table>\n<p class=\"quiet\">Medians of the ratios of each round.</p>\n");
}

fn push_distributions(out: &mut String, summary: &Summary) {
    // Only answers have times.
    if summary.targets.iter().all(|target| target.curves.latency.is_empty()) {
        return;
    }
    out.push_str("<h2>Distributions</h2>\n");
    out.push_str(&key(summary.targets.iter().map(|target| target.name.as_str())));
    out.push_str("<div class=\"plots\">\n");
    push_distribution(out, summary, "Whole answers", |curves| &curves.latency);
    push_distribution(out, summary, "Time to the first token", |curves| &curves.first_token);
    push_distribution(out, summary, "Time between tokens", |curves| &curves.between_tokens);
    out.push_str("</div>\n");
}

/// How times are distributed: one line for each target that has any.
fn push_distribution(out: &mut String, summary: &Summary, title: &str, of: fn(&Curves) -> &Vec<(f64, f64)>) {
    let drawn = |target: &&TargetSummary| !of(&target.curves).is_empty();
    if !summary.targets.iter().any(|target| drawn(&target)) {
        return;
    }
    let series: Vec<Series> = summary
        .targets
        .iter()
        .map(|target| Series { name: target.name.clone(), points: of(&target.curves).clone() })
        .collect();
    let times = series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let x = Axis::log(times, "milliseconds");
    let plot =
        Plot { x, y: Axis::nines("share of requests up to"), series, first_colour: 0, marks: Vec::new() };
    push_figure(out, title, &plot);
}

/// Throughput and the longest latencies over time, the rounds one after the other.
fn push_course(out: &mut String, target: &TargetSummary, colour: usize) {
    let course = Course::new(&target.rounds);
    if course.answered.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>{} over time</h2>", escaped(&target.name));
    if course.swaps > 0 {
        let _ = writeln!(out, "<p class=\"quiet\">Dashed lines: {} swaps.</p>", course.swaps);
    }
    let highest = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
    let x = Axis::linear(course.seconds, "seconds");
    let y = Axis::linear(highest(&course.answered).max(highest(&course.failed)) * 1.05, "requests/s");
    let mut series = vec![Series { name: "answered".to_owned(), points: course.answered }];
    if target.failed > 0 {
        series.push(Series { name: "failed".to_owned(), points: course.failed });
    }
    let marks = course.marks;
    let throughput = Plot { x: x.clone(), y, series, first_colour: colour, marks: marks.clone() };
    out.push_str("<div class=\"plots\">\n");
    push_figure(out, "Answers a second", &throughput);
    if target.failed == target.requests {
        return out.push_str("</div>\n");
    }
    let y = Axis::linear(highest(&course.longest) * 1.05, "longest answer, ms");
    let series = vec![Series { name: "longest answer".to_owned(), points: course.longest }];
    push_figure(out, "Longest answers", &Plot { x, y, series, first_colour: colour, marks });
    out.push_str("</div>\n");
}

fn push_figure(out: &mut String, title: &str, plot: &Plot) {
    let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>\n{}</figure>", plot.render());
}

fn push_workers(out: &mut String, target: &TargetSummary, colour: usize) {
    if target.workers.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<h2>{}: share of each worker</h2>\n<table>\n<tr><th>worker</th><th>answers</th><th>share</th><th></th></tr>",
        escaped(&target.name)
    );
    let most = target.workers.first().map_or(1.0, |worker| worker.share);
    for worker in target.workers.iter().take(MOST_WORKERS) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td style=\"width: 30%\">\
             <span class=\"bar s{}\" style=\"width: {:.1}%\"></span></td></tr>",
            breakable(&worker.worker),
            worker.requests,
            percent(worker.share),
            colour % 6,
            worker.share / most * 100.0,
        );
    }
    out.push_str("</table>\n");
    if let Some(others) = target.workers.len().checked_sub(MOST_WORKERS).filter(|others| *others > 0) {
        let _ = writeln!(out, "<p class=\"quiet\">{others} others have fewer.</p>");
    }
}
