//! Regular workers beside prefill and decode workers.

use http::StatusCode;
use sgl_router::RunningRouter;
use sgl_router::config::{RoleEntry, WorkerEntry};
use sgl_testkit::client::{Whole, call, get, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::core::Worker;

fn worker(worker: &Upstream, role: RoleEntry, model: Option<&str>) -> WorkerEntry {
    WorkerEntry { role, model: model.map(str::to_owned), ..worker.entry() }
}

/// A regular worker, a prefill and a decode worker, each of which answers with its name.
async fn three() -> [Upstream; 3] {
    [Upstream::saying("alone").await, Upstream::saying("prefill").await, Upstream::saying("decode").await]
}

/// All of one model, or of none that is known.
fn entries([alone, prefill, decode]: &[Upstream; 3]) -> Vec<WorkerEntry> {
    vec![
        worker(alone, RoleEntry::Regular, None),
        worker(prefill, RoleEntry::Prefill, None),
        worker(decode, RoleEntry::Decode, None),
    ]
}

async fn ask(router: &RunningRouter, path: &str, model: &str) -> Whole {
    let body = serde_json::json!({"model": model, "prompt": "x", "messages": [], "input": "x"});
    call(router.addresses().data, post(path, &body.to_string())).await
}

async fn readiness(router: &RunningRouter) -> serde_json::Value {
    call(router.addresses().data, get("/readiness")).await.json()
}

fn reason(answer: &Whole) -> String {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available")
    );
    answer.json()["error"]["reason"].as_str().expect("a reason").to_owned()
}

/// Waits until the router has seen what became of the worker's health.
async fn seen(router: &RunningRouter, worker: &Upstream, healthy: bool) {
    let target = router::target(router, &worker.url()).expect("it is there");
    until(async || target.worker().is_healthy() == healthy).await;
}

#[tokio::test]
async fn request_goes_to_those_who_serve_its_model_be_it_one_or_a_pair() {
    let [alone, prefill, decode] = three().await;
    let half = Upstream::saying("half").await;
    let router = router::start(router::config(vec![
        worker(&alone, RoleEntry::Regular, Some("a")),
        worker(&prefill, RoleEntry::Prefill, Some("b")),
        worker(&decode, RoleEntry::Decode, Some("b")),
        worker(&half, RoleEntry::Prefill, Some("c")),
    ]))
    .await;
    let listed = call(router.addresses().data, get("/v1/models")).await.json();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, ["a", "b"], "half a pair serves nobody");
    for path in ["/v1/chat/completions", "/v1/completions", "/generate"] {
        assert_eq!(ask(&router, path, "a").await.text(), "alone", "{path}");
        assert_eq!(ask(&router, path, "b").await.text(), "decode", "{path}");
        assert_eq!(reason(&ask(&router, path, "c").await), "none_qualifies", "{path}");
    }
    assert_eq!(ask(&router, "/v1/embeddings", "a").await.text(), "alone");
    assert_eq!(reason(&ask(&router, "/v1/embeddings", "b").await), "none_qualifies");
    assert!(!alone.seen().iter().any(|seen| seen.json().get("bootstrap_room").is_some()));
    prefill.arrived(3).await;
    assert!(half.seen().is_empty());
}

#[tokio::test]
async fn regular_worker_serves_while_a_half_of_every_pair_is_ill() {
    let workers = three().await;
    let router = router::start(router::checking(entries(&workers))).await;
    let [alone, prefill, decode] = &workers;
    for worker in &workers {
        seen(&router, worker, true).await;
    }
    assert_eq!(ask(&router, "/generate", "m").await.text(), "decode", "pairs come first");
    for half in [prefill, decode] {
        half.set_health(500);
        seen(&router, half, false).await;
        assert_eq!(readiness(&router).await["ready"], true);
        assert_eq!(ask(&router, "/generate", "m").await.text(), "alone");
        // What is no JSON object is the worker's to refuse.
        let odd = call(router.addresses().data, post("/generate", "[]")).await;
        assert_eq!(odd.text(), "alone");
        half.set_health(200);
        seen(&router, half, true).await;
    }
    alone.set_health(500);
    seen(&router, alone, false).await;
    assert_eq!(readiness(&router).await["ready"], true);
    assert_eq!(ask(&router, "/generate", "m").await.text(), "decode");
}

#[tokio::test]
async fn readiness_and_refusals_agree_on_why_nobody_serves() {
    let workers = three().await;
    let router = router::start(router::checking(entries(&workers))).await;
    let [alone, _, decode] = &workers;
    for worker in &workers {
        seen(&router, worker, true).await;
    }
    let drain = async |worker: &Upstream| {
        let path = format!("/workers/drain?url={}", worker.url());
        call(router.addresses().admin, sgl_testkit::client::with_method("POST", &path)).await;
    };
    let why = async |expected: &str| {
        assert_eq!(readiness(&router).await["reason"], expected);
        assert_eq!(reason(&ask(&router, "/generate", "m").await), expected);
        assert_eq!(reason(&call(router.addresses().data, get("/v1/models")).await), expected);
    };
    alone.set_health(500);
    seen(&router, alone, false).await;
    drain(decode).await;
    why("none_healthy").await;
    drain(alone).await;
    why("all_draining").await;
}
