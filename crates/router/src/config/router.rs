//! The schema of the router's configuration file.
//!
//! Every field has a default, so that an empty file is a configuration; what cannot be left out
//! (a plugin's name, a worker's URL) is reported by the check. `docs/router.example.toml` shows
//! all of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::access_log_section::AccessLogSection;
use crate::config::calls_section::CallsSection;
use crate::config::compile_section::CompileSection;
use crate::config::fleet_section::FleetSection;
use crate::config::keys_section::KeysSection;
use crate::config::metrics_section::MetricsSection;
use crate::config::plugin_entry::PluginEntry;
use crate::config::queue_section::QueueSection;
use crate::config::registry_section::RegistrySection;
use crate::config::requests_section::RequestsSection;
use crate::config::retry_on::RetryCondition;
use crate::config::sources_section::SourcesSection;
use crate::config::tls_section::{Http2Section, ListenerTlsSection, WorkerTlsSection};
use crate::config::tokenizer_entry::{TokenizerEntry, TokenizingSection};
use crate::config::trace_section::TraceSection;
use crate::config::worker_entry::WorkerEntry;
use sgl_api::RecordedInputs;
use sglang_router_rs::config::TrustRule;

/// The file as a whole. Flags win over it. Serialised, it holds what needs a restart only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// Name of the policy: a built-in one or a plugin. Default: `round_robin`.
    pub policy: String,
    /// Directory whose `.wasm` files are plugins; a `.toml` file of the same stem configures one.
    /// Default: none.
    pub plugin_dir: Option<PathBuf>,
    /// Whether changes in the plugin directory become new generations while the router runs.
    /// Default: false.
    pub watch_plugin_dir: bool,
    /// Directory where plugins that were loaded while the router ran are kept over a restart.
    /// Default: none.
    pub state_dir: Option<PathBuf>,
    /// Bytes that the instances of all plugins may come to have resident together: 1 MiB or more. A
    /// configuration or a load beyond that is refused. Default: none, no limit.
    pub max_plugin_memory: Option<u64>,
    /// Directory where compiled modules are kept, made with mode 0700. Default: none.
    pub aot_cache: Option<PathBuf>,
    /// How modules are compiled.
    pub compile: CompileSection,
    /// How modules of registries are read and kept.
    pub registry: RegistrySection,
    /// The fleet that the router is one of.
    pub fleet: FleetSection,
    /// Where clients connect.
    pub server: ServerSection,
    /// How many requests are served at a time, and which of the others wait.
    pub queue: QueueSection,
    /// Where Prometheus connects.
    pub metrics: MetricsSection,
    /// Where operators connect.
    pub admin: AdminSection,
    /// Which decisions are recorded.
    pub records: RecordsSection,
    /// A line for each request.
    pub access_log: AccessLogSection,
    /// Spans of requests for OpenTelemetry's collectors.
    pub traces: TraceSection,
    /// What clients may call beside the usual.
    pub calls: CallsSection,
    /// Which keys workers ask for, and which clients have.
    pub keys: KeysSection,
    /// What is worked out of requests.
    pub requests: RequestsSection,
    /// How workers are called.
    pub upstream: UpstreamSection,
    /// Second chances on other workers.
    pub retry: RetrySection,
    /// Active health checks.
    pub health: HealthSection,
    /// Where workers come from beside this file.
    pub sources: SourcesSection,
    /// When a failing worker is taken out of the path.
    pub circuit_breaker: CircuitSection,
    /// What tokenizing may take.
    pub tokenizing: TokenizingSection,
    /// Tokenizers of models. Default: none, tokens of text are estimated.
    #[serde(skip_serializing)]
    pub tokenizers: Vec<TokenizerEntry>,
    /// The workers at start. Default: none.
    #[serde(skip_serializing)]
    pub workers: Vec<WorkerEntry>,
    /// Whose signatures modules must carry. Default: none, any module is taken.
    #[serde(skip_serializing)]
    pub trust: Vec<TrustRule>,
    /// The plugins. Default: none.
    #[serde(skip_serializing)]
    pub plugins: Vec<PluginEntry>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            policy: "round_robin".to_owned(),
            plugin_dir: None,
            watch_plugin_dir: false,
            state_dir: None,
            max_plugin_memory: None,
            aot_cache: None,
            compile: CompileSection::default(),
            registry: RegistrySection::default(),
            fleet: FleetSection::default(),
            server: ServerSection::default(),
            queue: QueueSection::default(),
            metrics: MetricsSection::default(),
            admin: AdminSection::default(),
            records: RecordsSection::default(),
            access_log: AccessLogSection::default(),
            traces: TraceSection::default(),
            calls: CallsSection::default(),
            keys: KeysSection::default(),
            requests: RequestsSection::default(),
            upstream: UpstreamSection::default(),
            retry: RetrySection::default(),
            health: HealthSection::default(),
            sources: SourcesSection::default(),
            circuit_breaker: CircuitSection::default(),
            tokenizing: TokenizingSection::default(),
            tokenizers: Vec::new(),
            workers: Vec::new(),
            trust: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

/// `[server]`: where clients connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// IP address, or `localhost`. Default: `127.0.0.1`.
    pub host: String,
    /// Port; 0 = any free one. Default: 30000.
    pub port: u16,
    /// Largest request body in bytes: 1 to 2^40; a larger one is answered with 413. A body is held
    /// in memory until its request is answered. Default: 134,217,728 (128 MiB).
    pub max_payload_size: u64,
    /// Bytes that the bodies of all requests may take together: 1 to 2^50; a request beyond that is
    /// answered with 503. Default: none, half of the memory of the machine or of the control group.
    pub max_total_body_bytes: Option<u64>,
    /// Connections of clients at a time: 1 to 1,000,000. One more closes the one that is idle longest;
    /// if none is idle it waits. Default: none, what the limit of descriptors allows: half of it after
    /// a reserve of 256 or a quarter.
    pub max_connections: Option<usize>,
    /// Seconds after which a client connection without a request is closed: 1 to 86,400.
    /// Default: 75.
    pub idle_timeout_secs: u64,
    /// Seconds that a client may be silent while its body comes: 1 to 86,400; then 408. Default: 30.
    pub body_silence_timeout_secs: u64,
    /// Seconds after SIGTERM in which the router still accepts requests but is not ready, so that
    /// balancers leave it: 0 to 3600. Default: 0.
    pub shutdown_delay_secs: u64,
    /// Seconds that requests in flight may take after the signal to stop: 0 to 86,400.
    /// Default: 60.
    pub shutdown_timeout_secs: u64,
    /// Whether answers carry `x-sgl-worker` with the URL of the worker. Default: false.
    pub worker_header: bool,
    /// TLS.
    pub tls: ListenerTlsSection,
    /// HTTP/2.
    pub http2: Http2Section,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 30_000,
            max_payload_size: 128 << 20,
            max_total_body_bytes: None,
            max_connections: None,
            idle_timeout_secs: 75,
            body_silence_timeout_secs: 30,
            shutdown_delay_secs: 0,
            shutdown_timeout_secs: 60,
            worker_header: false,
            tls: ListenerTlsSection::default(),
            http2: Http2Section::default(),
        }
    }
}

/// `[admin]`: where operators add and remove workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// IP address, or `localhost`. An address beyond loopback needs a token. Default: `127.0.0.1`.
    pub host: String,
    /// Port; 0 = any free one. Default: 29001.
    pub port: u16,
    /// File that holds the bearer token. Default: none; the environment variable
    /// `SGL_ROUTER_ADMIN_TOKEN` is the other way.
    pub token_file: Option<PathBuf>,
    /// File to which every change of an operator is appended, a JSON object a line. Default: none, the newest
    /// 1000 are in memory only.
    pub audit_file: Option<PathBuf>,
    /// Names that requests may give as their `host`, besides `localhost` and loopback addresses.
    /// With a token any will do. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Connections at a time, here and for Prometheus each: 1 to 10,000. Further ones wait.
    /// Default: 64.
    pub max_connections: usize,
    /// Modules that may be on their way at a time, from the first byte of the body to the end of the
    /// load, up to 32 MiB each: 1 to 1000. Default: 4.
    pub max_uploads: usize,
    /// Seconds after which a connection is closed that has not sent a whole head, idle or not: 1 to
    /// 86,400. For Prometheus, too. Default: 75.
    pub idle_timeout_secs: u64,
    /// Seconds for a body to arrive: 1 to 86,400. Default: 60.
    pub body_timeout_secs: u64,
    /// TLS.
    pub tls: ListenerTlsSection,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 29_001,
            token_file: None,
            audit_file: None,
            allowed_hosts: Vec::new(),
            max_connections: 64,
            max_uploads: 4,
            idle_timeout_secs: 75,
            body_timeout_secs: 60,
            tls: ListenerTlsSection::default(),
        }
    }
}

/// `[records]`: which decisions are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsSection {
    /// Share of the requests whose decisions are recorded: 0.0 (none) to 1.0 (all). Default: 0.0.
    pub sample: f64,
    /// File to which records are appended, a JSON object a line. Default: none.
    pub file: Option<PathBuf>,
    /// Newest records that are kept in memory for `sgl-router plugin explain`: 0 to 100,000.
    /// Default: 1000.
    pub keep: usize,
    /// Whether a client that sends `x-sgl-explain` gets `x-sgl-decision` with its answer, and its
    /// request recorded. Default: false.
    pub header: bool,
    /// What is recorded of requests and workers: `declared`, what the policy declares, or `all`, for
    /// `sgl-router plugin replay` with other policies. All of it is then worked out of every request, the
    /// index of prefixes and the books are kept. Default: `declared`.
    pub inputs: RecordedInputs,
}

impl Default for RecordsSection {
    fn default() -> Self {
        Self { sample: 0.0, file: None, keep: 1000, header: false, inputs: RecordedInputs::Declared }
    }
}

/// `[upstream]`: how workers are called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSection {
    /// Milliseconds to connect to a worker: 1 to 60,000. Default: 2000.
    pub connect_timeout_ms: u64,
    /// Seconds for a whole request, its streamed answer included: 1 to 86,400. It ends up to a
    /// tenth later, at most a second. Default: 1800.
    pub request_timeout_secs: u64,
    /// Seconds that a worker may take to the first byte of an answer, and of a stream's first event:
    /// 0 (no limit) to 86,400. Another worker is asked then, once. Default: 0.
    pub first_byte_timeout_secs: u64,
    /// Seconds that may pass between two pieces of an answer: 0 (no limit) to 86,400. The answer is
    /// broken off then. Default: 600.
    pub silence_timeout_secs: u64,
    /// Whether each data-parallel rank of an engine is a worker of its own for policies, with a load of its
    /// own, and requests say which rank is to serve them. Default: false, the engine picks the rank.
    pub dp_aware: bool,
    /// Idle connections that are kept for each worker: 0 to 65,536. Default: 512.
    pub max_idle_connections: usize,
    /// Seconds after which an idle connection to a worker is closed: 1 to 3600. Default: 50.
    pub idle_timeout_secs: u64,
    /// TLS to workers.
    pub tls: WorkerTlsSection,
}

impl Default for UpstreamSection {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 2000,
            request_timeout_secs: 1800,
            first_byte_timeout_secs: 0,
            silence_timeout_secs: 600,
            dp_aware: false,
            max_idle_connections: 512,
            idle_timeout_secs: 50,
            tls: WorkerTlsSection::default(),
        }
    }
}

/// `[retry]`: second chances on other workers, before anything was sent to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Retries of one request: 0 (none) to 100. Default: 5.
    pub max_retries: u32,
    /// What is a reason for one: any of `connect`, `broken`, `silent`, `429`, `500`,
    /// `500-engine-dead`, `502`, `503`, `504`. Default: all but `500` and `504`.
    pub on: Vec<String>,
}

impl Default for RetrySection {
    fn default() -> Self {
        Self { max_retries: 5, on: RetryCondition::DEFAULT.map(str::to_owned).to_vec() }
    }
}

/// `[health]`: active checks of each worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// Seconds between checks: 0 (none: all workers count as healthy) to 3600. Default: 10.
    pub interval_secs: u64,
    /// Seconds for one check: 1 to 600. Default: 5.
    pub timeout_secs: u64,
    /// Failed checks in a row after which a worker is out: 1 to 1000. Default: 3.
    pub failure_threshold: u32,
    /// Passed checks in a row after which it is back: 1 to 1000. The first check of a new worker
    /// decides alone. Default: 2.
    pub success_threshold: u32,
    /// Path that is asked; 200 to 299 passes. Default: `/health`.
    pub endpoint: String,
    /// Whether a worker is asked for its load too, for policies that look at its queue, and for that which
    /// engine it is (`docs/signals.md`). One that tells no load is asked more and more rarely.
    /// Default: true.
    pub poll_load: bool,
    /// Milliseconds between two questions for a worker's load, whether there are checks or not: 0 (none) or
    /// 100 to 3,600,000. Default: 1000.
    pub load_interval_ms: u64,
    /// Whether a worker is asked for its models (`/v1/models`): when it comes up and every 30
    /// seconds. Otherwise only `model` of its table is known. Default: true.
    pub poll_models: bool,
}

impl Default for HealthSection {
    fn default() -> Self {
        Self {
            interval_secs: 10,
            timeout_secs: 5,
            failure_threshold: 3,
            success_threshold: 2,
            endpoint: "/health".to_owned(),
            poll_load: true,
            load_interval_ms: 1000,
            poll_models: true,
        }
    }
}

/// `[circuit_breaker]`: when a worker that fails requests is taken out of the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitSection {
    /// Failed requests in a row that open it: 0 (never) to 100,000. Failed means: no connection, no
    /// whole answer, a status of 500 and above but 501, 503 and 505, or an event in a stream that
    /// tells of such an error. Default: 10.
    pub failure_threshold: u32,
    /// Probes in a row that must succeed to close it again: 1 to 1000. Default: 1.
    pub success_threshold: u32,
    /// Seconds until the first probe: 1 to 3600. Default: 10.
    pub timeout_secs: u64,
}

impl Default for CircuitSection {
    fn default() -> Self {
        Self { failure_threshold: 10, success_threshold: 1, timeout_secs: 10 }
    }
}
