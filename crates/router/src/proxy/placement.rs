//! A request at the worker that it was placed at, from the decision to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::manage::placing::RequestPolicy;
use crate::proxy::circuit::CircuitPass;
use crate::proxy::stream_tokens::TokensCame;
use crate::proxy::target::Target;
use crate::proxy::token_usage::TokenUsage;
use crate::proxy::verdict::Verdict;
use sglang_router_rs::core::{InFlight, Worker};
use sglang_router_rs::policies::{
    Chooser, Decision, OutcomeNeeds, PolicyHandle, PolicySide, RequestCompletion, RequestFirstToken,
};

/// The status of a request whose worker did not answer, or did not finish its answer.
const BROKE_OFF: u16 = 502;

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
    /// The tag that it gave along with its choice.
    tag: Option<u64>,
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
    /// The status of the answer, or the code of the last error that it told of.
    status: Option<u16>,
    usage: TokenUsage,
    /// The policy, if it listens: telling needs an allocation.
    listener: Option<PolicyHandle>,
    /// What it listens for.
    needs: OutcomeNeeds,
    /// Where the outcome is counted while a policy is on trial.
    side: Option<Arc<PolicySide>>,
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// A stream of events: a token each, as a rule, and the first of them tells of the first token.
    Events,
    /// Anything else, which comes when all tokens are there.
    Whole,
}

impl Placement {
    /// `None` if the circuit does not let the request through.
    pub(crate) fn new(target: &Arc<Target>, decision: Decision, policy: &RequestPolicy) -> Option<Self> {
        let pass = target.circuit().enter()?;
        if pass == CircuitPass::Probe {
            target.refresh();
        }
        let needs = policy.handle().outcome_needs();
        let placed = Instant::now();
        let (chooser, tag) = (decision.chooser(), decision.tag());
        let mut in_flight = decision.into_in_flight();
        in_flight.sent(placed);
        Some(Self {
            chooser,
            tag,
            in_flight: Some(in_flight),
            target: Arc::clone(target),
            pass,
            verdict: Verdict::Abandoned,
            settled: false,
            broke_its_word: false,
            placed,
            deaths: target.deaths(),
            first_byte: None,
            status: None,
            usage: TokenUsage::default(),
            listener: (needs.completions || needs.first_tokens).then(|| policy.handle().clone()),
            needs,
            side: policy.side().cloned(),
        })
    }

    /// The worker.
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What the policy wants to hear.
    pub(crate) fn needs(&self) -> OutcomeNeeds {
        self.needs
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
        self.status = Some(status);
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

    /// The first byte of the answer's body came; of a stream of events, its first event.
    pub(crate) fn first_byte(&mut self, now: Instant, form: AnswerForm) {
        let after = now - self.placed;
        self.first_byte = Some(after);
        if let Some(in_flight) = &mut self.in_flight {
            match form {
                AnswerForm::Events if self.verdict == Verdict::Served => in_flight.first_token(now),
                AnswerForm::Events | AnswerForm::Whole => in_flight.begun(),
            }
        }
        self.target.stir();
        if self.verdict == Verdict::Served {
            self.target.worker().observe_latency(after.as_secs_f32() * 1e3);
            self.admitted();
            if self.pass == CircuitPass::Probe {
                self.tell_circuit(Verdict::Served);
            }
        }
    }

    /// The first event of a streamed answer came.
    pub(crate) fn first_token(&self, now: Instant) {
        let Some(policy) = self.listener.as_ref().filter(|_| self.verdict == Verdict::Served) else { return };
        policy.on_first_token(&RequestFirstToken {
            worker_url: self.target.worker().url().to_owned(),
            chooser: self.chooser,
            after: now - self.placed,
            tag: self.tag,
        });
    }

    /// The answer said how many tokens it took.
    pub(crate) fn used(&mut self, usage: TokenUsage) {
        self.usage = usage;
        if let (Some(in_flight), Some(tokens)) = (&mut self.in_flight, usage.completion_tokens) {
            in_flight.generated_in_all(tokens);
        }
    }

    /// What the answer said so far of tokens.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.usage
    }

    /// True if somebody wants to know how many tokens came.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.in_flight.as_ref().is_some_and(InFlight::is_booked)
    }

    /// Tokens came.
    pub(crate) fn generated(&mut self, tokens: TokensCame) {
        let Some(in_flight) = &mut self.in_flight else { return };
        match tokens {
            TokensCame::More(tokens) => in_flight.generated(tokens),
            TokensCame::InAll(tokens) => in_flight.generated_in_all(tokens),
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

    /// Whoever carried the request has had it served by another worker than the one that it was placed at,
    /// which is not judged then: nobody says whether it was tried at all.
    #[cfg(feature = "envoy")]
    pub(crate) fn move_to(&mut self, target: &Arc<Target>) {
        let Some(before) = self.in_flight.take() else { return };
        let mut in_flight = InFlight::on_fleet(target.worker());
        in_flight.sent(self.placed);
        self.in_flight = Some(in_flight);
        drop(before);
        self.tell_circuit(Verdict::Abandoned);
        self.target.left();
        self.target.stir();
        self.target = Arc::clone(target);
        self.deaths = target.deaths();
        // One that its circuit does not let through was asked all the same.
        self.pass = target.circuit().enter().unwrap_or(CircuitPass::Ordinary);
        if self.pass == CircuitPass::Probe {
            target.refresh();
        }
    }

    /// The worker is done with the request, though its answer may still be kept: it counts as in
    /// flight no longer, and the policy is told.
    pub(crate) fn leave(&mut self) {
        self.settle(Verdict::Abandoned);
        let Some(in_flight) = self.in_flight.take() else { return };
        drop(in_flight);
        self.target.left();
        self.target.stir();
        let success = !self.broke_its_word && matches!(self.verdict, Verdict::Served | Verdict::Refused);
        let judged = !matches!(self.verdict, Verdict::Full | Verdict::Abandoned);
        if let Some(side) = self.side.as_ref().filter(|_| judged) {
            side.finished(success);
        }
        if let Some(policy) = self.listener.as_ref().filter(|_| self.needs.completions) {
            policy.on_request_complete(&RequestCompletion {
                success,
                judged,
                status: self.told_status(),
                first_byte: self.first_byte,
                total: self.placed.elapsed(),
                prompt_tokens: self.usage.prompt_tokens,
                completion_tokens: self.usage.completion_tokens,
                cached_tokens: self.usage.cached_tokens,
                tag: self.tag,
                ..RequestCompletion::new(self.target.worker().url(), self.chooser)
            });
        }
    }

    /// The status that the policy is told. A worker that did not answer, or broke off what it had begun
    /// well, failed as a gateway would say it: only of a request that was cancelled there is no status.
    fn told_status(&self) -> Option<u16> {
        match self.verdict {
            Verdict::Abandoned => None,
            Verdict::Failed => Some(
                self.status.filter(|status| Verdict::of(*status) == Verdict::Failed).unwrap_or(BROKE_OFF),
            ),
            Verdict::Served | Verdict::Refused | Verdict::Full => self.status,
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
