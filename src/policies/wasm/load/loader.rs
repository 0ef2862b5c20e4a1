//! From a module's source to a generation that is ready to decide. None of this runs on the request
//! path, and a failure leaves nothing behind.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sgl_policy_abi::{Concurrency, Input};

use crate::config::plugin::{Isolation, PluginOptions, WasmPolicyConfig};
use crate::config::plugin_faults::plugin_faults;
use crate::config::rollout::Rollout;
use crate::config::syscalls;
use crate::engine::compiled::Compiled;
use crate::engine::compiler_process::{StillWanted, Supplier};
use crate::engine::pool::Pool;
use crate::engine::pool::options::PoolOptions;
use crate::engine::sandbox::{SandboxSpec, TmpLimits};
use crate::engine::wasm_engine::Engine;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::{Generation, GenerationParts};
use crate::policies::wasm::load::instance_seeds::InstanceSeeds;
use crate::policies::wasm::load::load_request::Load;
use crate::policies::wasm::load::module_check::{ModuleFacts, check_magic, check_module};
use crate::policies::wasm::load::plugin_recipe::PluginRecipe;
use crate::policies::wasm::load::progress::LoadStep;
use crate::policies::wasm::load::provenance::Supply;
use crate::policies::wasm::load::secret_headers;
use crate::policies::wasm::load::self_test::{TrialFindings, self_test};
use crate::policies::wasm::load::source::{Source, check_digest, check_pin, check_size, read_module};
use crate::policies::wasm::load::trust::origin::ModuleBytes;
use crate::policies::wasm::load::trust::rules::TrustPolicy;
use crate::policies::wasm::message::config_headers;
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;
use crate::policies::wasm::state::plugin_state::{LiveGeneration, PluginState};
use crate::policies::wasm::state::shared_map::MapLimits;

/// Longest time for reading, checking and compiling in this process. The thread that compiles cannot be
/// stopped: it goes on by itself, at low priority, and the next module waits for it.
const COMPILE_LIMIT: Duration = Duration::from_secs(60);

/// Shortest budget of each step of making an instance: `init` may take longer than a decision.
const MIN_MAKE_BUDGET: Duration = Duration::from_secs(1);

/// A module that was checked and compiled.
struct Ready {
    digest: String,
    supply: Supply,
    facts: ModuleFacts,
    compiled: Arc<Compiled>,
}

/// Makes a generation, on the engine's threads for that.
///
/// # Errors
///
/// [`PluginError`]: the first step that failed.
///
/// # Cancel safety
///
/// Dropping the future drops what was made so far.
pub(crate) async fn prepare(
    engine: &Arc<Engine>,
    state: Arc<PluginState>,
    load: Load,
    trust: Arc<TrustPolicy>,
) -> Result<Generation, PluginError> {
    let own_engine = Arc::clone(engine);
    let work = async move { make(&own_engine, &state, load, trust).await };
    engine.preparation.run(work).await.unwrap_or(Err(PluginError::ShuttingDown))
}

/// Makes a generation.
///
/// # Errors
///
/// [`PluginError`]: the first step that failed.
///
/// # Cancel safety
///
/// Dropping the future drops what was made so far.
async fn make(
    engine: &Arc<Engine>,
    state: &Arc<PluginState>,
    load: Load,
    trust: Arc<TrustPolicy>,
) -> Result<Generation, PluginError> {
    check_settings(&load.config, &load.options)?;
    let (config, options, progress) = (load.config.clone(), load.options.clone(), Arc::clone(&load.progress));
    let seeds = InstanceSeeds::new(load.seed);
    let kept = kept(state, options.rollout).await;
    if options.rollout != Rollout::Immediate || state.live_generations() == 0 {
        // Nobody else writes to it. Else the limits of the one that serves hold until this one does.
        kept.limit_map(MapLimits::of(&options));
    }
    let ready = compile(engine, &kept, load, trust).await?;
    let manifest = &ready.facts.manifest;
    let serial = manifest.concurrency == Concurrency::Serial;
    let inputs = inputs(&ready.facts, &config)?;
    let plan = Arc::new(WirePlan::new(manifest.wire, &inputs, &config.config, config.max_memory_bytes));
    let id = Generation::next_id();
    let live = LiveGeneration::new(id, state);
    let stats = Arc::clone(live.stats());
    let recipe = PluginRecipe {
        name: config.name.clone(),
        generation: id,
        config: config.config.clone(),
        plan: Arc::clone(&plan),
        serial,
        seeds,
        tally: Arc::clone(&state.instances),
        kept: Arc::clone(&kept),
        live,
        warm_up: OnceLock::new(),
    };
    let budget = Duration::from_millis(config.max_execution_time_ms).max(MIN_MAKE_BUDGET);
    let findings = if options.self_test {
        progress(LoadStep::SelfTest);
        self_test(&ready.compiled, &recipe, budget, options.may_refuse).await?
    } else {
        TrialFindings { returns_state: false }
    };
    progress(LoadStep::Warm);
    let pool_options = pool_options(&options, serial, budget);
    let pool =
        Pool::new(ready.compiled, Arc::new(recipe), pool_options).await.map_err(PluginError::of_start)?;
    // After everything that may fail: the serving generation may share this state.
    if plan.is_rows() && findings.returns_state {
        kept.expect_rows();
    }
    Ok(Generation::new(GenerationParts {
        id,
        digest: ready.digest,
        facts: ready.facts,
        supply: ready.supply,
        config,
        options,
        plan,
        pool,
        stats,
        kept,
    }))
}

/// Checks the settings. A reserved name has an error of its own: another name is all it needs.
fn check_settings(config: &WasmPolicyConfig, options: &PluginOptions) -> Result<(), PluginError> {
    let built_in = NativePolicy::NAMES;
    let name = config.name.clone();
    if built_in.contains(&name.as_str()) {
        return Err(PluginError::ReservedName { name, built_in: built_in.to_vec() });
    }
    let faults = plugin_faults(config, options, &built_in);
    if faults.is_empty() { Ok(()) } else { Err(PluginError::Config { name, faults }) }
}

/// What the new generation keeps: after a direct push what there is already, for a candidate a copy of
/// its own until it is promoted.
async fn kept(state: &PluginState, rollout: Rollout) -> Arc<Kept> {
    let serving = state.serving();
    match rollout {
        Rollout::Immediate => serving,
        Rollout::Canary(_) | Rollout::Shadow(_) => serving.fork().await,
    }
}

fn pool_options(options: &PluginOptions, serial: bool, make_budget: Duration) -> PoolOptions {
    PoolOptions {
        min_warm: if serial { 1 } else { options.min_warm },
        max_instances: if serial { 1 } else { options.max_instances },
        max_waiting: options.max_waiting,
        // A serial plugin has its memory in this one instance.
        irreplaceable: serial,
        fresh: !serial && options.isolation == Isolation::Fresh,
        recycle_after_calls: if serial { 0 } else { options.recycle_after_calls },
        recycle_after: Duration::from_secs(if serial { 0 } else { options.recycle_after_secs }),
        recycle_growth_bytes: if serial { 0 } else { options.recycle_growth_bytes },
        make_budget,
    }
}

/// Reads, checks and compiles on a thread that may block.
async fn compile(
    engine: &Arc<Engine>,
    kept: &Kept,
    load: Load,
    trust: Arc<TrustPolicy>,
) -> Result<Ready, PluginError> {
    let (config, options) = (&load.config, &load.options);
    let directory = if config.allowed_syscalls.iter().any(|name| syscalls::is_file_function(name)) {
        Some(kept.directory()?)
    } else {
        None
    };
    let spec = SandboxSpec {
        max_memory_bytes: config.max_memory_bytes,
        allowed_syscalls: config.allowed_syscalls.clone(),
        directory,
        tmp_limits: TmpLimits { max_bytes: options.max_tmp_bytes, max_files: options.max_tmp_files },
    };
    let engine = Arc::clone(engine);
    // A process that compiles has a limit of its own.
    let own_limit = engine.compiler.as_ref().map_or(Duration::ZERO, |compiler| compiler.max_time);
    let limit = COMPILE_LIMIT.max(own_limit + Duration::from_secs(5));
    let (_wanted, supplier) = StillWanted::new();
    let work = move || ready(&engine, load, &trust, spec, &supplier);
    // On a thread of the preparation runtime, where `prepare` itself runs.
    let compiled = tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await;
    match compiled.map_err(|_| PluginError::CompileTime { limit })? {
        Ok(ready) => ready,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(PluginError::ShuttingDown),
        },
    }
}

/// Reads, checks and compiles.
fn ready(
    engine: &Arc<Engine>,
    load: Load,
    trust: &TrustPolicy,
    spec: SandboxSpec,
    supplier: &Supplier,
) -> Result<Ready, PluginError> {
    let Load { config, options, source, progress, .. } = load;
    let pin = options.digest.as_deref();
    progress(LoadStep::Read);
    let module = match source {
        Source::File => read_module(Path::new(&config.module_path))?,
        Source::Module(module) => module,
        Source::Reuse(known) => return reuse(&known, spec, &config, &options, trust),
    };
    progress(LoadStep::Verify);
    check_size(module.wasm.len())?;
    let digest = check_digest(&module.wasm, pin)?;
    check_magic(&module.wasm)?;
    // Before reading anything else in it.
    let vouched = trust.check(&module)?;
    let ModuleBytes { wasm, signature, origin } = module;
    let facts = check_module(&wasm, spec.max_memory_bytes, &spec.allowed_syscalls)?;
    secret_headers::check(&inputs(&facts, &config)?, &options.allowed_secret_headers)?;
    for oversight in &facts.oversights {
        tracing::warn!(plugin = config.name, oversight, "the module seems to have forgotten something");
    }
    progress(LoadStep::Compile);
    let compiled = Arc::new(Compiled::while_wanted(engine, &wasm, spec, supplier)?);
    Ok(Ready { digest, facts, compiled, supply: Supply { origin, signature, vouched } })
}

/// What the module declares, with the headers that the configuration names.
fn inputs(facts: &ModuleFacts, config: &WasmPolicyConfig) -> Result<Vec<Input>, PluginError> {
    let name = config.name.clone();
    config_headers::resolved(&facts.manifest.inputs, &config.config)
        .map_err(|faults| PluginError::Config { name, faults })
}

fn reuse(
    known: &Generation,
    spec: SandboxSpec,
    config: &WasmPolicyConfig,
    options: &PluginOptions,
    trust: &TrustPolicy,
) -> Result<Ready, PluginError> {
    check_pin(&known.digest, options.digest.as_deref())?;
    // Its bytes are gone, but its signers are known.
    trust.check_again(&known.supply.origin, &known.supply.vouched.signers)?;
    known.facts.check_limits(spec.max_memory_bytes, &spec.allowed_syscalls)?;
    secret_headers::check(&inputs(&known.facts, config)?, &options.allowed_secret_headers)?;
    let compiled = Arc::new(known.pool.compiled().relink(spec)?);
    let (digest, facts, supply) = (known.digest.clone(), known.facts.clone(), known.supply.clone());
    Ok(Ready { digest, facts, compiled, supply })
}
