//! The checks: from what was written to what may be used, all faults at once.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::access_log_section::AccessLogSettings;
use crate::config::admin_token::read_admin_token;
use crate::config::calls_section::CallSettings;
use crate::config::check_queue::check_queue;
use crate::config::check_sources::check_sources;
use crate::config::check_tls::{check_http2, check_listener_tls, check_worker_tls};
use crate::config::check_tokenizers::{check_tokenizers, check_tokenizing};
use crate::config::check_trust::check_trust;
use crate::config::check_workers::check_workers;
use crate::config::checked::{
    CheckedConfig, CircuitSettings, CompileSettings, DAY_SECS, HealthSettings, OperationsSettings,
    ProxySettings, RecordSettings, SilenceSettings, TlsListeners, UpstreamSettings, limit_of,
};
use crate::config::compile_section::CompileSection;
use crate::config::keys_section::KeySettings;
use crate::config::own_address::check_own_address;
use crate::config::plugin_set::{PluginSet, PolicyNames};
use crate::config::requests_section::RequestSettings;
use crate::config::retry_on::{RetryCondition, RetryOn};
use crate::config::router::{HealthSection, RouterConfig, UpstreamSection};
use crate::config::trace_section::TraceSettings;
use sglang_router_rs::config::{Fault, Faults};
use sglang_router_rs::types::shown_path;

/// How long an operator's client may leave its answer unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often workers are asked for their models.
const MODELS_INTERVAL: Duration = Duration::from_secs(30);

/// How often the files of certificates are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// What a configuration is checked against.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// Names of the built-in policies.
    pub built_in_policies: &'a [&'a str],
    /// Names of the policies whose modules the router brings along.
    pub embedded_policies: &'a [&'a str],
    /// Settings of the policy, which go before those that its plugin has.
    pub policy_settings: HashMap<String, serde_json::Value>,
    /// The admin token from the environment.
    pub admin_token: Option<String>,
    /// The workers' key from the environment.
    pub worker_api_key: Option<String>,
    /// Faults that were found while the configuration was read.
    pub faults: Vec<Fault>,
}

/// Checks everything. The plugins of the plugin directory are read and added.
///
/// # Errors
///
/// [`Faults`] holds every fault, those of reading first.
pub fn check(config: RouterConfig, surroundings: Surroundings<'_>) -> Result<CheckedConfig, Faults> {
    let (checked, faults) = check_all(config, surroundings);
    if faults.is_empty() { Ok(checked) } else { Err(Faults(faults)) }
}

/// The same. With faults, the configuration is good only to look for more of them: values stand in it for
/// those that cannot be used.
pub(crate) fn check_all(config: RouterConfig, surroundings: Surroundings<'_>) -> (CheckedConfig, Vec<Fault>) {
    let Surroundings { built_in_policies, embedded_policies, policy_settings, admin_token, .. } =
        surroundings;
    let (worker_api_key, mut faults) = (surroundings.worker_api_key, surroundings.faults);
    let names = PolicyNames { built_in: built_in_policies, embedded: embedded_policies };
    let mut plugins = PluginSet::checked(&config, names, &mut faults);
    plugins.set(&config.policy, &policy_settings, names, &mut faults);
    check_trust(&config, &mut faults);
    check_tokenizers(&config.tokenizers, &mut faults);
    let workers = check_workers(&config.workers, &mut faults);
    let sources = check_sources(&config.sources, &mut faults);
    let data_address = check_address("server", &config.server.host, config.server.port, &mut faults);
    check_own_address(&workers, data_address, &mut faults);
    let metrics_address = check_address("metrics", &config.metrics.host, config.metrics.port, &mut faults);
    let admin_address = check_address("admin", &config.admin.host, config.admin.port, &mut faults);
    let tls = TlsListeners {
        data: check_listener_tls(&config.server.tls, "server.tls", &mut faults),
        metrics: check_listener_tls(&config.metrics.tls, "metrics.tls", &mut faults),
        admin: check_listener_tls(&config.admin.tls, "admin.tls", &mut faults),
        look_interval: CERTIFICATE_LOOK,
    };
    let admin_token = check_token(&config, admin_token, admin_address, &mut faults);
    let operations = check_operations(&config, &mut faults);
    let delay = config.server.shutdown_delay_secs;
    let shutdown_delay =
        Duration::from_secs(within("server.shutdown_delay_secs", delay, 0..=3600, &mut faults));
    let keys = KeySettings::checked(&config.keys, worker_api_key.as_deref(), &mut faults);
    let proxy = check_proxy(&config, keys, &mut faults);
    let records = check_records(&config, &mut faults);
    let access_log = AccessLogSettings::checked(&config.access_log, &mut faults);
    let traces = TraceSettings::checked(&config.traces, &mut faults);
    let max_plugin_memory = config
        .max_plugin_memory
        .map(|bytes| within("max_plugin_memory", bytes, 1 << 20..=1 << 50, &mut faults));
    let compile = check_compile(&config.compile, &mut faults);
    let registry = config.registry.checked(config.state_dir.as_deref(), &mut faults);
    let fleet = config.fleet.checked(&mut faults);
    // A path that is no UTF-8 has no JSON form.
    let fixed = serde_json::to_value(&config).unwrap_or_default();
    let policy = plugins.built_in_policy.map_or(config.policy, str::to_owned);
    let checked = CheckedConfig {
        policy,
        data_address,
        metrics_address,
        admin_address,
        tls,
        admin_token,
        admin_token_file: config.admin.token_file,
        audit_file: config.admin.audit_file,
        operations,
        shutdown_delay,
        picker: None,
        proxy,
        records,
        access_log,
        traces,
        workers,
        sources,
        tokenizers: config.tokenizers,
        trust: config.trust,
        plugins: plugins.good,
        faulty_plugins: plugins.faulty,
        embedded_policy: plugins.embedded_policy,
        policy_settings,
        plugin_dir: config.plugin_dir,
        watch_plugin_dir: config.watch_plugin_dir,
        state_dir: config.state_dir,
        max_plugin_memory,
        aot_cache: config.aot_cache,
        compile,
        registry,
        fleet,
        fixed,
    };
    (checked, faults)
}

fn check_address(section: &str, host: &str, port: u16, faults: &mut Vec<Fault>) -> SocketAddr {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = match bare {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        bare => bare.parse().ok(),
    };
    if address.is_none() {
        let allowed = "an IP address such as 127.0.0.1 or 0.0.0.0, or localhost";
        faults.push(Fault::value(format!("{section}.host"), format!("{host:?}"), allowed));
    }
    SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
}

fn check_token(
    config: &RouterConfig,
    environment: Option<String>,
    address: SocketAddr,
    faults: &mut Vec<Fault>,
) -> Option<String> {
    let token = match &config.admin.token_file {
        None => environment,
        Some(file) => match read_admin_token(file) {
            Ok(token) => Some(token),
            Err(error) => {
                let found = format!("{} ({error})", shown_path(file));
                faults.push(Fault::value("admin.token_file", found, "a regular file that can be read"));
                return None;
            }
        },
    };
    if token.as_deref().is_some_and(|token| token.trim().is_empty()) {
        let from =
            if config.admin.token_file.is_some() { "admin.token_file" } else { "SGL_ROUTER_ADMIN_TOKEN" };
        faults.push(Fault::value(from, "an empty token", "at least one character"));
    }
    if token.is_none() && !address.ip().is_loopback() {
        let allowed = "a loopback address, or any with admin.token_file or SGL_ROUTER_ADMIN_TOKEN set";
        faults.push(Fault::value("admin.host", address.ip(), allowed));
    }
    if token.is_none() && config.calls.worker_api {
        let allowed = "only with admin.token_file or SGL_ROUTER_ADMIN_TOKEN set: clients are not operators";
        faults.push(Fault::value("calls.worker_api", true, allowed));
    }
    token
}

fn check_operations(config: &RouterConfig, faults: &mut Vec<Fault>) -> OperationsSettings {
    let admin = &config.admin;
    check_hosts("admin", &admin.allowed_hosts, faults);
    check_hosts("metrics", &config.metrics.allowed_hosts, faults);
    let mut seconds = |path: &str, value| Duration::from_secs(within(path, value, 1..=DAY_SECS, faults));
    let idle_timeout = seconds("admin.idle_timeout_secs", admin.idle_timeout_secs);
    let body_timeout = seconds("admin.body_timeout_secs", admin.body_timeout_secs);
    OperationsSettings {
        admin_hosts: admin.allowed_hosts.clone(),
        metrics_hosts: config.metrics.allowed_hosts.clone(),
        max_connections: within("admin.max_connections", admin.max_connections, 1..=10_000, faults),
        max_uploads: within("admin.max_uploads", admin.max_uploads, 1..=1000, faults),
        idle_timeout,
        body_timeout,
        write_timeout: WRITE_TIMEOUT,
    }
}

fn check_hosts(section: &str, hosts: &[String], faults: &mut Vec<Fault>) {
    for (position, host) in hosts.iter().enumerate() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if host.is_empty() || !(host.chars().all(is_name) || is_address) {
            let allowed = "a host's name or IP address, without a scheme or port";
            faults.push(Fault::value(
                format!("{section}.allowed_hosts[{position}]"),
                format!("{host:?}"),
                allowed,
            ));
        }
    }
}

fn check_compile(section: &CompileSection, faults: &mut Vec<Fault>) -> Option<CompileSettings> {
    let max_memory = within("compile.max_memory", section.max_memory, 64 << 20..=1 << 50, faults);
    let max_secs = within("compile.max_secs", section.max_secs, 1..=3600, faults);
    (!section.in_process).then_some(CompileSettings { max_memory, max_time: Duration::from_secs(max_secs) })
}

/// The value, or a fault and the lower limit.
fn within<T: PartialOrd + Display + Copy>(
    path: &str,
    value: T,
    range: RangeInclusive<T>,
    faults: &mut Vec<Fault>,
) -> T {
    if range.contains(&value) {
        return value;
    }
    faults.push(Fault::value(path, value, format!("{} to {}", range.start(), range.end())));
    *range.start()
}

fn check_proxy(config: &RouterConfig, keys: KeySettings, faults: &mut Vec<Fault>) -> ProxySettings {
    let server = &config.server;
    let upstream = &config.upstream;
    let seconds = |path: &str, value, range, faults: &mut Vec<Fault>| {
        Duration::from_secs(within(path, value, range, faults))
    };
    ProxySettings {
        max_payload_bytes: within("server.max_payload_size", server.max_payload_size, 1..=1 << 40, faults),
        max_total_body_bytes: server
            .max_total_body_bytes
            .map(|bytes| within("server.max_total_body_bytes", bytes, 1..=1 << 50, faults)),
        max_connections: server
            .max_connections
            .map(|count| within("server.max_connections", count, 1..=1_000_000, faults)),
        client_idle: seconds("server.idle_timeout_secs", server.idle_timeout_secs, 1..=DAY_SECS, faults),
        body_silence: seconds(
            "server.body_silence_timeout_secs",
            server.body_silence_timeout_secs,
            1..=DAY_SECS,
            faults,
        ),
        shutdown: seconds("server.shutdown_timeout_secs", server.shutdown_timeout_secs, 0..=DAY_SECS, faults),
        worker_header: server.worker_header,
        token_metrics: config.metrics.tokens,
        request_timeout: seconds(
            "upstream.request_timeout_secs",
            upstream.request_timeout_secs,
            1..=DAY_SECS,
            faults,
        ),
        silence: check_silence(upstream, faults),
        dp_aware: upstream.dp_aware,
        queue: check_queue(&config.queue, faults),
        max_retries: within("retry.max_retries", config.retry.max_retries, 0..=100, faults),
        retry_on: check_retry_on(&config.retry.on, faults),
        calls: CallSettings::checked(&config.calls, keys.clients.is_some(), faults),
        keys,
        requests: RequestSettings::checked(&config.requests, faults),
        upstream: UpstreamSettings {
            connect_timeout: Duration::from_millis(within(
                "upstream.connect_timeout_ms",
                upstream.connect_timeout_ms,
                1..=60_000,
                faults,
            )),
            max_idle: within(
                "upstream.max_idle_connections",
                upstream.max_idle_connections,
                0..=65_536,
                faults,
            ),
            idle_timeout: seconds("upstream.idle_timeout_secs", upstream.idle_timeout_secs, 1..=3600, faults),
        },
        health: check_health(config, faults),
        circuit: check_circuit(config, faults),
        tokenizing: check_tokenizing(&config.tokenizing, faults),
        http2: check_http2(&server.http2, faults),
        worker_tls: check_worker_tls(&upstream.tls, faults),
    }
}

fn check_silence(upstream: &UpstreamSection, faults: &mut Vec<Fault>) -> SilenceSettings {
    let mut limit = |path, secs| limit_of(within(path, secs, 0..=DAY_SECS, faults));
    SilenceSettings {
        first_byte: limit("upstream.first_byte_timeout_secs", upstream.first_byte_timeout_secs),
        between: limit("upstream.silence_timeout_secs", upstream.silence_timeout_secs),
    }
}

fn check_retry_on(names: &[String], faults: &mut Vec<Fault>) -> RetryOn {
    let mut check = |(position, name): (usize, &String)| {
        let known = RetryCondition::named(name);
        if known.is_none() {
            let names = RetryCondition::ALL.map(|(_, name)| name).join(", ");
            let allowed = format!("any of {names}");
            faults.push(Fault::value(format!("retry.on[{position}]"), format!("{name:?}"), allowed));
        }
        known
    };
    names.iter().enumerate().filter_map(&mut check).collect()
}

fn check_records(config: &RouterConfig, faults: &mut Vec<Fault>) -> Option<RecordSettings> {
    let records = &config.records;
    let sample = within("records.sample", records.sample, 0.0..=1.0, faults);
    let keep = within("records.keep", records.keep, 0..=100_000, faults);
    if records.file.is_some() && sample == 0.0 && !records.header {
        let found = "a file, but nothing that is recorded";
        faults.push(Fault::value(
            "records.file",
            found,
            "a file only with a sample above 0, or header = true",
        ));
    }
    (sample > 0.0 || records.header).then(|| RecordSettings {
        sample,
        file: records.file.clone(),
        keep,
        header: records.header,
        inputs: records.inputs,
    })
}

fn check_health(config: &RouterConfig, faults: &mut Vec<Fault>) -> HealthSettings {
    let health = &config.health;
    let interval = within("health.interval_secs", health.interval_secs, 0..=3600, faults);
    if !health.endpoint.starts_with('/') || !health.endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
        let allowed = "a path that starts with `/`, without spaces";
        faults.push(Fault::value("health.endpoint", format!("{:?}", health.endpoint), allowed));
    }
    HealthSettings {
        interval: (interval > 0).then(|| Duration::from_secs(interval)),
        timeout: Duration::from_secs(within("health.timeout_secs", health.timeout_secs, 1..=600, faults)),
        failures: within("health.failure_threshold", health.failure_threshold, 1..=1000, faults),
        successes: within("health.success_threshold", health.success_threshold, 1..=1000, faults),
        endpoint: health.endpoint.clone(),
        load_interval: check_load_interval(health, faults),
        poll_models: health.poll_models,
        models_interval: MODELS_INTERVAL,
    }
}

/// How often workers are asked for their load, if they are.
fn check_load_interval(health: &HealthSection, faults: &mut Vec<Fault>) -> Option<Duration> {
    let millis = health.load_interval_ms;
    if millis > 0 && !(100..=3_600_000).contains(&millis) {
        faults.push(Fault::value("health.load_interval_ms", millis, "0 (none) or 100 to 3600000"));
    }
    (millis > 0 && health.poll_load).then(|| Duration::from_millis(millis))
}

fn check_circuit(config: &RouterConfig, faults: &mut Vec<Fault>) -> CircuitSettings {
    let circuit = &config.circuit_breaker;
    let timeout = within("circuit_breaker.timeout_secs", circuit.timeout_secs, 1..=3600, faults);
    CircuitSettings {
        failures: within("circuit_breaker.failure_threshold", circuit.failure_threshold, 0..=100_000, faults),
        successes: within("circuit_breaker.success_threshold", circuit.success_threshold, 1..=1000, faults),
        timeout: Duration::from_secs(timeout),
    }
}
