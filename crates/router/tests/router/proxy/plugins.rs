//! Plugins behind the HTTP router.

use std::sync::Arc;

use http::StatusCode;
use sgl_router::internals::register_plugin_metrics;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{TestClient, call, chat};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};
use sglang_router_rs::policies::{Load, PolicyFactory};

/// A guest whose `select_worker` has this body. At 16 lies the answer "worker 1", at 17 "worker 100".
pub(crate) fn guest(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") 2)
          (data (i32.const 16) "\01\64")
          (global $heap (mut i32) (i32.const 65536))
          (func (export "alloc") (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (global.get $heap))
            (global.set $heap (i32.add (global.get $heap) (local.get $size)))
            (local.get $at))
          (func (export "dealloc") (param i32 i32))
          (func (export "init"))
          (func (export "select_worker") (param $ptr i32) (param $len i32) (result i64) {body}))"#
    );
    wat::parse_str(&text).expect("a module")
}

/// Always answers "worker 1".
pub(crate) const SECOND_WORKER: &str = "(i64.const 0x10_0000_0001)";

/// Always answers "worker 100", whom no test has.
const NO_WORKER: &str = "(i64.const 0x11_0000_0001)";

async fn start(workers: &[&Upstream], options: PluginOptions, wasm: Vec<u8>) -> RunningRouter {
    let factory = PolicyFactory::new();
    let config = WasmPolicyConfig::new("mine", "mine.wasm");
    factory.load(Load::bytes(config, wasm).with(options)).await.expect("it loads");
    let metrics = Arc::new(Metrics::new());
    register_plugin_metrics(&factory, &metrics);
    let mut config = router::config(workers.iter().map(|worker| worker.entry()).collect());
    config.policy = "mine".to_owned();
    RunningRouter::start(config, &factory, metrics).await.expect("a router")
}

#[tokio::test]
async fn plugin_places_every_request_and_its_metrics_tell_so() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let router = start(&[&first, &second], PluginOptions::default(), guest(SECOND_WORKER)).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..10 {
        assert_eq!(client.call(chat("hi")).await.text(), "second");
    }
    let page = router::metrics(&router).await;
    for line in [
        r#"sgl_router_plugin_decisions_total{plugin="mine"} 10"#,
        r#"sgl_router_plugin_failures_total{plugin="mine",cause="trap"} 0"#,
        r#"sgl_router_plugin_instances_busy{plugin="mine"} 0.0"#,
        r#"sgl_router_plugin_live_generations{plugin="mine"} 1.0"#,
        r#"sgl_router_plugin_decision_seconds_count{plugin="mine"} 1"#,
        r#"sgl_router_plugin_decision_seconds_bucket{le="+Inf",plugin="mine"} 1"#,
    ] {
        assert!(page.text().lines().any(|found| found == line), "{line} is missing in\n{}", page.text());
    }
}

#[tokio::test]
async fn retry_of_a_plugins_choice_goes_elsewhere() {
    let [first, second] = [Upstream::saying("first").await, Upstream::failing(503).await];
    let router = start(&[&first, &second], PluginOptions::default(), guest(SECOND_WORKER)).await;
    // The plugin insists on the worker that failed; that choice is invalid, and the fallback decides.
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "first");
    assert_eq!(second.seen().len(), 1);
}

#[tokio::test]
async fn failing_plugin_costs_no_request_unless_it_is_set_to_reject() {
    let worker = Upstream::saying("fine").await;
    let lenient = PluginOptions { self_test: false, ..PluginOptions::default() };
    let router = start(&[&worker], lenient.clone(), guest(NO_WORKER)).await;
    for _ in 0..3 {
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
    }
    let strict = PluginOptions { on_failure: sglang_router_rs::config::FailurePolicy::Reject, ..lenient };
    let router = start(&[&worker], strict, guest(NO_WORKER)).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "policy_failed"));
}

#[tokio::test]
async fn plugin_that_chooses_nobody_costs_no_request_unless_it_may_refuse() {
    let worker = Upstream::saying("fine").await;
    let lenient =
        PluginOptions { self_test: false, min_warm: 1, max_instances: 1, ..PluginOptions::default() };
    let router = start(&[&worker], lenient.clone(), guest("(i64.const 0)")).await;
    for _ in 0..8 {
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
    }
    let page = router::metrics(&router).await;
    for line in [
        r#"sgl_router_plugin_failures_total{plugin="mine",cause="no_choice"} 8"#,
        r#"sgl_router_plugin_fallbacks_total{plugin="mine"} 8"#,
        r#"sgl_router_plugin_breaker_open{plugin="mine"} 0.0"#,
    ] {
        assert!(page.text().lines().any(|found| found == line), "{line} is missing in\n{}", page.text());
    }
    let shedding = PluginOptions { may_refuse: true, ..lenient };
    let router = start(&[&worker], shedding, guest("(i64.const 0)")).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "no_worker_available");
    assert_eq!(answer.json()["error"]["reason"], "policy_chose_none");
}
