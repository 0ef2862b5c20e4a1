use std::path::Path;

use sgl_router::cli::ServeArgs;
use sgl_router::config::{PluginEntry, RouterConfig, Surroundings, WorkerEntry, check, read_config};
use sgl_router::internals::configuration;
use sglang_router_rs::config::{CanaryOptions, ShadowOptions};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::NativePolicy;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/router.example.toml");

#[test]
fn example_file_shows_the_defaults() {
    let (mut shown, faults) = read_config(Path::new(EXAMPLE));
    assert!(faults.is_empty(), "{faults:?}");
    let (workers, plugins) = (std::mem::take(&mut shown.workers), std::mem::take(&mut shown.plugins));
    assert_eq!(shown, RouterConfig::default());
    // Where a default depends on the machine or is "nothing", the example shows a value.
    let worker = &workers[0];
    assert_eq!((worker.role, worker.weight), (WorkerRole::Regular, WorkerEntry::default().weight));
    let mut plugin = plugins[0].clone();
    let defaults = PluginEntry::default();
    plugin.options.max_instances = defaults.options.max_instances;
    assert_eq!(plugin.options, defaults.options);
    assert_eq!(plugin.max_execution_time_ms, defaults.max_execution_time_ms);
    assert_eq!(plugin.max_memory_bytes, defaults.max_memory_bytes);
    assert_eq!(plugin.allowed_syscalls, defaults.allowed_syscalls);
    assert_eq!(plugin.config["factor"], 1.5);
}

#[test]
fn example_file_has_no_faults_and_names_every_key() {
    let (config, faults) = read_config(Path::new(EXAMPLE));
    let surroundings =
        Surroundings { built_in_policies: &NativePolicy::NAMES, faults, ..Surroundings::default() };
    check(config, surroundings).expect("no faults");
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let ways = (CanaryOptions::default(), ShadowOptions::default());
    let debug = format!("{:?} {:?} {ways:?}", RouterConfig::default(), PluginEntry::default());
    let keys = debug.split([' ', '{', '}', ',', '(', ')', '"']).filter_map(|word| word.strip_suffix(':'));
    for key in keys {
        let named = text.contains(&format!("{key} ="))
            || text.contains(&format!("[{key}]"))
            || text.contains(&format!("[[{key}]]"))
            || text.contains(&format!(".{key}]"));
        assert!(named, "{key} is missing");
    }
}

#[test]
fn faults_of_file_and_flags_are_reported_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    std::fs::write(
        &file,
        r#"
policy = "nobody"
typo = 1
[server]
host = "everywhere"
max_payload_size = 0
[admin]
host = "0.0.0.0"
[health]
endpoint = "health"
timeout_secs = "soon"
[[workers]]
url = "ftp://w"
[[workers]]
url = "http://w:1"
[[workers]]
url = "http://w:1/"
weight = 0.0
[[workers]]
url = "http://w:2"
weight = 1e39
[[plugins]]
name = "round_robin"
module_path = "a.wasm"
max_execution_time_ms = 30001
max_memory_bytes = 104857601
allowed_syscalls = ["fd_write", "sock_send"]
[plugins.options]
max_instances = 0
fallback = "nobody"
digest = "abc"
[[plugins]]
name = "twice"
[[plugins]]
name = "twice"
module_path = "b.wasm"
"#,
    )
    .unwrap();
    let args = ServeArgs {
        config: Some(file),
        retry_max_retries: Some(101),
        plugin: vec!["no-file".to_owned()],
        ..ServeArgs::default()
    };
    let faults = configuration(&args).unwrap_err();
    let expected = [
        "typo (line 3): unknown field",
        "health.timeout_secs (line 11): invalid type: string \"soon\", expected u64",
        "--plugin: found \"no-file\"; allowed: NAME=FILE",
        "policy: found \"nobody\"; allowed: one of random, round_robin",
        "server.host: found \"everywhere\"; allowed: an IP address",
        "server.max_payload_size: found 0; allowed: 1 to",
        "admin.host: found 0.0.0.0; allowed: a loopback address",
        "health.endpoint: found \"health\"; allowed: a path that starts with `/`",
        "retry.max_retries (--retry-max-retries): found 101; allowed: 0 to 100",
        "workers[0].url: found \"ftp://w\"; allowed: `http://host`",
        "workers[2].weight: found 0; allowed: a number above 0, from 1.2e-38 to 3.4e38",
        "workers[3].weight: found 1000",
        "workers[2].url: found \"http://w:1\"; allowed: a URL that no other worker has",
        "plugins[0].name: found \"round_robin\"; allowed: any name but those of the built-in policies",
        "plugins[0].max_execution_time_ms: found 30001; allowed: 1 to 30000",
        "plugins[0].max_memory_bytes: found 104857601; allowed: 65536",
        "plugins[0].allowed_syscalls[1]: found \"sock_send\"; allowed: WASI preview 1 functions",
        "plugins[0].options.max_instances: found 0; allowed: 1 to 1000",
        "plugins[0].options.fallback: found \"nobody\"; allowed: one of random",
        "plugins[0].options.digest: found \"abc\"; allowed: 64 hex digits",
        "plugins[1].module_path: found nothing; allowed: the path of a `.wasm` file",
        "plugins[2].name: found \"twice\"; allowed: a name that no other plugin has",
    ];
    let found: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
    for fault in expected {
        assert!(found.iter().any(|found| found.starts_with(fault)), "{fault} is missing in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    std::fs::write(&file, "policy = \"random\"\n[server]\nport = 1\n[[workers]]\nurl = \"http://file\"\n")
        .unwrap();
    let args = ServeArgs {
        config: Some(file.clone()),
        port: Some(2),
        prefill: ["http://p1", "9001", "http://p2", "none", "http://p3"].map(str::to_owned).to_vec(),
        decode: vec!["http://d".to_owned()],
        disable_retries: true,
        disable_circuit_breaker: true,
        dp_aware: true,
        ..ServeArgs::default()
    };
    let config = configuration(&args).unwrap();
    assert!(config.proxy.dp_aware);
    assert_eq!((config.policy.as_str(), config.data_address.port()), ("random", 2));
    assert_eq!((config.proxy.max_retries, config.proxy.circuit.failures), (0, 0));
    let workers: Vec<_> = config.workers.iter().map(|w| (w.url.as_str(), w.role, w.bootstrap_port)).collect();
    let expected = [
        ("http://p1", WorkerRole::Prefill, Some(9001)),
        ("http://p2", WorkerRole::Prefill, None),
        ("http://p3", WorkerRole::Prefill, None),
        ("http://d", WorkerRole::Decode, None),
    ];
    assert_eq!(workers, expected, "flags replace the workers of the file");
    let plain = configuration(&ServeArgs { config: Some(file), ..ServeArgs::default() }).unwrap();
    assert_eq!(plain.workers[0].url, "http://file");
    assert!(!plain.proxy.dp_aware);
}

#[test]
fn plugin_may_be_the_policy_wherever_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine.wasm"), "").unwrap();
    let args = ServeArgs {
        plugin_dir: Some(dir.path().to_owned()),
        plugin: vec!["other=somewhere/x.wasm".to_owned()],
        policy: Some("mine".to_owned()),
        ..ServeArgs::default()
    };
    let config = configuration(&args).unwrap();
    let names: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!((names, config.policy.as_str()), (vec!["other", "mine"], "mine"));
}
