//! An engine that started anew holds nothing, though its checks are far apart.

use std::time::Duration;

use serde_json::json;
use sgl_router::RunningRouter;
use sgl_router::config::CheckedConfig;
use sgl_testkit::client::{call, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

use crate::proxy::kv_rig::{held, holds, named, start};

fn metrics(generated: u32) -> String {
    format!(
        "vllm:num_requests_running{{engine=\"0\"}} 0\nvllm:generation_tokens_total{{engine=\"0\"}} {generated}\n"
    )
}

/// One check at the start, and questions for load every 10 ms.
fn rarely_checking(worker: &Upstream) -> CheckedConfig {
    worker.serve("/version", 200, r#"{"version": "0.32.0"}"#);
    worker.serve("/metrics", 200, &metrics(1000));
    let mut config = router::checking(vec![named(worker.entry())]);
    config.proxy.health.interval = Some(Duration::from_secs(3600));
    config
}

/// A prompt that the only worker is believed to hold now.
async fn sent(router: &RunningRouter, worker: &Upstream) -> Vec<u32> {
    let tokens: Vec<u32> = (100..132).collect();
    let request = json!({"model": "sim-model", "prompt": tokens}).to_string();
    // The index begins with a request.
    until(async || {
        call(router.addresses().data, post("/v1/completions", &request)).await.status == 200
            && held(router, &worker.url(), &tokens) == 32
    })
    .await;
    tokens
}

#[tokio::test]
async fn engine_whose_counters_begin_anew_holds_nothing() {
    let worker = Upstream::saying("{}").await;
    let router = start(rarely_checking(&worker)).await;
    let tokens = sent(&router, &worker).await;
    // As long as they grow, it is the same.
    worker.serve("/metrics", 200, &metrics(2000));
    let asked = worker.asked("/metrics");
    until(async || worker.asked("/metrics") > asked + 2).await;
    assert_eq!(held(&router, &worker.url(), &tokens), 32);
    worker.serve("/metrics", 200, &metrics(7));
    holds(&router, &worker.url(), &tokens, 0).await;
}

#[tokio::test]
async fn engine_that_takes_no_connections_holds_nothing_before_a_check_fails() {
    let worker = Upstream::saying("{}").await;
    let router = start(rarely_checking(&worker)).await;
    let (tokens, url) = (sent(&router, &worker).await, worker.url());
    drop(worker);
    holds(&router, &url, &tokens, 0).await;
    let passing = router::target(&router, &url).expect("it is there").is_passing();
    assert!(passing, "no check has found out");
}
