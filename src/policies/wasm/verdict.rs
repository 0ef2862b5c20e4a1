//! Whether a generation may stay: the bounds of canaries and probations, as pure functions.

use std::time::Duration;

use crate::config::rollout::CanaryOptions;
use crate::config::rollout::ProbationOptions;

/// Timed decisions without which no p99 is compared: below, it is the maximum of a few.
const MIN_TIMED: u64 = 20;

/// Decisions without which no rate is judged early.
const MIN_JUDGED: u64 = 20;

/// What was seen of one generation since it is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) decisions: u64,
    /// Failures of the guest, those to choose among them.
    pub(crate) failures: u64,
    /// How often it chose nobody although somebody could be chosen.
    pub(crate) no_choice: u64,
    pub(crate) timed: u64,
    pub(crate) p99: Option<Duration>,
    pub(crate) requests: u64,
    pub(crate) request_errors: u64,
}

impl Seen {
    fn failure_rate(&self) -> f64 {
        rate(self.failures, self.decisions)
    }

    /// For a verdict's reason: how much of the failures was no choice; empty without any.
    fn no_choice_note(&self) -> String {
        if self.no_choice == 0 {
            return String::new();
        }
        format!("; {} times it chose nobody although somebody could be chosen (no_choice)", self.no_choice)
    }

    fn request_error_rate(&self) -> f64 {
        rate(self.request_errors, self.requests)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate; counts beyond 2^52 do not occur")]
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What becomes of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Too early to say.
    Wait,
    /// All bounds hold, long enough and often enough.
    Promote,
    /// A bound is broken: which, and by how much.
    RollBack(String),
}

/// Judges a canary against the stable generation over the same time.
pub(crate) fn canary(options: &CanaryOptions, watched: Duration, stable: &Seen, canary: &Seen) -> Verdict {
    if let Some(broken) = broken_bound(options, stable, canary) {
        return Verdict::RollBack(broken);
    }
    let long_enough = watched >= Duration::from_secs(options.min_secs);
    if long_enough && canary.decisions >= options.min_decisions { Verdict::Promote } else { Verdict::Wait }
}

fn broken_bound(options: &CanaryOptions, stable: &Seen, canary: &Seen) -> Option<String> {
    let (own, other) = (canary.failure_rate(), stable.failure_rate());
    if canary.decisions >= MIN_JUDGED && own > other + options.max_failure_rate_increase {
        return Some(format!(
            "failure rate {:.2} % against {:.2} %, allowed increase {:.2} %{}",
            own * 100.0,
            other * 100.0,
            options.max_failure_rate_increase * 100.0,
            canary.no_choice_note()
        ));
    }
    let (own, other) = (canary.request_error_rate(), stable.request_error_rate());
    if canary.requests >= MIN_JUDGED && own > other + options.max_request_error_rate_increase {
        return Some(format!(
            "request error rate {:.2} % against {:.2} %, allowed increase {:.2} %",
            own * 100.0,
            other * 100.0,
            options.max_request_error_rate_increase * 100.0
        ));
    }
    let (Some(own), Some(other)) = (canary.p99, stable.p99) else { return None };
    let enough = canary.timed >= MIN_TIMED && stable.timed >= MIN_TIMED;
    let slack = Duration::from_micros(options.p99_slack_us);
    // In seconds: a ratio may be so large that no `Duration` could hold the product.
    let allowed = other.as_secs_f64() * options.max_p99_ratio.max(0.0);
    if enough && own.as_secs_f64() > allowed && own > other.saturating_add(slack) {
        return Some(format!(
            "decision p99 {own:?} against {other:?}, allowed ratio {}",
            options.max_p99_ratio
        ));
    }
    None
}

/// Why a generation on probation must go, if it must. One that may refuse goes for its refusals
/// only if it refuses everything: how much it sheds is its own business, and there is no stable
/// generation beside it to compare it with.
pub(crate) fn probation(options: &ProbationOptions, may_refuse: bool, seen: &Seen) -> Option<String> {
    let refuses_all = seen.decisions >= MIN_JUDGED && seen.no_choice >= seen.decisions;
    let excused = if may_refuse && !refuses_all { seen.no_choice } else { 0 };
    let seen = Seen { failures: seen.failures.saturating_sub(excused), ..*seen };
    let own = seen.failure_rate();
    (seen.failures >= options.max_failures.max(1) && own > options.max_failure_rate).then(|| {
        format!(
            "{} of {} decisions failed on probation ({:.1} %, allowed {:.1} %){}",
            seen.failures,
            seen.decisions,
            own * 100.0,
            options.max_failure_rate * 100.0,
            seen.no_choice_note()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(decisions: u64, failures: u64, p99_us: u64) -> Seen {
        Seen {
            decisions,
            failures,
            no_choice: 0,
            timed: decisions / 16,
            p99: Some(Duration::from_micros(p99_us)),
            requests: decisions,
            request_errors: 0,
        }
    }

    const OPTIONS: CanaryOptions = CanaryOptions {
        percent: 10.0,
        min_secs: 10,
        min_decisions: 1000,
        max_failure_rate_increase: 0.01,
        max_request_error_rate_increase: 0.01,
        max_p99_ratio: 1.5,
        p99_slack_us: 100,
    };

    #[test]
    fn good_canary_is_promoted_after_time_and_number() {
        let (stable, good) = (seen(9000, 0, 10), seen(1000, 0, 10));
        let at = |secs, seen: &Seen| canary(&OPTIONS, Duration::from_secs(secs), &stable, seen);
        assert_eq!(at(9, &good), Verdict::Wait);
        assert_eq!(at(10, &seen(999, 0, 10)), Verdict::Wait);
        assert_eq!(at(10, &good), Verdict::Promote);
    }

    #[test]
    fn each_broken_bound_is_named() {
        let stable = seen(9000, 0, 10);
        let early = Duration::from_secs(1);
        let broken = |seen: &Seen| match canary(&OPTIONS, early, &stable, seen) {
            Verdict::RollBack(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(broken(&seen(100, 5, 10)).starts_with("failure rate 5.00 %"));
        let silent = Seen { no_choice: 5, ..seen(100, 5, 10) };
        assert!(
            broken(&silent)
                .ends_with("5 times it chose nobody although somebody could be chosen (no_choice)")
        );
        assert!(broken(&seen(400, 0, 5000)).starts_with("decision p99 5ms against 10µs"));
        let errors = Seen { request_errors: 10, ..seen(100, 0, 10) };
        assert!(broken(&errors).starts_with("request error rate 10.00 %"));
    }

    #[test]
    fn noise_on_a_fast_plugin_breaks_no_bound() {
        let verdict = canary(&OPTIONS, Duration::from_secs(1), &seen(9000, 0, 1), &seen(1000, 0, 90));
        assert_eq!(verdict, Verdict::Wait);
    }

    #[test]
    fn bounds_beyond_all_times_are_never_broken() {
        let boundless = [
            CanaryOptions { max_p99_ratio: f64::MAX, ..OPTIONS },
            CanaryOptions { p99_slack_us: u64::MAX, ..OPTIONS },
        ];
        for options in boundless {
            let verdict = canary(&options, Duration::from_secs(1), &seen(9000, 0, 1), &seen(1000, 0, 9000));
            assert_eq!(verdict, Verdict::Wait);
        }
    }

    #[test]
    fn few_decisions_are_not_judged() {
        let verdict = canary(&OPTIONS, Duration::from_secs(1), &seen(9000, 0, 1), &seen(19, 19, 90));
        assert_eq!(verdict, Verdict::Wait);
    }

    #[test]
    fn probation_needs_number_and_rate() {
        let options = ProbationOptions { secs: 30, max_failures: 5, max_failure_rate: 0.01 };
        assert_eq!(probation(&options, false, &seen(10, 4, 1)), None);
        assert_eq!(probation(&options, false, &seen(1000, 5, 1)), None);
        let reason = probation(&options, false, &seen(15, 5, 1)).unwrap();
        assert_eq!(reason, "5 of 15 decisions failed on probation (33.3 %, allowed 1.0 %)");
    }

    #[test]
    fn probation_excuses_refusals_of_a_plugin_that_may_refuse_unless_it_refuses_everything() {
        let options = ProbationOptions { secs: 30, max_failures: 5, max_failure_rate: 0.01 };
        let refusing = |decisions, no_choice| Seen { no_choice, ..seen(decisions, no_choice, 1) };
        assert!(probation(&options, false, &refusing(100, 90)).is_some());
        assert_eq!(probation(&options, true, &refusing(100, 90)), None);
        assert_eq!(probation(&options, true, &refusing(19, 19)), None);
        let reason = probation(&options, true, &refusing(20, 20)).unwrap();
        assert!(
            reason.starts_with("20 of 20 decisions failed") && reason.ends_with("(no_choice)"),
            "{reason}"
        );
        let failing = Seen { no_choice: 50, ..seen(100, 60, 1) };
        assert!(probation(&options, true, &failing).unwrap().starts_with("10 of 100 decisions failed"));
    }
}
