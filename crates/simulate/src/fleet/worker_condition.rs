//! How a candidate is, and what the router believes of it.

/// Failures in a row that open a circuit, as of the router.
const CIRCUIT_FAILURES: u32 = 10;
/// Failed checks after which a worker is ill, and passed ones after which it is well again.
const FAILED_CHECKS: u32 = 3;
const PASSED_CHECKS: u32 = 2;

/// A circuit, as the router has one for each candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CircuitStand {
    /// Requests pass.
    Closed,
    /// None does.
    Open,
    /// The next one tells.
    HalfOpen {
        /// It is under way.
        is_probed: bool,
    },
}

/// How a candidate is, and what the router believes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerCondition {
    /// Whether it takes connections.
    pub(crate) is_down: bool,
    /// Until when it stands still.
    pub(crate) hangs_until: f64,
    /// The share of requests that it answers with an error.
    pub(crate) fail_share: f64,
    /// Whether it lost what it knew and the router does not know that.
    pub(crate) is_unnoticed: bool,
    is_passing: bool,
    /// Checks in a row that said otherwise.
    against: u32,
    circuit: CircuitStand,
    failures: u32,
}

impl WorkerCondition {
    /// All is well.
    pub(crate) const WELL: Self = Self {
        is_down: false,
        hangs_until: 0.0,
        fail_share: 0.0,
        is_unnoticed: false,
        is_passing: true,
        against: 0,
        circuit: CircuitStand::Closed,
        failures: 0,
    };

    /// True if the router lets requests through to it.
    pub(crate) fn is_fit(&self) -> bool {
        let admits = !matches!(self.circuit, CircuitStand::Open | CircuitStand::HalfOpen { is_probed: true });
        self.is_passing && admits
    }

    /// True if it answers checks and questions.
    pub(crate) fn answers(&self, now: f64) -> bool {
        !self.is_down && self.hangs_until <= now
    }

    /// Its health was checked.
    pub(crate) fn check(&mut self, now: f64) {
        let passed = self.answers(now);
        self.against = if passed == self.is_passing { 0 } else { self.against + 1 };
        if self.against >= if passed { PASSED_CHECKS } else { FAILED_CHECKS } {
            self.is_passing = passed;
            self.against = 0;
        }
    }

    /// A request goes to it.
    pub(crate) fn enter(&mut self) {
        if let CircuitStand::HalfOpen { is_probed } = &mut self.circuit {
            *is_probed = true;
        }
    }

    /// It answers one.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        if matches!(self.circuit, CircuitStand::HalfOpen { .. }) {
            self.circuit = CircuitStand::Closed;
        }
    }

    /// It failed at one; true if the circuit opens with that.
    pub(crate) fn fail(&mut self) -> bool {
        self.failures += 1;
        let opens = match self.circuit {
            CircuitStand::Closed => self.failures >= CIRCUIT_FAILURES,
            CircuitStand::HalfOpen { is_probed } => is_probed,
            CircuitStand::Open => false,
        };
        if opens {
            self.circuit = CircuitStand::Open;
        }
        opens
    }

    /// The circuit was open for long enough.
    pub(crate) fn may_be_probed(&mut self) {
        if self.circuit == CircuitStand::Open {
            self.circuit = CircuitStand::HalfOpen { is_probed: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_in_a_row_decide_who_is_well() {
        let mut worker = WorkerCondition { is_down: true, ..WorkerCondition::WELL };
        let mut after = |is_down: bool| {
            worker.is_down = is_down;
            worker.check(0.0);
            worker.is_fit()
        };
        assert_eq!(
            [true, true, false, true, true, true].map(&mut after),
            [true, true, true, true, true, false]
        );
        assert_eq!([false, true, false, false].map(&mut after), [false, false, false, true]);
        let mut hangs = WorkerCondition { hangs_until: 50.0, ..WorkerCondition::WELL };
        [10.0, 20.0, 30.0].into_iter().for_each(|now| hangs.check(now));
        assert!(!hangs.is_fit());
        [50.0, 60.0].into_iter().for_each(|now| hangs.check(now));
        assert!(hangs.is_fit());
    }

    #[test]
    fn circuit_opens_after_ten_failures_in_a_row_and_one_request_closes_it() {
        let mut worker = WorkerCondition::WELL;
        (0..9).for_each(|_| assert!(!worker.fail()));
        worker.succeed();
        (0..9).for_each(|_| assert!(!worker.fail()));
        assert!(worker.is_fit() && worker.fail() && !worker.is_fit() && !worker.fail());
        worker.may_be_probed();
        assert!(worker.is_fit());
        worker.enter();
        assert!(!worker.is_fit() && worker.fail());
        worker.may_be_probed();
        worker.enter();
        worker.succeed();
        assert!(worker.is_fit() && !worker.fail());
    }
}
