//! The policy of one cluster: its plugin, its metrics, and the thread that watches the plugin's file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sgl_oci::{ModuleReference, RegistryClient, RegistryError};
use sglang_router_rs::core::ArrivalRate;
use sglang_router_rs::policies::trust::{KeyFault, Refusal, signing};
use sglang_router_rs::policies::{
    Load, ModuleBytes, Origin, PluginError, PluginOptions, PolicyFactory, PolicyHandle, TrustPolicy,
    WasmPolicyConfig,
};

use crate::abi::MetricsScope;
use crate::cluster_metrics::ClusterMetrics;
use crate::host_worker::LabelKeys;
use crate::request_facts::unknown_needs;
use crate::settings::{ClusterSettings, SettingsError};
use crate::watched_module::{FoundModule, WatchedModule};

/// One engine for all clusters of the process.
static FACTORY: LazyLock<PolicyFactory> = LazyLock::new(PolicyFactory::new);

/// How often Envoy's statistics are brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Looks that are left out after a registry could not give a module.
const LOOKS_AFTER_REGISTRY: u32 = 10;

/// Why a cluster has no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// What Envoy's configuration says.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A key of the rules about signatures.
    #[error("trust: {0}")]
    Key(#[from] KeyFault),
    /// Who signed its module.
    #[error("trust: {0}")]
    Refused(#[from] Refusal),
    /// The registry that has its module.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The system gives no thread.
    #[error("a thread or a runtime: {0}")]
    System(#[from] std::io::Error),
}

/// Metrics as long as Envoy has them.
type SharedMetrics = Arc<Mutex<Option<ClusterMetrics>>>;

/// The policy of a cluster.
///
/// # Concurrency
///
/// Dropping it takes the metrics away from the watching thread, at once, since Envoy destroys them next. The
/// thread itself is not waited for: it may be reading from a registry. It unloads the plugin when it ends.
#[derive(Debug)]
pub(crate) struct ClusterPolicy {
    policy: PolicyHandle,
    label_keys: LabelKeys,
    arrivals: ArrivalRate,
    name: String,
    metrics: SharedMetrics,
    /// Dropping it ends the thread.
    _stop: Sender<()>,
}

impl ClusterPolicy {
    /// Loads the plugin that Envoy's configuration names.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]: what was found and what was expected.
    pub(crate) fn new(name: &str, json: &str, scope: MetricsScope) -> Result<Self, ClusterError> {
        let settings = ClusterSettings::read(json)?;
        let metrics = SharedMetrics::new(Mutex::new(Some(ClusterMetrics::define(scope))));
        let mut watched = WatchedModule::new(&settings.module);
        let loader = Loader::new(name, &settings);
        loader.trust.check_keys()?;
        let name = loader.config.name.clone();
        if let Some(found) = watched.read_if_new()? {
            loader.load(found)?;
        }
        let policy = FACTORY.create_by_name(&name);
        let policy = policy.ok_or_else(|| std::io::Error::other("the plugin was unloaded"))?;
        tell_what_is_unknown(&policy, &name);
        let label_keys = LabelKeys { namespace: settings.metadata_namespace, keys: settings.labels };
        let (stop, stopped) = channel();
        let look_every = Duration::from_millis(settings.check_interval_ms);
        let watcher =
            Watcher { loader, watched, metrics: Arc::clone(&metrics), look_every, looks_to_skip: 0 };
        let thread = std::thread::Builder::new().name("sgl-policy".to_owned());
        thread.spawn(move || {
            watcher.run(|pause| stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout));
        })?;
        let arrivals = ArrivalRate::new(Instant::now());
        Ok(Self { policy, label_keys, arrivals, name, metrics, _stop: stop })
    }

    /// Who decides.
    pub(crate) fn policy(&self) -> &PolicyHandle {
        &self.policy
    }

    /// How many requests come in a second, this one included, from all threads.
    pub(crate) fn count_arrival(&self) -> Option<f32> {
        self.arrivals.count(Instant::now())
    }

    /// What of hosts becomes labels.
    pub(crate) fn label_keys(&self) -> &LabelKeys {
        &self.label_keys
    }
}

impl Drop for ClusterPolicy {
    fn drop(&mut self) {
        let metrics = self.metrics.lock().take();
        if let Some(mut metrics) = metrics {
            show(&mut metrics, &self.name);
        }
    }
}

/// Shows what was counted of a plugin.
fn show(metrics: &mut ClusterMetrics, name: &str) {
    let stats = FACTORY.plugin_stats().into_iter().find(|stats| stats.name == name);
    stats.into_iter().for_each(|stats| metrics.show(&stats));
}

/// Loads modules under the settings of a cluster.
#[derive(Debug)]
struct Loader {
    config: WasmPolicyConfig,
    options: PluginOptions,
    trust: TrustPolicy,
}

impl Loader {
    fn new(name: &str, settings: &ClusterSettings) -> Self {
        // While Envoy replaces a cluster, the old one and the new one have a plugin each.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: a number that orders nothing else.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = if name.is_empty() { "policy" } else { name };
        let config = WasmPolicyConfig {
            module_path: settings.module.clone(),
            name: format!("{name}.{number}"),
            max_execution_time_ms: settings.max_execution_time_ms,
            max_memory_bytes: settings.max_memory_bytes,
            allowed_syscalls: settings.allowed_syscalls.clone(),
            config: settings.config.clone(),
        };
        let trust = TrustPolicy::new(settings.trust.clone());
        Self { config, options: settings.options.clone(), trust }
    }

    fn load(&self, found: FoundModule) -> Result<(), ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let module = match found {
                FoundModule::Bytes(module) => module,
                FoundModule::Reference(reference) => pulled(&reference).await?,
            };
            self.trust.check(&module)?;
            let origin = module.origin.to_string();
            let load = Load::module(self.config.clone(), module).with(self.options.clone());
            let info = FACTORY.load(load).await?;
            tracing::info!(
                plugin = %info.name, generation = info.generation, digest = %info.digest, %origin,
                "{} {} decides", info.manifest.name, info.manifest.version
            );
            Ok(())
        })
    }
}

/// A module in a registry, with the credentials and rules of docker's configuration.
async fn pulled(reference: &str) -> Result<ModuleBytes, ClusterError> {
    let reference = ModuleReference::parse(reference).map_err(RegistryError::from)?;
    let pulled = RegistryClient::default().pull(&reference).await?;
    let origin = Origin::Registry { reference: pulled.reference.to_string() };
    let signature = signing::combine(&pulled.signatures);
    Ok(ModuleBytes { wasm: pulled.wasm.to_vec(), signature, origin })
}

/// Looks at the file of the module, and shows what was counted.
struct Watcher {
    loader: Loader,
    watched: WatchedModule,
    metrics: SharedMetrics,
    look_every: Duration,
    looks_to_skip: u32,
}

impl Watcher {
    /// Until `pause` says that it is over.
    fn run(mut self, pause: impl Fn(Duration) -> bool) {
        let looks = !self.look_every.is_zero();
        let step = if looks { SHOW_EVERY.min(self.look_every) } else { SHOW_EVERY };
        let mut since_look = Duration::ZERO;
        while pause(step) {
            since_look += step;
            if looks && since_look >= self.look_every {
                since_look = Duration::ZERO;
                match self.looks_to_skip.checked_sub(1) {
                    Some(fewer) => self.looks_to_skip = fewer,
                    None => self.look(),
                }
            }
            if let Some(metrics) = self.metrics.lock().as_mut() {
                show(metrics, &self.loader.config.name);
            }
        }
        FACTORY.unload_wasm_plugin(&self.loader.config.name);
    }

    fn look(&mut self) {
        let read = self.watched.read_if_new().map_err(ClusterError::from);
        let loaded = match read {
            Ok(None) => return,
            Ok(Some(found)) => self.loader.load(found),
            Err(error) => Err(error),
        };
        let Err(error) = loaded else { return };
        if let Some(metrics) = self.metrics.lock().as_ref() {
            metrics.refuse_module();
        }
        let named = self.watched.named();
        tracing::warn!("{named} is not taken, and the plugin goes on as it is: {}", in_full(&error));
        if matches!(error, ClusterError::Registry(_)) {
            self.watched.forget();
            self.looks_to_skip = LOOKS_AFTER_REGISTRY;
        }
    }
}

/// An error with its causes.
pub(crate) fn in_full(error: &ClusterError) -> String {
    sglang_router_rs::types::in_full(error)
}

fn tell_what_is_unknown(policy: &PolicyHandle, name: &str) {
    let unknown = unknown_needs(policy.needs());
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        tracing::warn!(
            "{name} asks for what a load balancer of Envoy's cannot know, and gets none of it: {unknown}"
        );
    }
    if policy.outcome_needs().completions {
        tracing::warn!(
            "{name} wants to hear of finished requests, which a load balancer of Envoy's does not"
        );
    }
}

/// Shared by the threads of a cluster.
pub(crate) type SharedPolicy = Arc<ClusterPolicy>;
