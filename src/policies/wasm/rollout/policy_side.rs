//! Two policies beside each other: what is counted of each, and which of them stays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::rollout::CanaryOptions;
use crate::policies::decision::{Chooser, DecideError, FailureCause};
use crate::policies::wasm::rollout::canary_verdict;
use crate::policies::wasm::rollout::canary_verdict::CanaryVerdict;
use crate::policies::wasm::state::seen::Seen;
use crate::policies::wasm::state::stats::DecisionStats;

/// What is counted of a policy while another one places a share of the requests beside it: native policies
/// and plugins are counted alike.
#[derive(Debug, Default)]
pub struct PolicySide {
    stats: DecisionStats,
    /// Decisions that a plugin was not asked for, such as while its breaker is open: it failed before.
    passed_over: AtomicU64,
}

/// What was counted of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideCounts {
    /// Decisions that it was asked for.
    pub decisions: u64,
    /// Decisions that it failed at, sheds included.
    pub failures: u64,
    /// Finished requests that say something about its choices.
    pub requests: u64,
    /// Those of them that failed.
    pub request_errors: u64,
    /// The time that one decision in a hundred exceeds; `None` before one was timed.
    pub p99: Option<Duration>,
}

impl PolicySide {
    /// Counts a decision that begins; returns its start if it is one of the timed.
    pub fn begin(&self) -> Option<Instant> {
        self.stats.begin()
    }

    /// Counts how that decision ended.
    pub fn decided(&self, timer: Option<Instant>, decided: Result<Chooser, &DecideError>) {
        self.stats.end(timer);
        match decided {
            Ok(Chooser::Fallback { cause }) | Err(&DecideError::Rejected { cause }) => {
                self.fail(cause);
            }
            Err(DecideError::Refused { .. }) => {
                self.stats.fail(FailureCause::NoChoice);
            }
            Err(DecideError::Shed { .. }) => {
                self.stats.shed();
            }
            Err(DecideError::Wait(_)) => {
                self.stats.wait();
            }
            // Nobody could be chosen, which no policy can help.
            Ok(Chooser::Native | Chooser::Plugin { .. }) | Err(DecideError::NoWorker) => {}
        }
    }

    fn fail(&self, cause: FailureCause) {
        if cause.is_guests() {
            self.stats.fail(cause);
        } else {
            // Relaxed: a counter.
            self.passed_over.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> Seen {
        let seen = self.stats.seen();
        Seen { failures: seen.failures + self.passed_over.load(Ordering::Relaxed), ..seen }
    }

    /// Counts a finished request that it placed and that says something about the choice.
    pub fn finished(&self, success: bool) {
        self.stats.finish_request(success);
    }

    /// What was counted so far.
    pub fn counts(&self) -> SideCounts {
        let seen = self.seen();
        SideCounts {
            decisions: seen.decisions,
            failures: seen.failures,
            requests: seen.requests,
            request_errors: seen.request_errors,
            p99: seen.latency.quantile(0.99),
        }
    }

    /// Judges the policy of this side, on trial for so long, against the one beside it, by the bounds of a
    /// plugin's canary.
    pub fn judge(&self, options: &CanaryOptions, watched: Duration, stable: &Self) -> CanaryVerdict {
        canary_verdict::canary(options, watched, &stable.seen(), &self.seen())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: CanaryOptions = CanaryOptions {
        percent: 10.0,
        min_secs: 0,
        min_decisions: 100,
        max_failure_rate_increase: 0.01,
        max_request_error_rate_increase: 0.01,
        max_p99_ratio: 1.5,
        p99_slack_us: 1_000_000,
    };

    fn side(decisions: u64, decided: Result<Chooser, &DecideError>, errors: u64) -> PolicySide {
        let side = PolicySide::default();
        for number in 0..decisions {
            side.decided(side.begin(), decided);
            side.finished(number >= errors);
        }
        side
    }

    #[test]
    fn policy_that_fails_more_often_goes_and_one_that_is_as_good_stays() {
        let stable = side(900, Ok(Chooser::Native), 0);
        let verdict = |candidate: &PolicySide| candidate.judge(&OPTIONS, Duration::ZERO, &stable);
        assert_eq!(verdict(&side(100, Ok(Chooser::Plugin { generation: 1 }), 0)), CanaryVerdict::Promote);
        assert_eq!(verdict(&side(99, Ok(Chooser::Native), 0)), CanaryVerdict::Wait);
        let dropped =
            |decided: Result<Chooser, &DecideError>, errors| match verdict(&side(50, decided, errors)) {
                CanaryVerdict::RollBack(reason) => reason,
                other => panic!("{other:?}"),
            };
        // A plugin that fails is soon not asked any more: each request of those is one more that it failed.
        for cause in [FailureCause::Trap, FailureCause::BreakerOpen] {
            for decided in [Ok(Chooser::Fallback { cause }), Err(&DecideError::Rejected { cause })] {
                assert!(dropped(decided, 0).starts_with("failure rate 100.00 % (50 of 50)"));
            }
        }
        assert!(dropped(Err(&DecideError::Refused { generation: 1 }), 0).contains("no_choice"));
        assert!(dropped(Ok(Chooser::Native), 20).starts_with("request error rate 40.00 %"));
    }

    #[test]
    fn want_of_workers_is_no_failure_of_a_policy() {
        let counts = side(10, Err(&DecideError::NoWorker), 0).counts();
        assert_eq!((counts.decisions, counts.failures), (10, 0));
    }
}
