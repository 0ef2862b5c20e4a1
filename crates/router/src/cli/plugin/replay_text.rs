//! What a replay found, for people.

use std::time::{Duration, UNIX_EPOCH};

use crate::cli::plugin::table::table;
use sgl_simulate::replay::{
    ChoiceShown, DifferentDecision, MissingInput, ModuleReport, PlacementSummary, RecordsReport,
    ReplayReport, SignalShown, WhyMissing,
};
use sglang_router_rs::types::printable;

/// The report as tables.
pub(crate) fn text(report: &ReplayReport) -> String {
    let mut text = of_records(&report.records);
    text.push('\n');
    text.push_str(&overview(report));
    text.push_str(&measured(report));
    let reference = printable(&report.reference.name);
    text.push_str(&missing(&reference, report.reference.affected, &report.reference.missing, report));
    for module in &report.modules {
        text.push_str(&missing(&printable(&module.name), module.affected, &module.missing, report));
        text.push_str(&differences(module, &reference, report.records.decisions));
    }
    text
}

fn of_records(records: &RecordsReport) -> String {
    let time = |ms: Option<u64>| ms.map(|ms| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(ms)));
    let span = time(records.from_unix_ms).zip(time(records.to_unix_ms));
    let span = span.map(|(from, to)| format!(", {from} to {to}")).unwrap_or_default();
    let (requests, decisions, workers) = (records.requests, records.decisions, records.workers);
    let mut text = format!("{requests} requests{span}: {decisions} decisions over {workers} workers\n");
    for (count, what) in [
        (records.without_choice, "decisions left out: nobody could be chosen"),
        (records.incomplete, "decisions left out: the chosen worker is not in the record"),
        (records.cut_short, "decisions over more workers than were recorded"),
        (records.skipped.count, "lines that are no records"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    for skipped in &records.skipped.first {
        text.push_str(&format!("  line {}: {}\n", skipped.line, printable(&skipped.why)));
    }
    text
}

fn overview(report: &ReplayReport) -> String {
    const HEAD: [&str; 9] =
        ["POLICY", "ALIKE", "HITS", "IMBALANCE", "TTFT p50", "TTFT p90", "HELD", "SHED", "FALLBACK"];
    let row = |name: &str, alike: String, figures: &PlacementSummary| {
        let ttft = figures.ttft_ms.as_ref();
        let ms = |ms: Option<f64>| ms.map_or_else(dash, |ms| format!("{ms:.0} ms"));
        vec![
            name.to_owned(),
            alike,
            percent(figures.hit_rate),
            figures.imbalance_tokens.or(figures.imbalance).map_or_else(dash, |times| format!("{times:.2}")),
            ms(ttft.map(|ttft| ttft.p50)),
            ms(ttft.map(|ttft| ttft.p90)),
            figures.counts.held.to_string(),
            figures.counts.shed.to_string(),
            figures.counts.fallback.to_string(),
        ]
    };
    let mut rows = vec![row(&report.reference.name, dash(), &report.reference.figures)];
    rows.extend(report.modules.iter().map(|one| row(&one.name, percent(Some(one.agreement)), &one.figures)));
    table(&HEAD, &rows)
}

fn dash() -> String {
    "-".to_owned()
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(dash, |share| format!("{:.1} %", share * 100.0))
}

/// What was measured when the records were made.
fn measured(report: &ReplayReport) -> String {
    let ttft = report.reference.measured_ttft_ms.as_ref();
    let ttft =
        ttft.map(|ttft| format!("first byte of streams p50 {:.0} ms, p90 {:.0} ms", ttft.p50, ttft.p90));
    let hits = report.reference.measured_hit_rate.map(|share| format!("hits {}", percent(Some(share))));
    let parts: Vec<String> = [ttft, hits].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("measured then: {}\n", parts.join("; ")) }
}

fn missing(name: &str, affected: u64, missing: &[MissingInput], report: &ReplayReport) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let of = report.records.decisions;
    let mut text = format!("\n{name} lacked inputs that it declares at {affected} of {of} decisions:\n");
    for one in missing {
        let why = match one.why {
            WhyMissing::Never => "is in no record",
            WhyMissing::NotDeclared => {
                "the policy of then did not declare it; --record-inputs all records it"
            }
            WhyMissing::NotKnown => "nobody knew it",
            WhyMissing::OnlyBeginning => "the record has the beginning of the prompt only",
        };
        text.push_str(&format!("  {} ({} decisions): {why}\n", printable(&one.input), one.decisions));
    }
    text
}

fn differences(module: &ModuleReport, reference: &str, decisions: u64) -> String {
    let other = decisions.saturating_sub(module.alike);
    let name = printable(&module.name);
    if other == 0 {
        return format!("\n{name} decided all like {reference}\n");
    }
    let mut text = format!("\n{name} decided {other} of {decisions} otherwise than {reference}");
    if let Some(change) = module.ttft_change_ms {
        text.push_str(&format!("; there the first token comes {change:+.0} ms on average, by estimate"));
    }
    text.push_str(":\n");
    for reason in &module.reasons {
        text.push_str(&format!("  {:>7}  {}\n", reason.decisions, reason.reason));
        reason.examples.iter().for_each(|example| text.push_str(&of_example(example, &name, reference)));
    }
    text
}

fn of_example(example: &DifferentDecision, name: &str, reference: &str) -> String {
    let id = printable(&example.request_id);
    let mut text = format!("             {id}, decision {}\n", example.decision);
    for (whose, shown) in [(reference, &example.reference), (name, &example.module)] {
        text.push_str(&format!("               {whose}: {}{}\n", printable(&shown.choice), words(shown)));
    }
    text
}

/// What speaks for a choice.
fn words(shown: &ChoiceShown) -> String {
    let number = |number: f64| format!("{}", (number * 100.0).round() / 100.0);
    let signal =
        |one: &SignalShown| format!("{} {}, not {}", one.signal, number(one.value), number(one.other));
    let mut parts: Vec<String> = shown.speaks.iter().map(signal).collect();
    parts.extend(shown.reason.iter().map(|reason| printable(reason)));
    parts.extend(shown.failure.iter().map(|failure| format!("failed: {}", printable(failure))));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}
