//! The report as a page: one file without scripts and without anything from elsewhere.

use std::fmt::Write;

use crate::load::course::Course;
use crate::load::histogram::Quantiles;
use crate::load::report_table::number;
use crate::load::report_table::percent;
use crate::load::summary::Comparison;
use crate::load::summary::Curves;
use crate::load::summary::Summary;
use crate::load::summary::TargetSummary;
use crate::load::svg::Axis;
use crate::load::svg::Plot;
use crate::load::svg::Series;
use crate::load::svg::escaped;

/// Workers that get a bar.
const MOST_WORKERS: usize = 32;

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9198a1; --line: #3d444d; --page: #0d1117; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.quiet, .quiet { color: var(--quiet); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--quiet); }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.grid { stroke: var(--line); stroke-width: .6; }
.swap { stroke: #9333ea; stroke-width: 1; stroke-dasharray: 3 3; }
.refused { stroke: #dc2626; stroke-width: 1.4; stroke-dasharray: 3 3; }
.round { stroke: var(--quiet); stroke-width: 1; }
.s0 { stroke: #2f81f7; background: #2f81f7; } .s1 { stroke: #e8700a; background: #e8700a; }
.s2 { stroke: #16a34a; background: #16a34a; } .s3 { stroke: #a855f7; background: #a855f7; }
.s4 { stroke: #e5484d; background: #e5484d; } .s5 { stroke: #0ea5b7; background: #0ea5b7; }
.key { display: inline-block; width: 1.1em; height: .25em; vertical-align: middle; margin: 0 .35em 0 1em; }
.bar { display: block; height: .8em; min-width: 1px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; color: var(--quiet); }
";

/// The page.
pub fn page(summary: &Summary) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>sgl-router load</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>sgl-router load</h1>\n"
    );
    if summary.interrupted {
        out.push_str("<p><strong>Ended early; these are the figures until then.</strong></p>\n");
    }
    push_figures(&mut out, &summary.targets);
    push_comparison(&mut out, &summary.comparison);
    push_distribution(&mut out, summary, "Whole answers", |curves| &curves.latency);
    push_distribution(&mut out, summary, "Time to the first token", |curves| &curves.first_token);
    push_distribution(&mut out, summary, "Time between tokens", |curves| &curves.between_tokens);
    for (colour, target) in summary.targets.iter().enumerate() {
        push_course(&mut out, target, colour);
        push_workers(&mut out, target, colour);
    }
    let settings = serde_json::to_string_pretty(&summary.settings).unwrap_or_default();
    let _ = write!(out, "<h2>Settings</h2>\n<pre>{}</pre>\n</body>\n</html>\n", escaped(&settings));
    out
}

fn push_figures(out: &mut String, targets: &[TargetSummary]) {
    out.push_str(
        "<table>\n<tr><th>target</th><th>requests</th><th>failed</th><th>requests/s</th><th>tokens/s</th>\
         <th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    for target in targets {
        let figures = &target.median;
        let cells = |times: Option<&Quantiles>| match times {
            Some(times) => [times.p50, times.p90, times.p99, times.p999, times.max]
                .map(|ms| format!("<td>{}</td>", number(ms)))
                .concat(),
            None => "<td>-</td>".repeat(5),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}<br><span class=\"quiet\">{}</span></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>answer, ms</td>{}</tr>",
            escaped(&target.name),
            escaped(&target.url),
            target.requests,
            percent(target.error_rate),
            number(figures.requests_per_second),
            number(figures.tokens_per_second),
            cells(figures.latency_ms.as_ref()),
        );
        for (name, times) in
            [("first token", &figures.first_token_ms), ("between tokens", &figures.between_tokens_ms)]
        {
            if let Some(times) = times {
                let _ = writeln!(
                    out,
                    "<tr><td colspan=\"5\"></td><td>{name}, ms</td>{}</tr>",
                    cells(Some(times))
                );
            }
        }
    }
    out.push_str(
        "</table>\n<p class=\"quiet\">Medians of the rounds. In an open loop all times count from \
         when a request was due.</p>\n",
    );
}

fn push_comparison(out: &mut String, comparison: &[Comparison]) {
    let Some(first) = comparison.first() else { return };
    let _ = writeln!(
        out,
        "<h2>Against {}</h2>\n<table>\n<tr><th>target</th><th>requests/s</th><th>p50</th><th>p99</th>\
         <th>first token p50</th><th>first token p99</th></tr>",
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
        .map(|ratio| ratio.map_or("<td>-</td>".to_owned(), |ratio| format!("<td>{ratio:.2}×</td>")));
        let _ = writeln!(out, "<tr><td>{}</td>{}</tr>", escaped(&other.name), cells.concat());
    }
    out.push_str("</table>\n<p class=\"quiet\">Medians of the ratios of each round.</p>\n");
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
    let _ = write!(out, "<h2>{title}</h2>\n<p>");
    for (colour, target) in summary.targets.iter().enumerate() {
        let _ = write!(out, "<span class=\"key s{}\"></span>{}", colour % 6, escaped(&target.name));
    }
    out.push_str("</p>\n");
    let plot =
        Plot { x, y: Axis::nines("share of requests up to"), series, first_colour: 0, marks: Vec::new() };
    out.push_str(&plot.render());
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
    out.push_str(&throughput.render());
    let y = Axis::linear(highest(&course.longest) * 1.05, "longest answer, ms");
    let series = vec![Series { name: "longest answer".to_owned(), points: course.longest }];
    out.push_str(&Plot { x, y, series, first_colour: colour, marks }.render());
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
            "<tr><td>{}</td><td>{}</td><td>{}</td><td style=\"width: 45%\">\
             <span class=\"bar s{}\" style=\"width: {:.1}%\"></span></td></tr>",
            escaped(&worker.worker),
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
