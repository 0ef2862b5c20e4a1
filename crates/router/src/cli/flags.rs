//! The flags of `sgl-router serve`. Names follow `sglang-router` where it has one.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::call_flags::CallFlags;
use crate::cli::check_flags::StartCheckFlags;
use crate::cli::flag_values::count_or_none;
use crate::cli::fleet_flags::FleetFlags;
use crate::cli::foreign;
use crate::cli::foreign::ForeignArgs;
use crate::cli::registry_flags::RegistryArgs;
use crate::cli::setting::setting;
use crate::cli::source_flags::SourceFlags;
use crate::cli::tls_flags::TlsArgs;
use crate::cli::watch_flags::WatchFlags;
use crate::config::plugin_entry::set_module;
use crate::config::router::RouterConfig;
use crate::config::worker_entry::WorkerEntry;
use sglang_router_rs::config::Fault;
use sglang_router_rs::core::WorkerRole;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `serve`. All are optional and win over the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); docs/router.example.toml shows all of it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address for clients [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<String>,
    /// Port for clients, 0 = any free one [default: 30000]
    #[arg(long)]
    pub port: Option<u16>,
    /// TLS and HTTP/2.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Workers, such as http://10.0.0.7:30000; they replace those of the file
    #[arg(long, num_args = 0.., value_name = "URL")]
    pub worker_urls: Vec<String>,
    /// A prefill worker and the port of its bootstrap server; may be given more than once
    #[arg(long, num_args = 1..=2, value_names = ["URL", "BOOTSTRAP_PORT"])]
    pub prefill: Vec<String>,
    /// A decode worker; may be given more than once
    #[arg(long, value_name = "URL")]
    pub decode: Vec<String>,
    /// Where workers come from
    #[command(flatten)]
    pub sources: SourceFlags,
    /// Each data-parallel rank of an engine is a worker of its own for policies
    #[arg(long)]
    pub dp_aware: bool,

    /// Policy: random, round_robin, power_of_two, least_load, consistent_hash, a plugin's name, or an embedded
    /// one, such as cache_aware (sgl-router plugin list --embedded) [default: round_robin]
    #[arg(long)]
    pub policy: Option<String>,
    /// A setting of the policy, such as cache_threshold=0.3, before that of the file: JSON, or else text; may
    /// be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    pub policy_config: Vec<String>,
    /// A plugin, such as my_policy=plugins/my_policy.wasm, or my_policy=oci://HOST/REPOSITORY:TAG; may be given
    /// more than once
    #[arg(long, value_name = "NAME=FILE")]
    pub plugin: Vec<String>,
    /// Directory whose .wasm files are plugins, configured by .toml files of the same stem
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Changes in the plugin directory become new generations while the router runs
    #[arg(long)]
    pub watch: bool,
    /// Directory where plugins that are loaded while the router runs are kept over a restart
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Bytes that the instances of all plugins may come to have resident together [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub max_plugin_memory: Option<u64>,
    /// Directory where compiled modules are kept, so that they are not compiled again
    #[arg(long, value_name = "DIR")]
    pub aot_cache: Option<PathBuf>,
    /// Modules of registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The fleet that it is one of.
    #[command(flatten)]
    pub fleet: FleetFlags,

    /// Address for Prometheus [default: 127.0.0.1]
    #[arg(long)]
    pub prometheus_host: Option<String>,
    /// Port for Prometheus, 0 = any free one [default: 29000]
    #[arg(long)]
    pub prometheus_port: Option<u16>,
    /// Address for operators; beyond loopback a token is needed [default: 127.0.0.1]
    #[arg(long)]
    pub admin_host: Option<String>,
    /// Port for operators, 0 = any free one [default: 29001]
    #[arg(long)]
    pub admin_port: Option<u16>,
    /// File that holds the operators' bearer token
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Names that operators may call the router by, besides loopback addresses and localhost
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub admin_allowed_hosts: Vec<String>,
    /// Names that Prometheus may call the router by, besides addresses and localhost
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub prometheus_allowed_hosts: Vec<String>,

    /// Filter of log lines: error, warn, info, debug, trace, off, or as in RUST_LOG
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Seconds for a whole request, its streamed answer included [default: 1800]
    #[arg(long)]
    pub request_timeout_secs: Option<u64>,
    /// Seconds to the first byte of a worker's answer, 0 = no limit [default: 0]
    #[arg(long)]
    pub first_byte_timeout_secs: Option<u64>,
    /// Seconds between two pieces of a worker's answer, 0 = no limit [default: 600]
    #[arg(long)]
    pub silence_timeout_secs: Option<u64>,
    /// Largest request body in bytes [default: 134217728]
    #[arg(long)]
    pub max_payload_size: Option<u64>,
    /// Seconds after SIGTERM in which the router still accepts requests but is not ready, so that
    /// balancers leave it [default: 0]
    #[arg(long)]
    pub shutdown_delay_secs: Option<u64>,
    /// Bytes that the bodies of all requests may take together [default: half of the memory]
    #[arg(long, value_name = "BYTES")]
    pub max_total_body_bytes: Option<u64>,
    /// Connections of clients at a time [default: what the limit of descriptors allows]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<usize>,
    /// Requests that are served at a time; one more waits; 0 or -1 = no limit [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = count_or_none, allow_negative_numbers = true)]
    pub max_concurrent_requests: Option<usize>,
    /// Requests that may wait; one more is answered with 429 [default: 100]
    #[arg(long, value_name = "COUNT")]
    pub queue_size: Option<usize>,
    /// Seconds that a request may wait; then 503 [default: 60]
    #[arg(long)]
    pub queue_timeout_secs: Option<u64>,
    /// Requests wait instead of being answered with 503 while no worker is ready
    #[arg(long)]
    pub wait_for_workers: bool,
    /// Seconds that requests in flight may take after the signal to stop [default: 60]
    #[arg(long)]
    pub shutdown_timeout_secs: Option<u64>,
    /// Answers carry x-sgl-worker with the URL of the worker
    #[arg(long)]
    pub worker_header: bool,
    /// What clients may call
    #[command(flatten)]
    pub calls: CallFlags,
    /// What is told of requests and of changes.
    #[command(flatten)]
    pub watching: WatchFlags,

    /// Retries of one request on other workers [default: 5]
    #[arg(long)]
    pub retry_max_retries: Option<u32>,
    /// What is a reason for one: connect, broken, silent, 429, 500, 500-engine-dead, 502, 503, 504
    /// [default: all but 500 and 504]
    #[arg(long, value_name = "REASON", value_delimiter = ',', num_args = 1..)]
    pub retry_on: Option<Vec<String>>,
    /// No retries
    #[arg(long)]
    pub disable_retries: bool,

    /// Seconds between health checks, 0 = none [default: 10]
    #[arg(long)]
    pub health_check_interval_secs: Option<u64>,
    /// Seconds for one health check [default: 5]
    #[arg(long)]
    pub health_check_timeout_secs: Option<u64>,
    /// Path that health checks ask [default: /health]
    #[arg(long)]
    pub health_check_endpoint: Option<String>,
    /// Milliseconds between two questions for a worker's load, 0 = none [default: 1000]
    #[arg(long, value_name = "MS")]
    pub load_interval_ms: Option<u64>,
    /// Failed checks in a row after which a worker is out [default: 3]
    #[arg(long)]
    pub health_failure_threshold: Option<u32>,
    /// Passed checks in a row after which it is back [default: 2]
    #[arg(long)]
    pub health_success_threshold: Option<u32>,

    /// Failed requests in a row that open a worker's circuit [default: 10]
    #[arg(long)]
    pub cb_failure_threshold: Option<u32>,
    /// Probes in a row that close it again [default: 1]
    #[arg(long)]
    pub cb_success_threshold: Option<u32>,
    /// Seconds until the first probe [default: 10]
    #[arg(long)]
    pub cb_timeout_duration_secs: Option<u64>,
    /// No circuits: failed requests take no worker out of the choice
    #[arg(long)]
    pub disable_circuit_breaker: bool,

    /// Only looks.
    #[command(flatten)]
    pub start_check: StartCheckFlags,

    /// Flags of other routers.
    #[command(flatten)]
    pub foreign: ForeignArgs,
}

fn set<T: Clone>(flag: &Option<T>, field: &mut T) {
    if let Some(value) = flag {
        *field = value.clone();
    }
}

impl ServeArgs {
    /// Lays the flags over a configuration. A flag with the wrong form adds to `faults`; its value is
    /// checked with the rest.
    pub fn lay_over(&self, config: &mut RouterConfig, faults: &mut Vec<Fault>) {
        self.lay_over_listeners(config);
        self.lay_over_limits(config);
        self.tls.lay_over(config);
        self.calls.lay_over(config);
        self.registry.lay_over(config);
        self.fleet.lay_over(config);
        self.watching.lay_over(config);
        self.sources.lay_over(config, faults);
        set(&self.policy_name().map(str::to_owned), &mut config.policy);
        let workers = self.workers(faults);
        if !workers.is_empty() {
            config.workers = workers;
        }
        if self.plugin_dir.is_some() {
            config.plugin_dir.clone_from(&self.plugin_dir);
        }
        config.watch_plugin_dir |= self.watch;
        config.upstream.dp_aware |= self.dp_aware;
        if self.state_dir.is_some() {
            config.state_dir.clone_from(&self.state_dir);
        }
        config.max_plugin_memory = self.max_plugin_memory.or(config.max_plugin_memory);
        if self.aot_cache.is_some() {
            config.aot_cache.clone_from(&self.aot_cache);
        }
        foreign::lay_over(&self.foreign, config, faults);
        let mut named = BTreeSet::new();
        for text in &self.plugin {
            match text.split_once('=') {
                Some((name, _)) if !named.insert(name) => {
                    faults.push(Fault::value("--plugin", format!("{name:?} twice"), "each name once"));
                }
                Some((name, path)) => set_module(&mut config.plugins, name, path),
                None => faults.push(Fault::value("--plugin", format!("{text:?}"), "NAME=FILE")),
            }
        }
        foreign::check_halves(&self.foreign, config, faults);
    }

    fn policy_name(&self) -> Option<&str> {
        self.policy.as_deref().or_else(|| foreign::policy_of_halves(&self.foreign))
    }

    /// What `--policy-config` sets, and the numbers that other routers have for the policy. A flag with the
    /// wrong form adds to `faults`.
    pub(crate) fn policy_settings(&self, policy: &str, faults: &mut Vec<Fault>) -> HashMap<String, Value> {
        let mut settings = HashMap::new();
        for text in &self.policy_config {
            let fault = |found, allowed| Fault::value("--policy-config", found, allowed);
            match setting(text) {
                None => faults.push(fault(format!("{text:?}"), "KEY=VALUE")),
                Some((key, _)) if settings.contains_key(key) => {
                    faults.push(fault(format!("{key:?} twice"), "each key once"));
                }
                Some((key, value)) => drop(settings.insert(key.to_owned(), value)),
            }
        }
        for (key, value) in foreign::policy_settings(&self.foreign, policy, faults) {
            settings.entry(key.to_owned()).or_insert(value);
        }
        settings
    }

    fn lay_over_listeners(&self, config: &mut RouterConfig) {
        set(&self.host, &mut config.server.host);
        set(&self.port, &mut config.server.port);
        set(&self.prometheus_host, &mut config.metrics.host);
        set(&self.prometheus_port, &mut config.metrics.port);
        set(&self.admin_host, &mut config.admin.host);
        set(&self.admin_port, &mut config.admin.port);
        if !self.admin_allowed_hosts.is_empty() {
            config.admin.allowed_hosts.clone_from(&self.admin_allowed_hosts);
        }
        if !self.prometheus_allowed_hosts.is_empty() {
            config.metrics.allowed_hosts.clone_from(&self.prometheus_allowed_hosts);
        }
        if self.admin_token_file.is_some() {
            config.admin.token_file.clone_from(&self.admin_token_file);
        }
        config.server.worker_header |= self.worker_header;
    }

    fn lay_over_limits(&self, config: &mut RouterConfig) {
        set(&self.max_payload_size, &mut config.server.max_payload_size);
        set(&self.shutdown_delay_secs, &mut config.server.shutdown_delay_secs);
        config.server.max_total_body_bytes = self.max_total_body_bytes.or(config.server.max_total_body_bytes);
        config.server.max_connections = self.max_connections.or(config.server.max_connections);
        self.lay_over_queue(config);
        set(&self.shutdown_timeout_secs, &mut config.server.shutdown_timeout_secs);
        set(&self.request_timeout_secs, &mut config.upstream.request_timeout_secs);
        set(&self.first_byte_timeout_secs, &mut config.upstream.first_byte_timeout_secs);
        set(&self.silence_timeout_secs, &mut config.upstream.silence_timeout_secs);
        set(&self.retry_max_retries, &mut config.retry.max_retries);
        set(&self.retry_on, &mut config.retry.on);
        set(&self.health_check_interval_secs, &mut config.health.interval_secs);
        set(&self.health_check_timeout_secs, &mut config.health.timeout_secs);
        set(&self.health_check_endpoint, &mut config.health.endpoint);
        set(&self.load_interval_ms, &mut config.health.load_interval_ms);
        set(&self.health_failure_threshold, &mut config.health.failure_threshold);
        set(&self.health_success_threshold, &mut config.health.success_threshold);
        set(&self.cb_failure_threshold, &mut config.circuit_breaker.failure_threshold);
        set(&self.cb_success_threshold, &mut config.circuit_breaker.success_threshold);
        set(&self.cb_timeout_duration_secs, &mut config.circuit_breaker.timeout_secs);
        if self.disable_retries {
            config.retry.max_retries = 0;
        }
        if self.disable_circuit_breaker {
            config.circuit_breaker.failure_threshold = 0;
        }
    }

    fn lay_over_queue(&self, config: &mut RouterConfig) {
        set(&self.max_concurrent_requests, &mut config.queue.max_concurrent_requests);
        set(&self.queue_size, &mut config.queue.size);
        set(&self.queue_timeout_secs, &mut config.queue.timeout_secs);
        config.queue.wait_for_workers |= self.wait_for_workers;
    }

    /// True if flags replace the workers of the file.
    pub(crate) fn has_workers(&self) -> bool {
        !self.workers(&mut Vec::new()).is_empty()
    }

    fn workers(&self, faults: &mut Vec<Fault>) -> Vec<WorkerEntry> {
        let with = |url: &String, role| WorkerEntry { url: url.clone(), role, ..WorkerEntry::default() };
        let mut workers: Vec<WorkerEntry> =
            self.worker_urls.iter().map(|url| with(url, WorkerRole::Regular)).collect();
        let mut prefill: Vec<WorkerEntry> = Vec::new();
        // One list: URLs, each followed by its port or not.
        for text in &self.prefill {
            match (text.parse::<u16>(), prefill.last_mut()) {
                (Ok(port), Some(worker)) => worker.bootstrap_port = Some(port),
                (Err(_), _) if text.eq_ignore_ascii_case("none") => {}
                (Err(_), _) => prefill.push(with(text, WorkerRole::Prefill)),
                (Ok(port), None) => faults.push(Fault::value("--prefill", port, "URL [BOOTSTRAP_PORT]")),
            }
        }
        workers.append(&mut prefill);
        workers.extend(self.decode.iter().map(|url| with(url, WorkerRole::Decode)));
        workers
    }
}
