//! Faults in the settings of plugins: all of them at the start, each with its key.

use std::path::Path;

use sgl_testkit::process::{command, output};

/// Two plugins of the file with every kind of fault that settings can have.
const FILE: &str = r#"
policy = "third"
plugin_dir = "DIR"
[[plugins]]
name = "a b"
max_execution_time_ms = 0
max_memory_bytes = 65535
allowed_syscalls = ["fd_write", "sock_send", "clock_time"]
[plugins.options]
max_instances = 1001
max_waiting = 1000001
max_wait_ms = 60001
max_tmp_bytes = 1073741825
max_tmp_files = 10001
fallback = "second"
digest = "sha256:12"
breaker = { backoff_ms = 0 }
probation = { max_failure_rate = 1.5 }
[plugins.options.rollout]
mode = "canary"
percent = 0.0
max_failure_rate_increase = -0.1
max_request_error_rate_increase = 1.1
max_p99_ratio = 0.5
[[plugins]]
name = "random"
max_execution_time_ms = 30001
max_memory_bytes = 104857601
allowed_syscalls = ["proc_raise", ""]
[plugins.options]
max_instances = 3
min_warm = 4
max_waiting = 1000001
max_wait_ms = 60001
max_tmp_bytes = 1073741825
max_tmp_files = 10001
fallback = ""
digest = "xyz"
breaker = { backoff_ms = 2, max_backoff_ms = 1 }
probation = { max_failure_rate = nan }
rollout = { mode = "shadow", every = 0 }
"#;

/// One plugin of the directory.
const BESIDE: &str = r#"
max_memory_bytes = "many"
allowed_syscalls = ["clock_time"]
options = { min_warm = 0, rollout = { mode = "canary", percent = 101.0 }, breaker = { backoff_ms = 0 } }
"#;

const EXPECTED: [&str; 42] = [
    r#"plugins[0].name: found "a b"; allowed: 1 to 64 letters, digits, `_`, `-`, `.`"#,
    "plugins[0].module_path: found nothing; allowed: the path of a `.wasm` file",
    "plugins[0].max_execution_time_ms: found 0; allowed: 1 to 30000",
    "plugins[0].max_memory_bytes: found 65535; allowed: 65536 (one page) to 104857600 (100 MB)",
    r#"plugins[0].allowed_syscalls[1]: found "sock_send"; allowed: WASI preview 1 functions, but neither"#,
    r#"plugins[0].allowed_syscalls[2]: found "clock_time"; allowed: WASI preview 1 functions, such as"#,
    "plugins[0].options.max_instances: found 1001; allowed: 1 to 1000",
    "plugins[0].options.max_waiting: found 1000001; allowed: 0 to 1000000",
    "plugins[0].options.max_wait_ms: found 60001; allowed: 0 to 60000",
    "plugins[0].options.max_tmp_bytes: found 1073741825; allowed: 0 to 1073741824",
    "plugins[0].options.max_tmp_files: found 10001; allowed: 0 to 10000",
    r#"plugins[0].options.fallback: found "second"; allowed: one of random, round_robin"#,
    r#"plugins[0].options.digest: found "sha256:12"; allowed: 64 hex digits"#,
    "plugins[0].options.rollout.percent: found 0; allowed: above 0 and at most 100",
    "plugins[0].options.rollout.max_failure_rate_increase: found -0.1; allowed: 0.0 to 1.0",
    "plugins[0].options.rollout.max_request_error_rate_increase: found 1.1; allowed: 0.0 to 1.0",
    "plugins[0].options.rollout.max_p99_ratio: found 0.5; allowed: 1.0 or more",
    "plugins[0].options.probation.max_failure_rate: found 1.5; allowed: 0.0 to 1.0",
    "plugins[0].options.breaker.backoff_ms: found 0; allowed: 1 to max_backoff_ms",
    r#"plugins[1].name: found "random"; allowed: any name but those of the built-in policies"#,
    "plugins[1].module_path: found nothing; allowed: the path of a `.wasm` file",
    "plugins[1].max_execution_time_ms: found 30001; allowed: 1 to 30000",
    "plugins[1].max_memory_bytes: found 104857601; allowed: 65536 (one page) to 104857600 (100 MB)",
    r#"plugins[1].allowed_syscalls[0]: found "proc_raise"; allowed: WASI preview 1 functions, but neither"#,
    r#"plugins[1].allowed_syscalls[1]: found ""; allowed: WASI preview 1 functions, such as"#,
    "plugins[1].options.min_warm: found 4; allowed: 1 to max_instances",
    "plugins[1].options.max_waiting: found 1000001; allowed: 0 to 1000000",
    "plugins[1].options.max_wait_ms: found 60001; allowed: 0 to 60000",
    "plugins[1].options.max_tmp_bytes: found 1073741825; allowed: 0 to 1073741824",
    "plugins[1].options.max_tmp_files: found 10001; allowed: 0 to 10000",
    r#"plugins[1].options.fallback: found ""; allowed: one of random, round_robin"#,
    r#"plugins[1].options.digest: found "xyz"; allowed: 64 hex digits"#,
    "plugins[1].options.rollout.every: found 0; allowed: 1 or more",
    "plugins[1].options.probation.max_failure_rate: found NaN; allowed: 0.0 to 1.0",
    "plugins[1].options.breaker.max_backoff_ms: found 1; allowed: at least backoff_ms (2)",
    "DIR/third.toml: max_memory_bytes (line 2): invalid type: string",
    r#"DIR/third.toml: allowed_syscalls[0]: found "clock_time"; allowed: WASI preview 1 functions, such as"#,
    "DIR/third.toml: options.min_warm: found 0; allowed: 1 to max_instances",
    "DIR/third.toml: options.rollout.percent: found 101; allowed: above 0 and at most 100",
    "DIR/third.toml: options.breaker.backoff_ms: found 0; allowed: 1 to max_backoff_ms",
    "policy: found \"third\"; allowed: one of random, round_robin",
    "the configuration has 41 faults",
];

#[tokio::test]
async fn every_fault_of_every_plugin_is_reported_at_the_start_with_its_key() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("plugins");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("third.wasm"), "").unwrap();
    std::fs::write(dir.join("third.toml"), BESIDE).unwrap();
    let at = |text: &str| text.replace("DIR", path(&dir));
    let file = root.path().join("router.toml");
    std::fs::write(&file, at(FILE)).unwrap();
    let output = output(command(&["serve", "--config", path(&file)])).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("sgl-router:").trim()).collect();
    for expected in EXPECTED.map(at) {
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{expected} is missing in\n{text}");
    }
    assert_eq!(lines.len(), EXPECTED.len(), "{text}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
