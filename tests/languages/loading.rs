//! Through a router: each loads, decides, refuses and fails in words that name the fault.

use std::collections::HashMap;

use serde_json::json;
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{config, stats, without_probation};
use sglang_router_rs::policies::{Load, PolicyFactory, SelectWorkerInfo, WasmPolicyConfig};

use crate::modules::of_all_languages;

/// With room for a runtime that brings a heap of its own, and its system calls.
fn settings(language: &str, name: &str) -> WasmPolicyConfig {
    let mut config = WasmPolicyConfig { max_memory_bytes: 16 << 20, ..config(name) };
    if language == "go" {
        config.allowed_syscalls = GO_SYSCALLS.map(str::to_owned).to_vec();
    }
    config
}

/// What the runtime of Go imports, whatever the policy does.
const GO_SYSCALLS: [&str; 10] = [
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

#[tokio::test]
async fn least_work_of_every_language_serves() {
    for (language, module) in of_all_languages("least_work") {
        let factory = PolicyFactory::new();
        let load = Load::bytes(settings(language, "test"), module).with(without_probation());
        factory.load(load).await.unwrap_or_else(|error| panic!("{language}: {error:?}"));
        let policy = factory.create_by_name("test").unwrap();
        for workers in [1, 3, 64, 500] {
            let table = fleet(workers).table();
            for _ in 0..20 {
                let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
                assert!(decision.index() < workers, "{language}");
            }
        }
        let stats = stats(&factory);
        assert!(stats.failures.iter().all(|(_, count)| *count == 0), "{language}: {stats:?}");
    }
}

#[tokio::test]
async fn misspelt_key_refuses_the_load_with_the_nearest_one() {
    for (language, module) in of_all_languages("least_work") {
        let config = HashMap::from([("by_wait".to_owned(), json!(true))]);
        let settings = WasmPolicyConfig { config, ..settings(language, "test") };
        let error = PolicyFactory::new().load(Load::bytes(settings, module)).await.unwrap_err().to_string();
        assert!(error.contains("unknown config key `by_wait`; known: `by_weight`"), "{language}: {error}");
    }
}

#[tokio::test]
async fn panic_is_told_with_its_message_file_and_line() {
    for (language, module) in of_all_languages("everything") {
        let factory = PolicyFactory::new();
        let load = Load::bytes(settings(language, "test"), module).with(without_probation());
        factory.load(load).await.unwrap_or_else(|error| panic!("{language}: {error:?}"));
        let policy = factory.create_by_name("test").unwrap();
        let table = fleet(3).table();
        let query = vec![("key".to_owned(), "panic".to_owned())];
        let info = SelectWorkerInfo { query: Some(&query), ..SelectWorkerInfo::default() };
        policy.decide_async(&table, &info).await.expect("the fallback decides");
        let failure = factory.plugin_detail("test").unwrap().last_failure.unwrap();
        for part in ["trap", "panicked at ", "everything", "asked to", "; in "] {
            assert!(failure.contains(part), "{language}: {part:?} is not in {failure}");
        }
    }
}
