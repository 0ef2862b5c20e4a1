//! A configuration that was checked: what the router runs on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::access_log_section::AccessLogSettings;
use crate::config::calls_section::CallSettings;
use crate::config::engine_setting::EngineSetting;
use crate::config::fleet_section::FleetSettings;
use crate::config::keys_section::KeySettings;
use crate::config::plugin_entry::PluginEntry;
use crate::config::registry_section::ModuleRegistrySettings;
use crate::config::requests_section::RequestSettings;
use crate::config::retry_on::RetryOn;
use crate::config::sources_section::SourceSettings;
use crate::config::tls_section::{Http2Settings, ListenerTlsSettings};
use crate::config::tokenizer_entry::TokenizerEntry;
use crate::config::trace_section::TraceSettings;
use crate::config::worker_entry::WorkerEntry;
use sgl_api::RecordedInputs;
use sgl_upstream::WorkerTlsSettings;
use sglang_router_rs::config::{Fault, TrustRule};

/// Longest time that can be set in seconds, where nothing else is said.
pub(crate) const DAY_SECS: u64 = 86_400;

/// The most data-parallel ranks of a worker.
pub(crate) const MAX_DP_SIZE: u32 = 256;

/// All settings, within their limits. Made by [`crate::config::check()`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckedConfig {
    /// Name of the policy: a built-in one, one of `plugins`, that of `embedded_policy`, or one that the
    /// state directory holds.
    pub policy: String,
    /// Where clients connect.
    pub data_address: SocketAddr,
    /// Where Prometheus connects.
    pub metrics_address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// TLS of these three.
    pub tls: TlsListeners,
    /// What operators must show; `None` only on loopback.
    pub admin_token: Option<String>,
    /// The file that it comes from.
    pub admin_token_file: Option<PathBuf>,
    /// Where operators' changes are written.
    pub audit_file: Option<PathBuf>,
    /// What the listeners of operators and of Prometheus allow.
    pub operations: OperationsSettings,
    /// How long the router accepts requests after SIGTERM although it is not ready.
    pub shutdown_delay: Duration,
    /// Set if Envoy carries the requests, and this router only picks the workers: it listens for Envoy then
    /// where clients would connect. Not to be set in the file: `sgl-router picker` does.
    pub picker: Option<PickerSettings>,
    /// Settings of the data plane.
    pub proxy: ProxySettings,
    /// Which decisions are recorded; `None` = none.
    pub records: Option<RecordSettings>,
    /// Where each request has a line; `None` = nowhere.
    pub access_log: Option<AccessLogSettings>,
    /// Where workers come from beside these.
    pub sources: SourceSettings,
    /// Where spans of requests go; `None` = nowhere.
    pub traces: Option<TraceSettings>,
    /// The workers at start; their URLs are valid and unique.
    pub workers: Vec<WorkerEntry>,
    /// The tokenizers; their models are unique.
    pub tokenizers: Vec<TokenizerEntry>,
    /// Whose signatures modules must carry.
    pub trust: Vec<TrustRule>,
    /// The plugins, those of the plugin directory last; their names are valid and unique.
    pub plugins: Vec<PluginEntry>,
    /// What is in the plugin directory and cannot be used, and is not needed to start.
    pub faulty_plugins: Vec<FaultyPlugin>,
    /// The policy, if its name is only that of an embedded module: nothing was written about it. What the
    /// state directory holds under this name goes before it.
    pub embedded_policy: Option<PluginEntry>,
    /// Settings of the policy that its plugin has already, unless it comes from the state directory.
    pub policy_settings: HashMap<String, serde_json::Value>,
    /// Where operators may have modules loaded from.
    pub plugin_dir: Option<PathBuf>,
    /// Whether changes there become new generations.
    pub watch_plugin_dir: bool,
    /// Where plugins are kept over a restart.
    pub state_dir: Option<PathBuf>,
    /// Bytes that the instances of all plugins may come to have.
    pub max_plugin_memory: Option<u64>,
    /// Where compiled modules are kept.
    pub aot_cache: Option<PathBuf>,
    /// Limits of the process that compiles; `None` = modules are compiled in this process.
    pub compile: Option<CompileSettings>,
    /// How modules of registries are read and kept.
    pub registry: ModuleRegistrySettings,
    /// The fleet that the router is one of; `None` = it is alone.
    pub fleet: Option<FleetSettings>,
    /// What is written for the keys that a running router does not follow, without secrets; `Null` if a path
    /// is no UTF-8.
    pub fixed: serde_json::Value,
}

/// TLS of the listeners; `None` = without.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsListeners {
    /// For clients.
    pub data: Option<ListenerTlsSettings>,
    /// For Prometheus.
    pub metrics: Option<ListenerTlsSettings>,
    /// For operators.
    pub admin: Option<ListenerTlsSettings>,
    /// How often the files of certificates are looked at. Not to be set in the file: 5 s.
    pub look_interval: Duration,
}

/// How workers are picked for Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickerSettings {
    /// How many other workers are named beside the picked one.
    pub fallbacks: usize,
}

/// Limits of the process that compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileSettings {
    /// Bytes of memory.
    pub max_memory: u64,
    /// Time, of the clock and of processors.
    pub max_time: Duration,
}

impl CheckedConfig {
    /// True if the plugin is one of the plugin directory.
    pub fn is_in_plugin_dir(&self, plugin: &PluginEntry) -> bool {
        let folder = Path::new(&plugin.module_path).parent();
        self.plugin_dir.is_some() && folder == self.plugin_dir.as_deref()
    }
}

/// A plugin of the plugin directory that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultyPlugin {
    /// Its name, as far as its settings can be read.
    pub name: String,
    /// Its module's file.
    pub file: String,
    /// What is wrong with its settings; not empty.
    pub faults: Vec<Fault>,
}

/// Settings of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySettings {
    /// Largest request body in bytes.
    pub max_payload_bytes: u64,
    /// Bytes that the bodies of all requests may take together; `None` = half of the memory.
    pub max_total_body_bytes: Option<u64>,
    /// Connections of clients at a time; `None` = what the limit of descriptors allows.
    pub max_connections: Option<usize>,
    /// How long a client connection may be without a request.
    pub client_idle: Duration,
    /// How long a client may be silent while its body comes.
    pub body_silence: Duration,
    /// How long requests in flight may take after the signal to stop.
    pub shutdown: Duration,
    /// Whether answers name the worker.
    pub worker_header: bool,
    /// Whether the counts of tokens are read of all answers.
    pub token_metrics: bool,
    /// Limit for a whole request.
    pub request_timeout: Duration,
    /// How long workers may be silent.
    pub silence: SilenceSettings,
    /// How many requests are served at a time, and which of the others wait.
    pub queue: QueueSettings,
    /// Retries of one request.
    pub max_retries: u32,
    /// What is a reason for one.
    pub retry_on: RetryOn,
    /// What clients may call beside the usual.
    pub calls: CallSettings,
    /// Which keys workers ask for, and which clients have.
    pub keys: KeySettings,
    /// What is worked out of requests.
    pub requests: RequestSettings,
    /// How workers are connected to.
    pub upstream: UpstreamSettings,
    /// Whether ranks are workers of their own, where a worker does not say.
    pub dp_aware: bool,
    /// Active checks.
    pub health: HealthSettings,
    /// When a failing worker is taken out of the path.
    pub circuit: CircuitSettings,
    /// What tokenizing may take.
    pub tokenizing: TokenizingSettings,
    /// HTTP/2 to clients.
    pub http2: Http2Settings,
    /// TLS to workers.
    pub worker_tls: WorkerTlsSettings,
}

/// How many requests are served at a time, and which of the others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSettings {
    /// Requests that are served at a time; `None` = no limit.
    pub max_concurrent: Option<usize>,
    /// Requests that may wait.
    pub size: usize,
    /// How long one may.
    pub timeout: Duration,
    /// Whether requests wait for workers.
    pub wait_for_workers: bool,
    /// How often those whom a policy has wait may be asked though nobody told of a change: reports of workers,
    /// another generation of the plugin and mere time may let it choose now. Of the program, not of a
    /// configuration.
    pub stir_interval: Duration,
}

/// What tokenizing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizingSettings {
    /// Threads for bodies of ordinary size.
    pub threads: usize,
    /// Bytes of what was tokenized before; 0 = nothing is kept.
    pub cache_bytes: u64,
}

/// What the listeners of operators and of Prometheus allow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationsSettings {
    /// Names that operators may call the router by, besides loopback's.
    pub admin_hosts: Vec<String>,
    /// Names that Prometheus may call it by.
    pub metrics_hosts: Vec<String>,
    /// Connections at a time, of each listener.
    pub max_connections: usize,
    /// Modules on their way at a time.
    pub max_uploads: usize,
    /// How long a connection may be without a whole head of a request.
    pub idle_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may wait for its client to read on. Not to be set in the file: 30 s.
    pub write_timeout: Duration,
}

/// How long a worker may be silent; `None` = as long as the request may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SilenceSettings {
    /// Before the first byte of an answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub between: Option<Duration>,
}

impl SilenceSettings {
    /// With what a worker has of its own.
    pub fn of_worker(self, worker: &WorkerEntry) -> Self {
        let own = |secs: Option<u64>, all| secs.map_or(all, limit_of);
        Self {
            first_byte: own(worker.first_byte_timeout_secs, self.first_byte),
            between: own(worker.silence_timeout_secs, self.between),
        }
    }
}

/// What a worker has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    /// How long it may be silent.
    pub silence: SilenceSettings,
    /// Which engine it is.
    pub engine: EngineSetting,
    /// Whether what it publishes is listened to.
    pub kv_events: bool,
    /// Whether its ranks are workers of their own.
    pub ranks: RankSetting,
}

/// Whether the data-parallel ranks of an engine are workers of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RankSetting {
    /// They are not: the engine picks one.
    #[default]
    Together,
    /// They are, as many as the engine says it has.
    Asked,
    /// They are, and there are so many, 1 to 256.
    Fixed(u32),
}

impl ProxySettings {
    /// What holds for this worker.
    pub fn of_worker(&self, worker: &WorkerEntry) -> OwnSettings {
        OwnSettings {
            silence: self.silence.of_worker(worker),
            engine: worker.engine,
            kv_events: worker.kv_events,
            ranks: self.ranks_of(worker),
        }
    }

    fn ranks_of(&self, worker: &WorkerEntry) -> RankSetting {
        match worker.dp_size {
            Some(size) => RankSetting::Fixed(size),
            None if worker.dp_aware.unwrap_or(self.dp_aware) => RankSetting::Asked,
            None => RankSetting::Together,
        }
    }
}

/// Seconds as a limit, 0 as none.
pub(crate) fn limit_of(secs: u64) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs))
}

/// Which decisions are recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSettings {
    /// Share of the requests, 0.0 to 1.0.
    pub sample: f64,
    /// Where records are appended to.
    pub file: Option<PathBuf>,
    /// Newest records that are kept in memory.
    pub keep: usize,
    /// Whether clients may ask for a record, and get it in a header.
    pub header: bool,
    /// How much is recorded of what policies may know.
    pub inputs: RecordedInputs,
}

/// How workers are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Limit for connecting.
    pub connect_timeout: Duration,
    /// Idle connections that are kept for each worker.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

/// Active checks of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time between checks; `None` = no checks.
    pub interval: Option<Duration>,
    /// Limit for one check.
    pub timeout: Duration,
    /// Failures in a row after which a worker is out.
    pub failures: u32,
    /// Passes in a row after which it is back.
    pub successes: u32,
    /// Path that is asked.
    pub endpoint: String,
    /// Time between two questions for a worker's load; `None` = it is not asked.
    pub load_interval: Option<Duration>,
    /// Whether `/v1/models` is asked too.
    pub poll_models: bool,
    /// Time between two questions for models. Not to be set in the file: 30 s.
    pub models_interval: Duration,
}

/// When a worker that fails requests is taken out of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitSettings {
    /// Failures in a row that open it; 0 = never.
    pub failures: u32,
    /// Probes in a row that must succeed to close it.
    pub successes: u32,
    /// Time until the first probe.
    pub timeout: Duration,
}
