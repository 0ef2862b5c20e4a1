//! The stage of every case: an engine that is small enough for a leak to show, a well-behaved
//! plugin and the shipped ones on it, and the checks that are the same for all.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sgl_testkit::fleets::fleet;
use sgl_testkit::guest::GuestText;
use sgl_testkit::modules;
use sgl_testkit::plugins::{asking, config, finished};
use sgl_testkit::text::answer;
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{BreakerOptions, ProbationOptions};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{
    Chooser, Decision, FailureCause, Load, PluginError, PluginInfo, PluginOptions, PluginStats,
    PolicyFactory, PolicyHandle, WasmPolicyConfig,
};

use crate::shipped::{ShippedNeighbours, compiled};

/// Instances that the engine can hold beside those of the shipped plugins: few, so that all of them can be
/// made at the end.
const ENGINE_INSTANCES: usize = 8;

/// Instances of the well-behaved plugin.
const NEIGHBOUR_INSTANCES: usize = 2;

/// Workers of the table, all healthy.
pub(crate) const WORKERS: usize = 4;

/// The request on which a hostile plugin shows what it is.
pub(crate) const BAD: &str = "x";

/// The request on which it behaves.
pub(crate) const GOOD: &str = "xx";

/// One engine with a well-behaved plugin, and all that are shipped.
pub(crate) struct Stage {
    pub(crate) factory: PolicyFactory,
    neighbour: PolicyHandle,
    shipped: ShippedNeighbours,
    /// The plugins before the hostile one.
    names: Vec<String>,
    pub(crate) table: Arc<WorkerTable>,
}

/// A load in progress.
pub(crate) type Loading<'a> = Pin<Box<dyn Future<Output = Result<PluginInfo, PluginError>> + 'a>>;

/// A plugin that was loaded although it is hostile.
pub(crate) struct Hostile {
    pub(crate) policy: PolicyHandle,
}

impl Hostile {
    pub(crate) fn stats(&self) -> PluginStats {
        stats(&self.policy)
    }

    /// How often it failed for this cause.
    pub(crate) fn failures(&self, cause: FailureCause) -> u64 {
        failures(&self.stats(), cause)
    }

    /// Tells the plugin that a request which it, or its fallback, placed has finished.
    pub(crate) fn complete(&self, decided: &Decision) {
        self.policy.on_request_complete(&finished(decided.chooser()));
    }

    /// Waits until an instance is ready: one that failed is replaced in the background.
    pub(crate) async fn ready(&self) {
        eventually("an instance is ready", || self.stats().pool.idle > 0).await;
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let options = EngineOptions {
            max_instances: ENGINE_INSTANCES + modules::shipped().len(),
            aot_cache: Some(compiled()),
            ..EngineOptions::default()
        };
        let factory = PolicyFactory::with_engine(options);
        let options = PluginOptions { min_warm: 1, max_instances: NEIGHBOUR_INSTANCES, ..options_of_all() };
        let patient = WasmPolicyConfig { max_execution_time_ms: 30_000, ..limits() };
        let patient = WasmPolicyConfig { name: "neighbour".into(), ..patient };
        let load = Box::pin(factory.load(Load::bytes(patient, neighbour()).with(options)));
        load.await.expect("it behaves");
        let neighbour = factory.create_by_name("neighbour").unwrap();
        let shipped = ShippedNeighbours::load(&factory, &options_of_all()).await;
        let names = factory.list_wasm_plugins();
        let stage = Self { factory, neighbour, shipped, names, table: fleet(WORKERS).table() };
        stage.neighbour_decides().await;
        stage.shipped.decide(&stage.table).await;
        stage
    }

    /// The well-behaved plugin chooses the worker that it is asked for.
    async fn neighbour_decides(&self) {
        for wanted in 0..WORKERS {
            let text = "x".repeat(wanted);
            let decided = self.neighbour.decide_async(&self.table, &asking(&text)).await.unwrap();
            assert!(matches!(decided.chooser(), Chooser::Plugin { .. }), "{decided:?}");
            assert_eq!(decided.index(), wanted, "the neighbour does not decide right any more");
        }
    }

    /// Does something while the well-behaved plugin is asked again and again.
    pub(crate) async fn beside<T>(&self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            self.neighbour_decides().await;
            let again = tokio::time::sleep(Duration::from_millis(1));
            let done = tokio::select! {
                biased;
                done = &mut what => Some(done),
                () = again => None,
            };
            if let Some(done) = done {
                self.neighbour_decides().await;
                self.shipped.decide(&self.table).await;
                return done;
            }
        }
    }

    /// A load, in a box: its future is large.
    pub(crate) fn loading(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        wasm: Vec<u8>,
    ) -> Loading<'_> {
        Box::pin(self.factory.load(Load::bytes(config, wasm).with(options)))
    }

    /// Loads a plugin that gets as far as serving.
    pub(crate) async fn load(&self, wasm: Vec<u8>) -> Hostile {
        self.load_with(limits(), options(), wasm).await
    }

    pub(crate) async fn load_with(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        wasm: Vec<u8>,
    ) -> Hostile {
        let name = config.name.clone();
        let load = self.loading(config, options, wasm);
        self.beside(load).await.expect("it seems harmless");
        Hostile { policy: self.factory.create_by_name(&name).unwrap() }
    }

    /// A load that must be refused; the error says all of this. Nothing is loaded.
    pub(crate) async fn refuses(self, wasm: Vec<u8>, parts: &[&str]) -> PluginError {
        self.refuses_with(limits(), wasm, parts).await
    }

    pub(crate) async fn refuses_with(
        self,
        config: WasmPolicyConfig,
        wasm: Vec<u8>,
        parts: &[&str],
    ) -> PluginError {
        let load = self.loading(config, options(), wasm);
        let error = self.beside(load).await.expect_err("it must be refused");
        says(&error, parts);
        assert_eq!(self.factory.list_wasm_plugins(), self.names);
        self.nothing_is_left().await;
        error
    }

    /// The bad request, asked in both forms: the plugin fails for this cause, the fallback chooses
    /// a worker, and the failure is counted. A good request is decided by the plugin again.
    pub(crate) async fn falls_back(&self, hostile: &Hostile, cause: FailureCause) {
        let before = (hostile.failures(cause), hostile.stats().fallbacks);
        hostile.ready().await;
        self.is_fallback(&self.decide(hostile, BAD).await, cause);
        hostile.ready().await;
        self.is_fallback(&self.decide_blocking(hostile, BAD).await, cause);
        assert_eq!((hostile.failures(cause), hostile.stats().fallbacks), (before.0 + 2, before.1 + 2));
        hostile.ready().await;
        self.by_plugin(hostile, GOOD, 0).await;
    }

    fn is_fallback(&self, decision: &Decision, cause: FailureCause) {
        assert_eq!(decision.chooser(), Chooser::Fallback { cause });
        assert!(decision.index() < self.table.workers().len());
    }

    /// The plugin itself decides this, and rightly so.
    pub(crate) async fn by_plugin(&self, hostile: &Hostile, text: &str, index: usize) {
        let decided = self.decide(hostile, text).await;
        assert!(matches!(decided.chooser(), Chooser::Plugin { .. }), "{decided:?}");
        assert_eq!(decided.index(), index);
    }

    /// A decision, with the neighbour at work beside it.
    pub(crate) async fn decide(&self, hostile: &Hostile, text: &str) -> Decision {
        self.beside(hostile.policy.decide_async(&self.table, &asking(text))).await.expect("a worker")
    }

    /// The same on a thread that blocks.
    pub(crate) async fn decide_blocking(&self, hostile: &Hostile, text: &'static str) -> Decision {
        let (policy, table) = (hostile.policy.clone(), Arc::clone(&self.table));
        let thread = tokio::task::spawn_blocking(move || policy.decide(&table, &asking(text)));
        self.beside(thread).await.unwrap().expect("a worker")
    }

    /// Unloads the plugin: all of it goes.
    pub(crate) async fn ends(self, hostile: Hostile) {
        let name = hostile.stats().name;
        assert!(self.factory.unload_wasm_plugin(&name));
        eventually("its generations are gone", || hostile.stats().live_generations == 0).await;
        assert_eq!(hostile.stats().pool.live, 0);
        // A handle that is still held goes on with the failure policy.
        let Chooser::Fallback { cause } = self.decide(&hostile, GOOD).await.chooser() else {
            panic!("it is unloaded")
        };
        assert!(matches!(cause, FailureCause::Unavailable | FailureCause::BreakerOpen), "{cause}");
        self.nothing_is_left().await;
    }

    /// The whole case of a plugin that loads, fails for this cause when it is asked, and goes.
    pub(crate) async fn fails(self, wasm: Vec<u8>, cause: FailureCause) {
        let hostile = self.load(wasm).await;
        self.falls_back(&hostile, cause).await;
        self.ends(hostile).await;
    }

    /// The same with a short budget.
    pub(crate) async fn times_out(self, wasm: Vec<u8>) {
        let hostile = self.load_with(hasty(), options(), wasm).await;
        self.falls_back(&hostile, FailureCause::Timeout).await;
        self.ends(hostile).await;
    }

    /// The engine has room for every instance that the neighbours do not need, and none of them has
    /// ever failed.
    pub(crate) async fn nothing_is_left(self) {
        self.neighbour_decides().await;
        self.shipped.decide(&self.table).await;
        self.shipped.none_was_harmed();
        let found = stats(&self.neighbour);
        assert!(found.failures.iter().all(|(_, count)| *count == 0), "{:?}", found.failures);
        assert_eq!((found.fallbacks, found.live_generations, found.pool.live), (0, 1, 1));
        let all = ENGINE_INSTANCES - NEIGHBOUR_INSTANCES;
        let start = Instant::now();
        loop {
            let everything = PluginOptions { min_warm: all, max_instances: all, ..options_of_all() };
            let config = WasmPolicyConfig { name: "filler".into(), ..limits() };
            match self.loading(config, everything, neighbour()).await {
                Ok(_) => break,
                Err(PluginError::Engine(error)) if start.elapsed() < Duration::from_secs(20) => {
                    // Instances are dropped in the background.
                    assert!(error.to_string().contains("no room"), "{error}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("something of the hostile plugin is left: {error}"),
            }
        }
        let filler = stats(&self.factory.create_by_name("filler").unwrap());
        assert_eq!(filler.pool.live, all);
    }
}

/// A plugin that chooses the worker whose number is the size of the prompt.
fn neighbour() -> Vec<u8> {
    let always = format!(
        "(i32.store8 (i32.const 32)
           (i32.rem_u (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1)))
                      (i32.const {WORKERS})))
         (return {})",
        answer(32, 1)
    );
    GuestText { always: &always, ..GuestText::default() }.wasm()
}

/// What was counted of a plugin, whether it is still loaded or not.
pub(crate) fn stats(policy: &PolicyHandle) -> PluginStats {
    let PolicyHandle::Wasm(plugin) = policy else { panic!("no plugin: {policy:?}") };
    plugin.stats()
}

fn failures(stats: &PluginStats, cause: FailureCause) -> u64 {
    stats.failures.iter().find(|(known, _)| *known == cause).expect("a known cause").1
}

/// The numbers of the first document. Far more time than any guest here needs that does not mean
/// to spend it.
pub(crate) fn limits() -> WasmPolicyConfig {
    config("hostile")
}

/// The same with 20 ms, for guests that spend all they get.
pub(crate) fn hasty() -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: 20, ..limits() }
}

/// The same with system calls.
pub(crate) fn allowing(functions: &[(&str, &str)]) -> WasmPolicyConfig {
    let allowed_syscalls = functions.iter().map(|(name, _)| (*name).to_owned()).collect();
    WasmPolicyConfig { allowed_syscalls, ..limits() }
}

/// No breaker in the way, and nothing that keeps a replaced generation.
fn options_of_all() -> PluginOptions {
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() };
    let probation = ProbationOptions { secs: 0, ..ProbationOptions::default() };
    PluginOptions { breaker, probation, ..PluginOptions::default() }
}

/// Two instances at most, one of them kept ready.
pub(crate) fn options() -> PluginOptions {
    PluginOptions { min_warm: 1, max_instances: 2, ..options_of_all() }
}

/// The message must say all of this.
pub(crate) fn says(error: &PluginError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
