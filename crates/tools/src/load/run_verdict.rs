//! What a run has shown, in a sentence.

use crate::load::comparison::{Comparison, Spread};
use crate::load::figures::Figures;
use crate::load::histogram::Quantiles;
use crate::load::numbers::{number, percent, times};
use crate::load::summary::Summary;
use crate::load::target_summary::TargetSummary;

/// Rounds below which a difference is not called one.
const MIN_ROUNDS: usize = 3;

/// A sentence for each target that is compared with the first, or one for the only target.
pub(crate) fn verdicts(summary: &Summary) -> Vec<String> {
    let Some(first) = summary.targets.first() else { return Vec::new() };
    if summary.comparison.is_empty() {
        return vec![of_one(first)];
    }
    summary.comparison.iter().map(|other| of_two(other, first.rounds.len())).collect()
}

fn of_one(target: &TargetSummary) -> String {
    let name = &target.name;
    if target.rounds.is_empty() {
        return format!("{name} was not reached before the end.");
    }
    let answered = target.requests - target.failed;
    if answered == 0 {
        return format!("{name} answered none of {} requests.", target.requests);
    }
    let mut text = format!("{name} answered {answered} of {} requests", target.requests);
    if target.failed > 0 {
        text.push_str(&format!(" ({} failed)", percent(target.error_rate)));
    }
    let rate = number(target.median.requests_per_second);
    text.push_str(&format!(
        ", {rate} a second{}",
        range(target, |figures| Some(figures.requests_per_second))
    ));
    let latency = |figures: &Figures| figures.latency_ms.as_ref().map(|times: &Quantiles| times.p99);
    if let Some(p99) = latency(&target.median) {
        text.push_str(&format!(", 99 % of them within {} ms{}", number(p99), range(target, latency)));
    }
    text.push('.');
    text
}

/// The lowest and the highest of the rounds.
fn range(target: &TargetSummary, of: fn(&Figures) -> Option<f64>) -> String {
    let rounds = target.rounds.len();
    match Spread::of(target.rounds.iter().filter_map(|round| of(&round.figures))) {
        Some(Spread { low, high }) if rounds > 1 => {
            format!(" ({} to {} over {rounds} rounds)", number(low), number(high))
        }
        _ => String::new(),
    }
}

fn of_two(other: &Comparison, rounds: usize) -> String {
    let (name, against) = (&other.name, &other.against);
    let (Some(p99), Some(spread)) = (other.latency_p99, other.spread.latency_p99) else {
        return format!("{name} and {against} cannot be compared: one of them answered nothing.");
    };
    let rate = match (other.requests_per_second, other.spread.requests_per_second) {
        (Some(ratio), Some(spread)) => format!(", at {} its throughput ({})", times(ratio), range_of(spread)),
        _ => String::new(),
    };
    let found = match spread {
        _ if rounds < MIN_ROUNDS => "that is too few rounds to tell a difference".to_owned(),
        Spread { high, .. } if high < 1.0 => format!("{name} was faster in every round"),
        Spread { low, .. } if low > 1.0 => format!("{name} was slower in every round"),
        _ => "no difference beyond the spread of the rounds".to_owned(),
    };
    let plural = if rounds == 1 { "round" } else { "rounds" };
    format!(
        "{name} needed {} the time of {against} for 99 % of the answers ({} over {rounds} {plural}){rate}: {found}.",
        times(p99),
        range_of(spread)
    )
}

fn range_of(Spread { low, high }: Spread) -> String {
    format!("{} to {}", times(low).trim_end_matches('×'), times(high).trim_end_matches('×'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::comparison::Spreads;

    fn compared(low: f64, high: f64, rounds: usize) -> String {
        let spread = Some(Spread { low, high });
        let other = Comparison {
            name: "new".to_owned(),
            against: "old".to_owned(),
            requests_per_second: Some(1.0),
            latency_p50: None,
            latency_p99: Some(f64::midpoint(low, high)),
            first_token_p50: None,
            first_token_p99: None,
            spread: Spreads { latency_p99: spread, requests_per_second: spread, ..Spreads::default() },
        };
        of_two(&other, rounds)
    }

    #[test]
    fn difference_is_one_only_if_every_round_shows_it() {
        let text = compared(0.8, 0.9, 3);
        assert!(text.starts_with("new needed 0.85× the time of old"), "{text}");
        assert!(
            text.contains("(0.80 to 0.90 over 3 rounds)") && text.ends_with("faster in every round."),
            "{text}"
        );
        assert!(compared(1.1, 1.2, 5).ends_with("new was slower in every round."));
        assert!(compared(0.9, 1.2, 5).ends_with("no difference beyond the spread of the rounds."));
        assert!(compared(0.8, 0.9, 2).ends_with("too few rounds to tell a difference."));
    }
}
