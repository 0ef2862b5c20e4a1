//! Warming instances, and trying a generation before it serves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use sgl_policy_abi::ABI_VERSION;
use sgl_policy_abi::export;
use sgl_policy_abi::init_error;

use crate::core::candidates::Candidates;
use crate::core::fleet::Fleet;
use crate::core::table::WorkerTable;
use crate::core::worker::WorkerRole;
use crate::core::worker::WorkerSpec;
use crate::engine::compiled::Compiled;
use crate::engine::error::CallError;
use crate::engine::error::EngineError;
use crate::engine::exports::Ask;
use crate::engine::exports::Tell;
use crate::engine::making::InitAnswer;
use crate::engine::pool::recipe::PoolTally;
use crate::engine::pool::recipe::Recipe;
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::init::InitMessage;
use crate::policies::wasm::message::reply::Choice;
use crate::policies::wasm::message::reply::decode_choice;
use crate::policies::wasm::message::reply::decode_pair;
use crate::policies::wasm::message::table;
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;
use crate::policies::wasm::state::plugin_state::LiveGeneration;
use crate::types::future::BoxFuture;
use crate::types::shown;

/// Workers of the made-up table.
const TRIAL_WORKERS: usize = 4;

/// How instances of one generation are made.
pub(crate) struct PluginRecipe {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) config: HashMap<String, serde_json::Value>,
    pub(crate) plan: Arc<WirePlan>,
    /// True if a decision changes what the guest remembers, so none may be made before it serves.
    pub(crate) serial: bool,
    /// Counts instances, of all generations.
    pub(crate) tally: Arc<PoolTally>,
    /// What the guests leave with the host.
    pub(crate) kept: Arc<Kept>,
    /// Lives as long as the pool: until the last instance is gone.
    pub(crate) live: LiveGeneration,
    /// Made with the first instance: `fresh` isolation makes one for each decision.
    pub(crate) warm_up: OnceLock<WarmUp>,
}

/// What an instance is sent before it serves: a table, and a question over it.
#[derive(Debug)]
pub(crate) struct WarmUp {
    /// What the guest does to counters and map while it warms up is nobody's business. One for all
    /// instances, whatever those before did to it: these are no decisions that anybody acts on.
    kept: Arc<Kept>,
    workers: Vec<u8>,
    select: Vec<u8>,
}

impl WarmUp {
    fn new(recipe: &PluginRecipe) -> Result<Self, CallError> {
        let table = trial_fleet().table();
        Ok(Self {
            kept: recipe.kept.detached(),
            workers: workers_message(&table)?,
            select: select_message(&recipe.plan, &table)?,
        })
    }
}

impl fmt::Debug for PluginRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginRecipe")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Recipe for PluginRecipe {
    fn tally(&self) -> Arc<PoolTally> {
        Arc::clone(&self.tally)
    }

    fn init_message(&self) -> Vec<u8> {
        InitMessage {
            abi: ABI_VERSION,
            plugin: &self.name,
            generation: self.generation,
            config: &self.config,
            seed: fastrand::u64(..),
        }
        .encode()
    }

    fn services(&self) -> Arc<dyn HostServices> {
        Arc::clone(&self.kept) as Arc<dyn HostServices>
    }

    fn warm<'a>(&'a self, trial: &'a mut Trial, answer: InitAnswer) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            accept(&answer)?;
            if self.serial {
                return Ok(());
            }
            let warm_up = match self.warm_up.get() {
                Some(made) => made,
                None => {
                    let made = WarmUp::new(self)?;
                    self.warm_up.get_or_init(|| made)
                }
            };
            let real = trial.swap_services(Arc::clone(&warm_up.kept) as Arc<dyn HostServices>);
            trial.tell(Tell::Workers, &warm_up.workers).await?;
            // Maps the pages that a decision needs.
            trial.ask(Ask::Select, &warm_up.select, |_| ()).await?;
            trial.swap_services(real);
            Ok(())
        })
    }
}

/// What the self-test found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrialFindings {
    /// True if the plugin returns state, so its calls must not overlap.
    pub(crate) returns_state: bool,
}

/// Lets a throw-away instance make a decision over made-up workers. Its host functions work on a
/// copy of the plugin's state.
///
/// # Errors
///
/// [`PluginError::Start`] if the instance cannot be made, [`PluginError::SelfTest`] if it traps,
/// takes too long, answers what no plugin may answer, or chooses nobody and is not one that
/// `may_refuse`.
pub(crate) async fn self_test(
    compiled: &Arc<Compiled>,
    recipe: &PluginRecipe,
    budget: Duration,
    may_refuse: bool,
) -> Result<TrialFindings, PluginError> {
    let services = recipe.kept.detached();
    let started = Trial::start(compiled, services, budget, &recipe.init_message()).await;
    let (mut trial, answer) = started.map_err(start_error)?;
    accept(&answer).map_err(|source| PluginError::Start { step: "init", source })?;
    let failed = |error: CallError| PluginError::SelfTest { reason: error.to_string() };
    let table = trial_fleet().table();
    let workers = workers_message(&table).map_err(failed)?;
    trial.tell(Tell::Workers, &workers).await.map_err(failed)?;
    let message = select_message(&recipe.plan, &table).map_err(failed)?;
    let reply = trial.ask(Ask::Select, &message, decode_choice).await.map_err(failed)?;
    let returns_state = reply.more.as_ref().is_some_and(|more| more.state.is_some());
    let pairs = trial.instance().can_ask(Ask::SelectPair);
    // One that chooses pairs may know of nothing else.
    judge(export::SELECT_WORKER, &reply.choice, may_refuse || pairs, |index| *index < table.len())?;
    if pairs {
        let reply = trial.ask(Ask::SelectPair, &message, decode_pair).await.map_err(failed)?;
        // Roles are checked with each decision.
        let exists = |(prefill, decode): &(usize, usize)| *prefill.max(decode) < table.len();
        judge(export::SELECT_WORKER_PAIR, &reply.choice, may_refuse, exists)?;
    }
    Ok(TrialFindings { returns_state })
}

/// Tells which step of starting failed.
pub(crate) fn start_error(error: EngineError) -> PluginError {
    match error {
        EngineError::FirstInstance { step, source } => PluginError::Start { step, source },
        other => PluginError::Engine(other),
    }
}

fn judge<T: fmt::Debug>(
    export: &str,
    choice: &Choice<T>,
    may_refuse: bool,
    exists: impl Fn(&T) -> bool,
) -> Result<(), PluginError> {
    let reason = match choice {
        Choice::Chosen(answer) if exists(answer) => return Ok(()),
        Choice::Nobody if may_refuse => return Ok(()),
        Choice::Error(error) => {
            // It may be right to refuse made-up workers; what it does with real ones is counted.
            tracing::warn!(error = shown(error), export, "the plugin answers its self-test with an error");
            return Ok(());
        }
        Choice::Nobody => format!(
            "`{export}` chose nobody of {TRIAL_WORKERS} workers that are healthy and idle: its answer was empty \
             or nil (an i64 result is pointer << 32 | length; an i32 one points to a length and that many \
             bytes). If it is meant to refuse, set the option may_refuse = true; if it can only choose workers \
             that it knows, set self_test = false"
        ),
        Choice::Chosen(answer) => format!("it chose worker {answer:?} of {TRIAL_WORKERS}"),
        Choice::Malformed(error) => format!("its answer is malformed: {error}"),
    };
    Err(PluginError::SelfTest { reason })
}

fn accept(answer: &InitAnswer) -> Result<(), CallError> {
    let reason = match init_error(&answer.0) {
        Ok(None) => return Ok(()),
        Ok(Some(error)) => shown(error),
        Err(error) => format!("`init` gave a malformed answer: {error}"),
    };
    Err(CallError::Refused { reason })
}

fn workers_message(table: &WorkerTable) -> Result<Vec<u8>, CallError> {
    let mut message = vec![0; table::workers_bound(table)];
    let capacity = message.len();
    let used = table::encode_workers(&mut message, table).ok_or(CallError::MessageTooLarge { capacity })?;
    message.truncate(used);
    Ok(message)
}

fn select_message(plan: &WirePlan, table: &WorkerTable) -> Result<Vec<u8>, CallError> {
    let info = SelectWorkerInfo { request_text: Some("self-test"), ..SelectWorkerInfo::default() };
    let mut message = vec![0; plan.bound(table, &info, &[])];
    let capacity = message.len();
    let used = plan
        .encode(&mut message, table, &info, &[], Draw::Fresh)
        .ok_or(CallError::MessageTooLarge { capacity })?;
    message.truncate(used);
    Ok(message)
}

/// Made-up workers of every role, all healthy and idle.
fn trial_fleet() -> Fleet {
    let fleet = Fleet::new();
    for index in 0..TRIAL_WORKERS {
        let role = match index {
            0 => WorkerRole::Prefill,
            1 => WorkerRole::Decode,
            _ => WorkerRole::Regular,
        };
        let spec = WorkerSpec { role, ..WorkerSpec::new(format!("http://self-test-{index}.invalid")) };
        // Each URL is added once, to a new fleet.
        let _ = fleet.add(spec, true);
    }
    fleet
}
