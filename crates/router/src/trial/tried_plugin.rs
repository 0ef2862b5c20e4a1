//! A plugin that decides without a router.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::trial::described_outcome::DescribedOutcome;
use crate::trial::prepared_request::PreparedRequest;
use crate::trial::told_question::ToldQuestion;
use crate::trial::trial_decision::{TrialDecision, TrialOutcome};
use crate::trial::trial_fleet::TrialFleet;
use sglang_router_rs::config::{BreakerOptions, FailurePolicy, ProbationOptions};
use sglang_router_rs::core::{Fleet, InFlight, WorkerSpec};
use sglang_router_rs::engine::{CompilerProcess, EngineOptions};
use sglang_router_rs::policies::{
    Chooser, Decision, Explanation, Load, LoadBalancingPolicy, ModuleBytes, ModuleFacts, PluginError,
    PluginInfo, PluginOptions, PolicyFactory, PolicyHandle, RequestCompletion, RequestFirstToken,
    SelectWorkerInfo, WasmPolicy, WasmPolicyConfig, check_module,
};
use sglang_router_rs::types::VirtualTime;

/// How a plugin is loaded to be tried.
#[derive(Clone, Debug)]
pub(crate) struct TrialSettings {
    /// The plugin's own configuration.
    pub(crate) config: HashMap<String, Value>,
    /// System calls that it may make.
    pub(crate) allowed_syscalls: Vec<String>,
    /// Memory of an instance, in bytes.
    pub(crate) max_memory_bytes: usize,
    /// Budget of a call, in milliseconds.
    pub(crate) max_execution_time_ms: u64,
    /// Options as an operator gives them.
    pub(crate) options: PluginOptions,
    /// What chance decides follows from it.
    pub(crate) seed: u64,
}

/// The engine on which plugins are tried. Modules are compiled once.
#[derive(Debug)]
pub(crate) struct TrialEngine {
    factory: PolicyFactory,
    runtime: Runtime,
    _compiled: TempDir,
}

/// A plugin that was loaded and that nobody has asked yet.
///
/// While it lives the time of this thread is its own and passes only as it is told to, and chance on this
/// thread follows from its seed: there is one on a thread at a time.
#[derive(Debug)]
pub(crate) struct TriedPlugin<'a> {
    engine: &'a TrialEngine,
    name: String,
    module: ModuleBytes,
    settings: TrialSettings,
    handle: PolicyHandle,
    policy: Arc<WasmPolicy>,
    facts: ModuleFacts,
    info: PluginInfo,
    time: VirtualTime,
    passed: Duration,
}

impl TrialEngine {
    /// An engine. Must not be made, nor used, inside a runtime.
    ///
    /// # Errors
    ///
    /// The system refuses a directory or a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let compiled = TempDir::with_prefix("sgl-trial-")?;
        let aot_cache = Some(compiled.path().join("modules"));
        // Nobody vouches for what authors build: it is compiled apart, within limits.
        let compiler = Some(CompilerProcess::this_program());
        let factory =
            PolicyFactory::with_engine(EngineOptions { aot_cache, compiler, ..EngineOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { factory, runtime, _compiled: compiled })
    }

    /// Loads a module under a name of its own.
    ///
    /// # Errors
    ///
    /// [`PluginError`], as a router would say.
    pub(crate) fn load(
        &self,
        module: &ModuleBytes,
        settings: &TrialSettings,
    ) -> Result<TriedPlugin<'_>, PluginError> {
        static LOADED: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness matters.
        let name = format!("tried-{}", LOADED.fetch_add(1, Ordering::Relaxed));
        let facts = check_module(&module.wasm, settings.max_memory_bytes, &settings.allowed_syscalls)?;
        let time = VirtualTime::new();
        fastrand::seed(settings.seed);
        let info = self.put(&name, module, settings)?;
        let handle = self.factory.create_by_name(&name);
        let Some(PolicyHandle::Wasm(policy)) = &handle else { return Err(PluginError::Unloaded) };
        let policy = Arc::clone(policy);
        Ok(TriedPlugin {
            engine: self,
            name,
            module: module.clone(),
            settings: settings.clone(),
            handle: PolicyHandle::Wasm(Arc::clone(&policy)),
            policy,
            facts,
            info,
            time,
            passed: VirtualTime::BEGINNING,
        })
    }

    fn put(
        &self,
        name: &str,
        module: &ModuleBytes,
        settings: &TrialSettings,
    ) -> Result<PluginInfo, PluginError> {
        let config = WasmPolicyConfig {
            max_execution_time_ms: settings.max_execution_time_ms,
            max_memory_bytes: settings.max_memory_bytes,
            allowed_syscalls: settings.allowed_syscalls.clone(),
            config: settings.config.clone(),
            ..WasmPolicyConfig::new(name, "tried.wasm")
        };
        let load =
            Load::module(config, module.clone()).with(options(&settings.options)).seeded(settings.seed);
        self.runtime.block_on(self.factory.load(load))
    }
}

/// One instance, whose failures are told and have no consequences.
fn options(given: &PluginOptions) -> PluginOptions {
    PluginOptions {
        min_warm: 1,
        max_instances: 1,
        on_failure: FailurePolicy::Reject,
        breaker: BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() },
        recycle_after_calls: 0,
        recycle_after_secs: 0,
        recycle_growth_bytes: 0,
        probation: ProbationOptions { secs: 0, ..ProbationOptions::default() },
        ..given.clone()
    }
}

impl TriedPlugin<'_> {
    /// The policy.
    pub(crate) fn handle(&self) -> &PolicyHandle {
        &self.handle
    }

    /// What the module turned out to be.
    pub(crate) fn facts(&self) -> &ModuleFacts {
        &self.facts
    }

    /// What a router would tell of it.
    pub(crate) fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// How long a decision over so many workers of a router's own table takes: the median of some.
    pub(crate) fn decision_time(&self, workers: usize, decisions: usize) -> Duration {
        let fleet = Fleet::new();
        for number in 0..workers {
            // Each URL is added once, to a new fleet.
            let _ = fleet.add(WorkerSpec::new(format!("http://worker-{number}")), true);
        }
        let (table, info) =
            (fleet.table(), SelectWorkerInfo { request_text: Some("a prompt"), ..SelectWorkerInfo::NOTHING });
        let mut times: Vec<Duration> = (0..2 * decisions)
            .map(|_| {
                let began = Instant::now();
                // A failure takes its time, too.
                let _ = self.policy.decide(&table, &info);
                began.elapsed()
            })
            // The first learn the table.
            .skip(decisions)
            .collect();
        times.sort_unstable();
        times.get(decisions / 2).copied().unwrap_or_default()
    }

    /// Bytes of memory that its instance has.
    pub(crate) fn memory_bytes(&self) -> Option<usize> {
        self.policy.instance_memory_bytes()
    }

    /// Has it decide; `tells` what it is asked, too.
    ///
    /// # Errors
    ///
    /// The request names a worker that is not there.
    pub(crate) fn decide(
        &self,
        fleet: &TrialFleet,
        request: &PreparedRequest,
        tells: bool,
    ) -> Result<TrialDecision, String> {
        let offered = fleet.offered_to(request)?;
        let (explanation, names) = (Explanation::default(), request.names());
        let info = request.info(&names, &offered, &explanation);
        let told = if tells { self.told(fleet, &info) } else { None };
        let decided = if offered.is_pair {
            let pair = self.engine.runtime.block_on(self.policy.decide_pair_of(fleet.workers(), &info));
            pair.map(|pair| vec![pair.prefill, pair.decode])
        } else {
            let one = self.engine.runtime.block_on(self.policy.select_worker_async(fleet.workers(), &info));
            one.map(|one| vec![one])
        };
        let explained = explanation.take();
        let (outcome, decisions) = match decided {
            Ok(decisions) => (TrialOutcome::chosen(&decisions, fleet), decisions),
            Err(error) => (TrialOutcome::of_error(error, &explained), Vec::new()),
        };
        let chooser = decisions.first().map(Decision::chooser);
        let mut in_flight: Vec<InFlight> = decisions.into_iter().map(Decision::into_in_flight).collect();
        in_flight.iter_mut().for_each(|request| request.sent(self.now()));
        Ok(TrialDecision { outcome, explained, told, chooser, in_flight })
    }

    /// The question that comes next, word for word: what chance gives it is given to the decision again.
    fn told(&self, fleet: &TrialFleet, info: &SelectWorkerInfo<'_>) -> Option<ToldQuestion> {
        let seed = fastrand::get_seed();
        let message = self.policy.question(fleet.workers(), info);
        fastrand::seed(seed);
        let manifest = &self.facts.manifest;
        ToldQuestion::read(manifest.wire, &manifest.inputs, &message?, fleet.workers().len()).ok()
    }

    /// Lets time pass, and what is due in it be done: the plugin is told what came of its requests.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.passed += time;
        self.time.advance(self.passed);
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    /// The first token of a request came.
    ///
    /// # Errors
    ///
    /// It is described with a name that is none.
    pub(crate) fn first_token(&self, decision: &mut TrialDecision, told: &Value) -> Result<(), String> {
        decision.in_flight.iter_mut().for_each(|request| request.first_token(self.now()));
        let url = decision.outcome.last_url();
        self.tell_first_of(url, decision.chooser, decision.outcome.tag(), told)
    }

    /// A request has ended.
    ///
    /// # Errors
    ///
    /// As [`first_token`](Self::first_token).
    pub(crate) fn complete(&self, decision: TrialDecision, told: &Value) -> Result<(), String> {
        let TrialDecision { outcome, chooser, mut in_flight, .. } = decision;
        let generated = DescribedOutcome::of(told)?.completion_tokens;
        in_flight.iter_mut().for_each(|request| request.generated(generated.unwrap_or_default()));
        drop(in_flight);
        self.tell_end_of(outcome.last_url(), chooser, outcome.tag(), told)
    }

    /// Tells that a request at this worker has its first token, whoever placed it.
    ///
    /// # Errors
    ///
    /// As [`first_token`](Self::first_token).
    pub(crate) fn tell_first_token(&self, url: &str, told: &Value) -> Result<(), String> {
        self.tell_first_of(url, None, None, told)
    }

    /// Tells that a request at this worker has ended, whoever placed it.
    ///
    /// # Errors
    ///
    /// As [`first_token`](Self::first_token).
    pub(crate) fn tell_completion(&self, url: &str, told: &Value) -> Result<(), String> {
        self.tell_end_of(url, None, None, told)
    }

    fn tell_first_of(
        &self,
        url: &str,
        chooser: Option<Chooser>,
        tag: Option<u64>,
        told: &Value,
    ) -> Result<(), String> {
        let described = DescribedOutcome::of(told)?;
        self.policy.on_first_token(&RequestFirstToken {
            worker_url: url.to_owned(),
            chooser: chooser.unwrap_or(Chooser::Native),
            after: described.after(),
            tag: described.tag.or(tag),
        });
        Ok(())
    }

    fn tell_end_of(
        &self,
        url: &str,
        chooser: Option<Chooser>,
        tag: Option<u64>,
        told: &Value,
    ) -> Result<(), String> {
        let described = DescribedOutcome::of(told)?;
        let unknown = RequestCompletion::new(url, chooser.unwrap_or(Chooser::Native));
        let completion = described.completion(unknown);
        self.policy.on_request_complete(&RequestCompletion { tag: described.tag.or(tag), ..completion });
        Ok(())
    }

    /// A session is over.
    pub(crate) fn end_session(&self, session: &str) {
        // Whether it listens is its own affair.
        let _ = self.policy.on_session_end(session);
    }

    /// What it failed with when it was told of its requests, if it did.
    pub(crate) fn failed_tellings(&self) -> Option<String> {
        let detail = self.engine.factory.plugin_detail(&self.name)?;
        (detail.completion_failures > 0).then(|| detail.last_failure.unwrap_or_default())
    }

    /// Puts a new generation of the same module into its place.
    ///
    /// # Errors
    ///
    /// [`PluginError`], as a router would say.
    pub(crate) fn swap(&mut self) -> Result<(), PluginError> {
        self.engine.put(&self.name, &self.module, &self.settings).map(|_| ())
    }
}

impl Drop for TriedPlugin<'_> {
    fn drop(&mut self) {
        self.engine.factory.unload_wasm_plugin(&self.name);
    }
}
