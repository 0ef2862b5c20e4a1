//! Which keys of the configuration the flags of `serve` have set, so that a fault names the flag that
//! the operator typed.

use crate::cli::flags::ServeArgs;
use crate::config::router::RouterConfig;
use sglang_router_rs::config::Fault;
use sglang_router_rs::core::WorkerRole;

/// Keys with the flags that have set them.
#[derive(Debug, Default)]
pub(crate) struct FlagKeys(Vec<(String, &'static str)>);

impl FlagKeys {
    /// Of the flags that were given; `config` is the configuration with them laid over it.
    pub(crate) fn of(args: &ServeArgs, config: &RouterConfig) -> Self {
        let single =
            listeners(args).into_iter().chain(args.tls.given()).chain(limits(args)).chain(plugins(args));
        let single = single.chain(args.calls.given()).chain(args.registry.given());
        let single = single.chain(args.fleet.given());
        let single = single.chain(args.watching.given());
        let single = single.chain(args.sources.given());
        let given = single.filter(|(_, _, is_given)| *is_given);
        let mut keys: Vec<_> = given.map(|(key, flag, _)| (key.to_owned(), flag)).collect();
        if args.has_workers() {
            keys.extend(config.workers.iter().enumerate().map(|(position, worker)| {
                let flag = match worker.role {
                    WorkerRole::Regular => "--worker-urls",
                    WorkerRole::Prefill => "--prefill",
                    WorkerRole::Decode => "--decode",
                };
                (format!("workers[{position}]"), flag)
            }));
        }
        let named: Vec<&str> =
            args.plugin.iter().filter_map(|text| text.split_once('=')).map(|(name, _)| name).collect();
        for (position, plugin) in config.plugins.iter().enumerate() {
            if named.contains(&plugin.name.as_str()) {
                keys.extend(
                    ["name", "module_path"].map(|key| (format!("plugins[{position}].{key}"), "--plugin")),
                );
            }
        }
        Self(keys)
    }

    /// The fault with the flag beside its key.
    pub(crate) fn name(&self, fault: Fault) -> Fault {
        let is_within = |key: &str| {
            fault.path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match self.0.iter().find(|(key, _)| is_within(key)) {
            Some((_, flag)) => Fault { path: format!("{} ({flag})", fault.path), ..fault },
            None => fault,
        }
    }
}

/// A key, its flag, and whether that was given.
type Given = (&'static str, &'static str, bool);

fn listeners(args: &ServeArgs) -> Vec<Given> {
    vec![
        ("server.host", "--host", args.host.is_some()),
        ("server.port", "--port", args.port.is_some()),
        ("metrics.host", "--prometheus-host", args.prometheus_host.is_some()),
        ("metrics.port", "--prometheus-port", args.prometheus_port.is_some()),
        ("metrics.allowed_hosts", "--prometheus-allowed-hosts", !args.prometheus_allowed_hosts.is_empty()),
        ("admin.host", "--admin-host", args.admin_host.is_some()),
        ("admin.port", "--admin-port", args.admin_port.is_some()),
        ("admin.token_file", "--admin-token-file", args.admin_token_file.is_some()),
        ("admin.allowed_hosts", "--admin-allowed-hosts", !args.admin_allowed_hosts.is_empty()),
    ]
}

fn plugins(args: &ServeArgs) -> Vec<Given> {
    vec![
        ("policy", "--policy", args.policy.is_some()),
        ("plugin_dir", "--plugin-dir", args.plugin_dir.is_some()),
        ("watch_plugin_dir", "--watch", args.watch),
        ("state_dir", "--state-dir", args.state_dir.is_some()),
        ("max_plugin_memory", "--max-plugin-memory", args.max_plugin_memory.is_some()),
        ("aot_cache", "--aot-cache", args.aot_cache.is_some()),
    ]
}

fn limits(args: &ServeArgs) -> Vec<Given> {
    let given = |value: Option<u64>| value.is_some();
    let count = |value: Option<u32>| value.is_some();
    vec![
        ("server.max_payload_size", "--max-payload-size", given(args.max_payload_size)),
        ("server.max_total_body_bytes", "--max-total-body-bytes", given(args.max_total_body_bytes)),
        ("server.max_connections", "--max-connections", args.max_connections.is_some()),
        (
            "queue.max_concurrent_requests",
            "--max-concurrent-requests",
            args.max_concurrent_requests.is_some(),
        ),
        ("queue.size", "--queue-size", args.queue_size.is_some()),
        ("queue.timeout_secs", "--queue-timeout-secs", given(args.queue_timeout_secs)),
        ("server.shutdown_delay_secs", "--shutdown-delay-secs", given(args.shutdown_delay_secs)),
        ("server.shutdown_timeout_secs", "--shutdown-timeout-secs", given(args.shutdown_timeout_secs)),
        ("upstream.request_timeout_secs", "--request-timeout-secs", given(args.request_timeout_secs)),
        (
            "upstream.first_byte_timeout_secs",
            "--first-byte-timeout-secs",
            given(args.first_byte_timeout_secs),
        ),
        ("upstream.silence_timeout_secs", "--silence-timeout-secs", given(args.silence_timeout_secs)),
        ("retry.max_retries", "--retry-max-retries", count(args.retry_max_retries)),
        ("retry.on", "--retry-on", args.retry_on.is_some()),
        ("health.interval_secs", "--health-check-interval-secs", given(args.health_check_interval_secs)),
        ("health.timeout_secs", "--health-check-timeout-secs", given(args.health_check_timeout_secs)),
        ("health.endpoint", "--health-check-endpoint", args.health_check_endpoint.is_some()),
        ("health.load_interval_ms", "--load-interval-ms", given(args.load_interval_ms)),
        ("health.failure_threshold", "--health-failure-threshold", count(args.health_failure_threshold)),
        ("health.success_threshold", "--health-success-threshold", count(args.health_success_threshold)),
        ("circuit_breaker.failure_threshold", "--cb-failure-threshold", count(args.cb_failure_threshold)),
        ("circuit_breaker.success_threshold", "--cb-success-threshold", count(args.cb_success_threshold)),
        ("circuit_breaker.timeout_secs", "--cb-timeout-duration-secs", given(args.cb_timeout_duration_secs)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(args: &ServeArgs, path: &str) -> String {
        let mut config = RouterConfig::default();
        args.lay_over(&mut config, &mut Vec::new());
        FlagKeys::of(args, &config).name(Fault::value(path, 1, 2)).path
    }

    #[test]
    fn fault_names_the_flag_that_set_its_key_and_no_other() {
        let args = ServeArgs {
            watch: true,
            worker_urls: vec!["a".to_owned()],
            decode: vec!["b".to_owned()],
            plugin: vec!["p=f.wasm".to_owned()],
            retry_on: Some(Vec::new()),
            ..ServeArgs::default()
        };
        for (path, expected) in [
            ("watch_plugin_dir", "watch_plugin_dir (--watch)"),
            ("workers[0].url", "workers[0].url (--worker-urls)"),
            ("workers[1].url", "workers[1].url (--decode)"),
            ("plugins[0].name", "plugins[0].name (--plugin)"),
            ("plugins[0].options.rollout", "plugins[0].options.rollout"),
            ("retry.on[3]", "retry.on[3] (--retry-on)"),
            ("policy", "policy"),
        ] {
            assert_eq!(named(&args, path), expected);
        }
        assert_eq!(named(&ServeArgs::default(), "workers[0].url"), "workers[0].url");
    }
}
