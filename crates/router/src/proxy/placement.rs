//! A request at the worker that it was placed at, from the decision to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proxy::circuit::CircuitPass;
use crate::proxy::target::Target;
use crate::proxy::verdict::Verdict;
use sglang_router_rs::core::{InFlight, Worker};
use sglang_router_rs::policies::{Chooser, Decision, PolicyHandle, RequestCompletion};

/// A request that was placed at a worker. Until it is dropped, or the worker is done with it, it counts
/// as in flight; then the policy is told, whatever became of the request.
///
/// The outcome is reported once: a refusal or an error when it is known, a success at the end, since a
/// stream that breaks off is a failure, however well it began. Only a probe of the circuit is judged by
/// its first bytes, since the others wait for it and a stream may last for minutes; if it breaks off
/// later, that counts as an ordinary failure.
#[derive(Debug)]
pub(crate) struct Placement {
    /// `None` once the worker is done with it.
    in_flight: Option<InFlight>,
    /// Who had chosen the worker.
    chooser: Chooser,
    target: Arc<Target>,
    pass: CircuitPass,
    /// What the answer says so far.
    verdict: Verdict,
    settled: bool,
    /// Whether its stream told of an error after it had begun.
    broke_its_word: bool,
    placed: Instant,
    /// How often the worker had been found dead before.
    deaths: u64,
    first_byte: Option<Duration>,
    /// The policy, if it listens: telling needs an allocation.
    listener: Option<PolicyHandle>,
}

impl Placement {
    /// `None` if the circuit does not let the request through.
    pub(crate) fn new(target: &Arc<Target>, decision: Decision, policy: &PolicyHandle) -> Option<Self> {
        let pass = target.circuit().enter()?;
        if pass == CircuitPass::Probe {
            target.refresh();
        }
        Some(Self {
            chooser: decision.chooser(),
            in_flight: Some(decision.into_in_flight()),
            target: Arc::clone(target),
            pass,
            verdict: Verdict::Abandoned,
            settled: false,
            broke_its_word: false,
            placed: Instant::now(),
            deaths: target.deaths(),
            first_byte: None,
            listener: policy.wants_completions().then(|| policy.clone()),
        })
    }

    /// The worker.
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// How often the worker had been found dead when the request was placed.
    pub(crate) fn deaths(&self) -> u64 {
        self.deaths
    }

    /// What the answer says so far; [`Verdict::Abandoned`] before there is one.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// An answer began, or told of an error later on. `retry_after` is what a full worker asks for.
    pub(crate) fn answered(&mut self, status: u16, retry_after: impl FnOnce() -> Option<Duration>) {
        let verdict = Verdict::of(status);
        self.broke_its_word |= self.verdict == Verdict::Served && verdict != Verdict::Served;
        if verdict == Verdict::Full {
            self.target.fullness().tell(retry_after());
            self.target.refresh();
        }
        if verdict == Verdict::Served {
            self.verdict = verdict;
        } else {
            self.settle(verdict);
        }
    }

    /// The first byte of the answer's body came.
    pub(crate) fn first_byte(&mut self, now: Instant) {
        let after = now - self.placed;
        self.first_byte = Some(after);
        if self.verdict == Verdict::Served {
            self.target.worker().observe_latency(after.as_secs_f32() * 1e3);
            self.admitted();
            if self.pass == CircuitPass::Probe {
                self.tell_circuit(Verdict::Served);
            }
        }
    }

    /// The whole answer came.
    pub(crate) fn complete(&mut self) {
        if !self.settled {
            self.admitted();
            self.settle(Verdict::Served);
        }
    }

    /// The worker did not do its part.
    pub(crate) fn fail(&mut self) {
        self.settle(Verdict::Failed);
    }

    /// The worker is done with the request, though its answer may still be kept: it counts as in
    /// flight no longer, and the policy is told.
    pub(crate) fn leave(&mut self) {
        self.settle(Verdict::Abandoned);
        let Some(in_flight) = self.in_flight.take() else { return };
        drop(in_flight);
        self.target.left();
        if let Some(policy) = &self.listener {
            policy.on_request_complete(&RequestCompletion {
                worker_url: self.target.worker().url().to_owned(),
                chooser: self.chooser,
                success: !self.broke_its_word && matches!(self.verdict, Verdict::Served | Verdict::Refused),
                judged: !matches!(self.verdict, Verdict::Full | Verdict::Abandoned),
                first_byte: self.first_byte,
                total: self.placed.elapsed(),
                prompt_tokens: None,
                completion_tokens: None,
            });
        }
    }

    fn admitted(&self) {
        if self.target.fullness().served() {
            self.target.refresh();
        }
    }

    fn settle(&mut self, verdict: Verdict) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.verdict = verdict;
        self.target.count(verdict);
        self.tell_circuit(verdict);
    }

    fn tell_circuit(&mut self, verdict: Verdict) {
        let circuit = self.target.circuit();
        let pass = std::mem::replace(&mut self.pass, CircuitPass::Ordinary);
        let (changed, why) = match verdict {
            Verdict::Served => (circuit.succeed(pass), "a probe succeeded"),
            Verdict::Failed => (circuit.fail(pass), "too many requests failed"),
            // Says nothing of its health: the next request is the probe. A refusal neither, since a
            // front that checks requests goes on refusing them when the engine behind it is gone.
            Verdict::Refused | Verdict::Full | Verdict::Abandoned => {
                if circuit.abandon(pass) {
                    self.target.refresh();
                }
                return;
            }
        };
        if changed {
            self.target.refresh();
            let state = circuit.state().as_str();
            tracing::warn!(worker = self.target.worker().url(), state, "circuit breaker: {why}");
        }
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.leave();
    }
}
