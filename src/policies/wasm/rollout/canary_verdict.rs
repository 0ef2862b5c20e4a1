//! Whether a generation may stay: the bounds of canaries and probations, as pure functions.

use std::time::Duration;

use crate::config::rollout::{CanaryOptions, ProbationOptions};
use crate::policies::wasm::rollout::significance::{Share, Standing};
use crate::policies::wasm::state::seen::Seen;

/// Timed decisions below which no p99 is compared: it would be the maximum of a few.
const MIN_TIMED: u64 = 20;

/// The share of decisions that may take longer than the p99.
const BEYOND_P99: f64 = 0.01;

/// A generation that may refuse must have made this many decisions before "refused all" can count.
const MIN_REFUSED: u64 = 20;

/// Why a candidate that spins has to go.
pub(crate) const LOST_TIME: &str = "it lost more time than breaker.max_lost_percent allows";

impl Seen {
    fn failed(&self) -> Share {
        // A batch of finished requests may fail beside the decisions.
        Share { part: self.failures.min(self.decisions), whole: self.decisions }
    }

    fn went_wrong(&self) -> Share {
        Share { part: self.request_errors, whole: self.requests }
    }

    fn slower_than(&self, limit: Duration) -> Share {
        Share { part: self.latency.beyond(limit), whole: self.latency.count() }
    }

    /// For a verdict's reason: how many failures were `no_choice`, or put requests off; empty if none.
    fn no_choice_note(&self) -> String {
        let note = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!("; {count} times it {what}"),
        };
        note(self.no_choice, "chose nobody although somebody could be chosen (no_choice)")
            + &note(self.held_back, "refused a request (shed) or had it wait too long (wait_over)")
    }
}

/// The verdict on a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryVerdict {
    /// Too early to say.
    Wait,
    /// All bounds hold, long enough and often enough.
    Promote,
    /// A bound is broken: which one, and by how much.
    RollBack(String),
}

/// How a canary stands to one of its bounds, and a sentence about it.
type Judged = (Standing, String);

/// Judges a canary against the stable generation over the same time. A difference that may be chance
/// breaks no bound, but also prevents promotion.
pub(crate) fn canary(
    options: &CanaryOptions,
    watched: Duration,
    stable: &Seen,
    canary: &Seen,
) -> CanaryVerdict {
    let bounds = [
        failure_rate(options, stable, canary),
        request_error_rate(options, stable, canary),
        decision_p99(options, stable, canary),
    ];
    let within = bounds.iter().all(|(standing, _)| *standing == Standing::Within);
    if let Some((_, reason)) = bounds.into_iter().find(|(standing, _)| *standing == Standing::Above) {
        return CanaryVerdict::RollBack(reason);
    }
    let long_enough = watched >= Duration::from_secs(options.min_secs);
    let often_enough = canary.decisions >= options.min_decisions;
    if within && long_enough && often_enough { CanaryVerdict::Promote } else { CanaryVerdict::Wait }
}

fn failure_rate(options: &CanaryOptions, stable: &Seen, canary: &Seen) -> Judged {
    let increase = options.max_failure_rate_increase;
    let (own, other) = (canary.failed(), stable.failed());
    let reason = || format!("{}{}", rates("failure rate", own, other, increase), canary.no_choice_note());
    judged(own.against(beside(options, other), increase), reason)
}

fn request_error_rate(options: &CanaryOptions, stable: &Seen, canary: &Seen) -> Judged {
    let increase = options.max_request_error_rate_increase;
    let (own, other) = (canary.went_wrong(), stable.went_wrong());
    judged(own.against(beside(options, other), increase), || {
        rates("request error rate", own, other, increase)
    })
}

/// The p99 is too long if more than one decision in a hundred takes longer than allowed.
fn decision_p99(options: &CanaryOptions, stable: &Seen, canary: &Seen) -> Judged {
    let within = (Standing::Within, String::new());
    if canary.latency.count() < MIN_TIMED || stable.latency.count() < MIN_TIMED {
        return within;
    }
    let (Some(own), Some(other)) = (canary.latency.quantile(0.99), stable.latency.quantile(0.99)) else {
        return within;
    };
    let slack = other.saturating_add(Duration::from_micros(options.p99_slack_us));
    // The product may exceed every `Duration`.
    let scaled = Duration::try_from_secs_f64(other.as_secs_f64() * options.max_p99_ratio.max(0.0));
    let limit = scaled.unwrap_or(Duration::MAX).max(slack);
    let standing = canary.slower_than(limit).against(Some(stable.slower_than(limit)), BEYOND_P99);
    judged(standing, || {
        format!("decision p99 {own:?} against {other:?}, allowed ratio {}", options.max_p99_ratio)
    })
}

/// The share to compare with; none if the canary gets everything: then only the bound counts.
fn beside(options: &CanaryOptions, stable: Share) -> Option<Share> {
    (stable.whole > 0 || options.percent < 100.0).then_some(stable)
}

fn judged(standing: Standing, reason: impl FnOnce() -> String) -> Judged {
    (standing, if standing == Standing::Above { reason() } else { String::new() })
}

fn rates(what: &str, own: Share, other: Share, increase: f64) -> String {
    format!(
        "{what} {:.2} % ({} of {}) against {:.2} % ({} of {}), allowed increase {:.2} %",
        own.rate() * 100.0,
        own.part,
        own.whole,
        other.rate() * 100.0,
        other.part,
        other.whole,
        increase * 100.0
    )
}

/// Why a generation on probation must go, if it must. For its refusals it goes only if it refuses
/// everything: how much it sheds is its own business, and no stable generation runs beside it to compare
/// with. Choosing nobody is a refusal if it may refuse, shedding and waiting always.
pub(crate) fn probation(options: &ProbationOptions, may_refuse: bool, seen: &Seen) -> Option<String> {
    let refused = seen.no_choice + seen.held_back;
    let refuses_all = seen.decisions >= MIN_REFUSED && refused >= seen.decisions;
    let excused = match refuses_all {
        true => 0,
        false if may_refuse => refused,
        false => seen.held_back,
    };
    let failures = seen.failures.saturating_sub(excused);
    let own = Share { part: failures, whole: seen.decisions }.rate();
    (failures >= options.max_failures.max(1) && own > options.max_failure_rate).then(|| {
        format!(
            "{failures} of {} decisions failed on probation ({:.1} %, allowed {:.1} %){}",
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

    use crate::policies::wasm::state::latency::LatencyCounts;

    fn seen(decisions: u64, failures: u64, p99_us: u64) -> Seen {
        let mut latency = LatencyCounts::default();
        latency.add(Duration::from_micros(p99_us), decisions / 16);
        Seen {
            decisions,
            failures,
            no_choice: 0,
            held_back: 0,
            latency,
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
        assert_eq!(at(9, &good), CanaryVerdict::Wait);
        assert_eq!(at(10, &seen(999, 0, 10)), CanaryVerdict::Wait);
        assert_eq!(at(10, &good), CanaryVerdict::Promote);
    }

    #[test]
    fn each_broken_bound_is_named() {
        let stable = seen(9000, 0, 10);
        let early = Duration::from_secs(1);
        let broken = |seen: &Seen| match canary(&OPTIONS, early, &stable, seen) {
            CanaryVerdict::RollBack(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(broken(&seen(100, 9, 10)).starts_with("failure rate 9.00 % (9 of 100) against 0.00 %"));
        let silent = Seen { no_choice: 9, ..seen(100, 9, 10) };
        assert!(
            broken(&silent)
                .ends_with("9 times it chose nobody although somebody could be chosen (no_choice)")
        );
        assert!(broken(&seen(400, 0, 5000)).starts_with("decision p99 5."));
        let errors = Seen { request_errors: 10, ..seen(100, 0, 10) };
        assert!(broken(&errors).starts_with("request error rate 10.00 %"));
    }

    #[test]
    fn noise_on_a_fast_plugin_breaks_no_bound() {
        let verdict = canary(&OPTIONS, Duration::from_secs(1), &seen(9000, 0, 1), &seen(1000, 0, 90));
        assert_eq!(verdict, CanaryVerdict::Wait);
    }

    #[test]
    fn bounds_beyond_all_times_are_never_broken() {
        let boundless = [
            CanaryOptions { max_p99_ratio: f64::MAX, ..OPTIONS },
            CanaryOptions { p99_slack_us: u64::MAX, ..OPTIONS },
        ];
        for options in boundless {
            let verdict = canary(&options, Duration::from_secs(1), &seen(9000, 0, 1), &seen(1000, 0, 9000));
            assert_eq!(verdict, CanaryVerdict::Wait);
        }
    }

    #[test]
    fn few_failures_are_not_judged_and_a_canary_that_only_fails_goes_soon() {
        let after =
            |failures| canary(&OPTIONS, Duration::ZERO, &seen(9000, 0, 1), &seen(failures, failures, 1));
        assert_eq!(after(1), CanaryVerdict::Wait);
        assert!(matches!(after(2), CanaryVerdict::RollBack(_)), "{:?}", after(2));
        // With half of the traffic, there is as little to compare it with.
        let half =
            |failures| canary(&OPTIONS, Duration::ZERO, &seen(failures, 0, 1), &seen(failures, failures, 1));
        assert_eq!(half(4), CanaryVerdict::Wait);
        assert!(matches!(half(6), CanaryVerdict::RollBack(_)), "{:?}", half(6));
    }

    #[test]
    fn difference_that_may_be_chance_keeps_a_canary_from_being_promoted_only() {
        let watched = Duration::from_secs(3600);
        let unclear = canary(&OPTIONS, watched, &seen(9000, 90, 1), &seen(1000, 25, 1));
        assert_eq!(unclear, CanaryVerdict::Wait);
        assert_eq!(
            canary(&OPTIONS, watched, &seen(36000, 360, 1), &seen(4000, 79, 1)),
            CanaryVerdict::Promote
        );
    }

    #[test]
    fn canary_that_gets_everything_is_held_to_its_bounds_alone() {
        let all = CanaryOptions { percent: 100.0, ..OPTIONS };
        let own = Seen { request_errors: 10, ..seen(100, 0, 1) };
        let judged = canary(&all, Duration::ZERO, &seen(0, 0, 1), &own);
        assert!(matches!(judged, CanaryVerdict::RollBack(_)), "{judged:?}");
        assert_eq!(
            canary(&OPTIONS, Duration::ZERO, &seen(0, 0, 1), &own),
            CanaryVerdict::Wait,
            "nothing beside it"
        );
    }

    /// One rollout of so many requests to the canary; the requests after which it was dropped.
    fn rollout(
        random: &mut fastrand::Rng,
        percent: f64,
        canary: f64,
        stable: f64,
        requests: u64,
    ) -> Option<u64> {
        let options = CanaryOptions { percent, ..OPTIONS };
        let (mut own, mut other) = (Seen::default(), Seen::default());
        while own.requests < requests {
            let to_canary = random.f64() * 100.0 < percent;
            let (seen, rate) = if to_canary { (&mut own, canary) } else { (&mut other, stable) };
            seen.requests += 1;
            seen.request_errors += u64::from(random.f64() < rate);
            if to_canary && request_error_rate(&options, &other, &own).0 == Standing::Above {
                return Some(own.requests);
            }
        }
        None
    }

    #[test]
    fn canary_of_the_same_code_is_kept_whatever_share_of_requests_fails() {
        let random = &mut fastrand::Rng::with_seed(1);
        let runs = if cfg!(miri) { 2 } else { 200 };
        for (percent, rate) in [(10.0, 0.002), (10.0, 0.05), (50.0, 0.05), (10.0, 0.3), (50.0, 0.3)] {
            let dropped = (0..runs).filter_map(|_| rollout(random, percent, rate, rate, 200)).count();
            assert!(dropped <= 2, "{dropped} of {runs} with {percent} % of requests, {rate} of which fail");
        }
    }

    #[test]
    fn canary_that_is_five_points_worse_is_dropped_and_one_that_only_fails_at_once() {
        let random = &mut fastrand::Rng::with_seed(2);
        for (canary, stable, within) in [(0.05, 0.0, 1000), (0.1, 0.05, 3000), (1.0, 0.0, 6), (1.0, 0.05, 6)]
        {
            for _ in 0..if cfg!(miri) { 1 } else { 20 } {
                let after = rollout(random, 10.0, canary, stable, within);
                assert!(after.is_some(), "{canary} against {stable} within {within}");
            }
        }
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
