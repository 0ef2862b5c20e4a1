//! The report for people who sit at a terminal.

use std::fmt::Write;

use crate::load::comparison::Comparison;
use crate::load::figures::Figures;
use crate::load::histogram::{Quantiles, median};
use crate::load::numbers::{number, percent, times};
use crate::load::round_summary::RoundSummary;
use crate::load::run_verdict::verdicts;
use crate::load::summary::Summary;
use crate::load::target_summary::TargetSummary;
use sglang_router_rs::types::shown;

/// Workers that are named; the others are summed up.
const MOST_WORKERS: usize = 8;

/// The report as text.
pub fn text_table(summary: &Summary) -> String {
    let mut out = String::new();
    if summary.interrupted {
        line(&mut out, "Ended early; these are the figures until then.\n");
    }
    for target in &summary.targets {
        push_target(
            &mut out,
            target,
            summary.settings.pointer("/pace/kind").is_none_or(|kind| kind != "closed"),
        );
        out.push('\n');
    }
    push_comparison(&mut out, &summary.comparison);
    if !summary.comparison.is_empty() {
        out.push('\n');
    }
    verdicts(summary).iter().for_each(|sentence| line(&mut out, sentence));
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn push_target(out: &mut String, target: &TargetSummary, is_open: bool) {
    let median = match target.rounds.len() {
        0 => return line(out, &format!("{} ({}): not reached before the end", target.name, target.url)),
        1 => String::new(),
        rounds => format!("   (medians of {rounds} rounds, max of all)"),
    };
    line(out, &format!("{} ({})", target.name, target.url));
    let answered = target.requests - target.failed;
    let failed = failures(target);
    line(out, &format!("  {} requests: {answered} answered, {failed}", target.requests));
    for (kind, body) in &target.error_bodies {
        line(out, &format!("    one {kind} said {}", shown(body)));
    }
    let figures = &target.median;
    let rate = number(figures.requests_per_second);
    line(out, &format!("  {rate} requests/s, {} tokens/s{median}", number(figures.tokens_per_second)));
    push_cut_off(out, &target.rounds);
    if figures.latency_ms.is_some() {
        push_figures(out, &target.median, is_open);
    }
    push_workers(out, target);
    push_swaps(out, &target.rounds);
}

/// What was sent or due, but counts nowhere.
fn push_cut_off(out: &mut String, rounds: &[RoundSummary]) {
    let interrupted: u64 = rounds.iter().map(|round| round.interrupted_requests).sum();
    if interrupted > 0 {
        line(out, &format!("  {interrupted} requests were cut off by the interruption and are not counted"));
    }
    let warmup: u64 = rounds.iter().map(|round| round.warmup_requests).sum();
    if warmup > 0 {
        line(out, &format!("  {warmup} requests of the warm-up are not counted"));
    }
}

fn push_figures(out: &mut String, figures: &Figures, is_open: bool) {
    let head = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"].map(|name| format!("{name:>9}"));
    line(out, &format!("  {:<22}{}", "milliseconds", head.concat()));
    push_times(out, "whole answer", figures.latency_ms.as_ref());
    // A closed loop is never late: a request is due when the one before it has been answered.
    if is_open {
        push_times(out, "  from sending", figures.service_ms.as_ref());
        push_times(out, "  sent late by", figures.lag_ms.as_ref());
    }
    push_times(out, "first token", figures.first_token_ms.as_ref());
    push_times(out, "between tokens", figures.between_tokens_ms.as_ref());
}

fn failures(target: &TargetSummary) -> String {
    let mut text = format!("{} failed ({})", target.failed, percent(target.error_rate));
    for (at, (kind, count)) in target.errors.iter().enumerate() {
        let before = if at == 0 { ": " } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{count} {kind}");
    }
    text
}

fn push_times(out: &mut String, name: &str, times: Option<&Quantiles>) {
    let Some(times) = times else { return };
    let columns = [times.mean, times.p50, times.p90, times.p95, times.p99, times.p999, times.max];
    let columns = columns.map(|value| format!("{:>9}", number(value)));
    line(out, &format!("  {name:<22}{}", columns.concat()));
}

fn push_workers(out: &mut String, target: &TargetSummary) {
    if target.workers.is_empty() {
        return;
    }
    let named = target.workers.iter().take(MOST_WORKERS);
    let mut shares: Vec<String> =
        named.map(|share| format!("{} {:.1} %", shown(&share.worker), share.share * 100.0)).collect();
    let others = target.workers.get(MOST_WORKERS..).unwrap_or_default();
    if !others.is_empty() {
        let share: f64 = others.iter().map(|worker| worker.share).sum();
        shares.push(format!("{} others {:.1} %", others.len(), share * 100.0));
    }
    line(out, &format!("  workers: {}", shares.join(", ")));
}

fn push_swaps(out: &mut String, rounds: &[RoundSummary]) {
    let swaps = || rounds.iter().flat_map(|round| &round.swaps);
    let tried = swaps().count();
    if tried == 0 {
        return;
    }
    let refused: Vec<&str> = swaps().filter_map(|swap| swap.error.as_deref()).collect();
    let made = swaps().filter(|swap| swap.error.is_none());
    let took = median(made.map(|swap| swap.took_ms)).map(number);
    let took = took.map_or_else(String::new, |took| format!(", {took} ms each (median)"));
    line(out, &format!("  swaps: {} made{took}, {} refused", tried - refused.len(), refused.len()));
    if let Some(reason) = refused.first() {
        line(out, &format!("    the first refusal: {}", shown(reason)));
    }
}

fn push_comparison(out: &mut String, comparison: &[Comparison]) {
    let Some(first) = comparison.first() else { return };
    let head = ["requests/s", "p50", "p99", "first p50", "first p99"].map(|name| format!("{name:>12}"));
    line(out, &format!("{:<24}{}", format!("against {}", first.against), head.concat()));
    for other in comparison {
        let ratios = [
            other.requests_per_second,
            other.latency_p50,
            other.latency_p99,
            other.first_token_p50,
            other.first_token_p99,
        ];
        let ratios = ratios.map(|ratio| format!("{:>12}", ratio.map_or_else(|| "-".to_owned(), times)));
        line(out, &format!("{:<24}{}", other.name, ratios.concat()));
    }
}
