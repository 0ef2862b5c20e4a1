//! What it means that a plugin chose nobody.
//!
//! Where nobody may be chosen it is the right answer. Where somebody may be, it is a failure, unless
//! the plugin may refuse requests.

use std::sync::Arc;

use crate::core::candidates::Candidates;
use crate::policies::decision::DecideError;
use crate::policies::decision::FailureCause;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::wasm::decide::ask::Attempt;
use crate::policies::wasm::decide::call::Chosen;
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

/// Why there is no decision of this generation: nobody may be chosen, or it refused.
#[cold]
pub(crate) fn reason<Q: Question, C: Candidates + ?Sized>(
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> DecideError {
    if Q::has_answer(workers, info) { DecideError::Refused { generation } } else { DecideError::NoWorker }
}

impl WasmPolicy {
    /// What becomes of an answer that did not pass the check. The refusal of a plugin that may refuse
    /// stands, and is counted.
    #[cold]
    pub(crate) fn judge_choice<T>(&self, failure: Box<Failure>, own: Option<&Arc<Generation>>) -> Attempt<T> {
        let may_refuse = own.filter(|own| failure.cause == FailureCause::NoChoice && own.options.may_refuse);
        let Some(generation) = may_refuse.map(|own| own.id) else { return self.judge(failure) };
        self.note(&failure);
        Attempt::Chosen(Chosen { answer: None, generation })
    }
}
