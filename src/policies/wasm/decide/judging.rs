//! What becomes of a decision that the plugin did not make.
//!
//! If no worker may be chosen, choosing nobody is right. If one may, it is a failure, unless the plugin
//! may refuse requests.

use std::sync::Arc;
use std::time::Duration;

use crate::config::plugin::PluginOptions;
use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::decision::{Chooser, DecideError, FailureCause};
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::decide::call::{AskedGeneration, Attempt, Chosen};
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::decide::undecided::{PutOff, Undecided};
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::breaker::Pass;
use crate::policies::wasm::state::stats::DecisionStats;

/// Why there is no decision of this generation: nobody may be chosen, or it refused.
#[cold]
pub(crate) fn nobody<Q: Question, C: CandidateWorkers>(
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> DecideError {
    if Q::has_answer(workers, info) { DecideError::Refused { generation } } else { DecideError::NoWorker }
}

impl WasmPolicy {
    /// Judges an answer that failed the check. A refusal stands, and is counted, if the plugin may
    /// refuse.
    #[cold]
    pub(crate) fn judge_choice<T>(&self, failure: Box<Failure>, own: Option<&Arc<Generation>>) -> Attempt<T> {
        if let (Some(put_off), Some(generation)) = (failure.put_off, failure.generation) {
            return self.put_off(put_off, generation, own);
        }
        let may_refuse = own.filter(|own| failure.cause == FailureCause::NoChoice && own.options.may_refuse);
        let Some(generation) = may_refuse.map(|own| own.id) else { return self.judge(failure) };
        self.note(&failure);
        Attempt::Chosen(Chosen { answer: None, generation })
    }

    /// Counts an answer that chooses nobody on purpose. It stands, whoever gave it; how much a canary
    /// sheds is held against it all the same.
    #[cold]
    fn put_off<T>(&self, put_off: PutOff, generation: u64, own: Option<&Arc<Generation>>) -> Attempt<T> {
        let reasks = own.map_or(PluginOptions::DEFAULT_REASKS, |own| own.options.reasks);
        let count = |stats: &DecisionStats| match put_off {
            PutOff::Wait(_) => stats.wait(),
            PutOff::Shed(_) => stats.shed(),
        };
        match own {
            Some(own) => count(&own.stats),
            None => self.state().count(Some(generation), count),
        };
        if matches!(put_off, PutOff::Shed(_)) {
            self.failed_on_watch(generation);
        }
        Attempt::PutOff(Box::new(put_off.told(generation, reasks)))
    }

    /// Decides whether a failure stands. A canary's failure does not, nor does that of a generation
    /// taken out of use meanwhile: both are counted, and the stable generation is asked.
    #[cold]
    pub(crate) fn judge<T>(&self, failure: Box<Failure>) -> Attempt<T> {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return Attempt::Failed(failure) };
        let Some(id) = failure.generation else { return Attempt::Failed(failure) };
        if failure.out_of_use {
            // Another generation is stable by now, or the same one again: nothing has failed yet.
            return Attempt::Again(AskedGeneration::Stable);
        }
        if active.canary.as_ref().is_some_and(|canary| canary.generation.id == id) {
            self.note(&failure);
            if failure.cause == FailureCause::Timeout {
                self.lose(id);
            }
            return Attempt::Again(AskedGeneration::Stable);
        }
        Attempt::Failed(failure)
    }

    /// Counts and logs a failure, and tells the rollout.
    #[cold]
    pub(crate) fn note(&self, failure: &Failure) {
        let cause = failure.cause;
        let count = self.state().count(failure.generation, |stats| stats.fail(cause));
        self.state().note_failure(failure.generation, cause, &failure.detail);
        let (plugin, generation) = (self.name(), failure.generation);
        // Logs the 1st, 2nd, 4th, 8th … of a kind: the first shows at once, and none flood the log.
        if count.is_power_of_two() {
            tracing::warn!(plugin, generation, %cause, count, detail = failure.detail, "a decision failed");
        }
        let Some(generation) = generation else { return };
        if cause == FailureCause::Timeout && failure.counts {
            // The guest has spent its budget, perhaps on its caller's stack.
            if let Some(own) = self.in_use().as_ref().and_then(|active| active.find(generation)) {
                own.lane.took_long();
            }
        }
        self.failed_on_watch(generation);
    }

    /// The budget of the generation that serves.
    fn budget(&self) -> Duration {
        self.in_use().as_ref().map_or(Duration::ZERO, |active| active.stable.budget())
    }

    /// Counts a failure that stands, and tells the breaker.
    #[cold]
    pub(crate) fn fail(&self, pass: Pass<'_>, failure: &Failure) -> FailureCause {
        self.note(failure);
        let lost = if failure.cause == FailureCause::Timeout { self.budget() } else { Duration::ZERO };
        if failure.counts && pass.fail(lost) {
            let plugin = self.name();
            tracing::warn!(plugin, "the plugin keeps failing and is out of the path for a while");
        }
        failure.cause
    }

    /// What becomes of a decision that the plugin did not make.
    #[cold]
    pub(crate) fn fall_back<D>(
        &self,
        undecided: Undecided,
        decide: impl FnOnce(&NativePolicy, Chooser) -> Result<D, DecideError>,
    ) -> Result<D, DecideError> {
        match undecided {
            Undecided::Failed(cause) => self.fallback().decide(self.state(), cause, decide),
            Undecided::PutOff(told) => Err(*told),
        }
    }
}
