//! Trying a generation before it serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sgl_policy_abi::export;

use crate::engine::compiled::Compiled;
use crate::engine::error::CallError;
use crate::engine::exports::{Ask, Tell};
use crate::engine::pool::recipe::Recipe;
use crate::engine::trial::Trial;
use crate::policies::decision::Placed;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::plugin_recipe::{PluginRecipe, accept};
use crate::policies::wasm::load::rehearsal::{REHEARSAL_WORKERS, Rehearsal};
use crate::policies::wasm::message::reply::{GuestChoice, decode_choice, decode_pair};
use crate::types::shown;

/// What the self-test found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrialFindings {
    /// True if the plugin returns state, so its calls must not overlap.
    pub(crate) returns_state: bool,
}

/// Makes a throw-away instance decide over made-up workers. Its host functions work on a copy of the
/// plugin's state.
///
/// # Errors
///
/// [`PluginError::Start`] if the instance cannot be made. [`PluginError::SelfTest`] if it traps, takes
/// too long, gives an invalid answer, or chooses nobody although it may not refuse (`may_refuse`).
pub(crate) async fn self_test(
    compiled: &Arc<Compiled>,
    recipe: &PluginRecipe,
    budget: Duration,
    may_refuse: bool,
) -> Result<TrialFindings, PluginError> {
    let services = recipe.kept.detached();
    let started = Trial::start(compiled, services, budget, &recipe.init_message()).await;
    let (mut trial, answer) = started.map_err(PluginError::of_start)?;
    accept(&answer).map_err(|source| PluginError::Start { step: "init", source })?;
    let failed = |error: CallError| PluginError::SelfTest { reason: error.to_string() };
    let Rehearsal { workers, question } = Rehearsal::new(&recipe.plan).map_err(failed)?;
    trial.tell(Tell::Workers, &workers).await.map_err(failed)?;
    let reply = trial.ask(Ask::Select, &question, decode_choice).await.map_err(failed)?;
    let returns_state = reply.more.as_ref().is_some_and(|more| more.state.is_some());
    let pairs = trial.instance().can_ask(Ask::SelectPair);
    // A plugin that chooses pairs may not know what to do with a single worker.
    judge(export::SELECT_WORKER, &reply.choice, may_refuse || pairs, |placed| {
        placed.index < REHEARSAL_WORKERS
    })?;
    if pairs {
        let reply = trial.ask(Ask::SelectPair, &question, decode_pair).await.map_err(failed)?;
        // The check of each decision checks the roles.
        let exists =
            |(prefill, decode): &(Placed, Placed)| prefill.index.max(decode.index) < REHEARSAL_WORKERS;
        judge(export::SELECT_WORKER_PAIR, &reply.choice, may_refuse, exists)?;
    }
    Ok(TrialFindings { returns_state })
}

fn judge<T: fmt::Debug>(
    export: &str,
    choice: &GuestChoice<T>,
    may_refuse: bool,
    exists: impl Fn(&T) -> bool,
) -> Result<(), PluginError> {
    let reason = match choice {
        GuestChoice::Chosen(answer) if exists(answer) => return Ok(()),
        GuestChoice::Nobody | GuestChoice::Shed(_) if may_refuse => return Ok(()),
        GuestChoice::Error(error) => {
            // Refusing made-up workers may be right; errors over real ones are counted.
            tracing::warn!(error = shown(error), export, "the plugin answers its self-test with an error");
            return Ok(());
        }
        GuestChoice::Nobody => format!(
            "`{export}` chose nobody of {REHEARSAL_WORKERS} workers that are healthy and idle: its answer was empty \
             or nil (an i64 result is pointer << 32 | length; an i32 one points to a length and that many \
             bytes). If it is meant to refuse, set the option may_refuse = true; if it can only choose workers \
             that it knows, set self_test = false"
        ),
        GuestChoice::Shed(_) => format!(
            "`{export}` refused (`shed`) a request though {REHEARSAL_WORKERS} workers are healthy and idle. If it \
             is meant to, set the option may_refuse = true, or self_test = false"
        ),
        GuestChoice::Wait(_) => format!(
            "`{export}` had a request wait though {REHEARSAL_WORKERS} workers are healthy and idle, and though \
             nothing may wait (`may_wait_ms` is 0): such an answer is a failure (`wait_over`). If it can only \
             choose workers that it knows, set self_test = false"
        ),
        GuestChoice::Chosen(answer) => format!("it chose worker {answer:?} of {REHEARSAL_WORKERS}"),
        GuestChoice::Malformed(error) => format!("its answer is malformed: {error}"),
    };
    Err(PluginError::SelfTest { reason })
}
