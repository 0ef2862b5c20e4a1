//! Regular workers beside prefill and decode workers.

use std::sync::Arc;

use http::StatusCode;
use sgl_router::RunningRouter;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{Whole, call, get, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::{Worker, WorkerRole};
use tokio::sync::Semaphore;

fn worker(worker: &Upstream, role: WorkerRole, model: Option<&str>) -> WorkerEntry {
    WorkerEntry { role, model: model.map(str::to_owned), ..worker.entry() }
}

/// A regular worker, a prefill and a decode worker, each of which answers with its name.
async fn three() -> [Upstream; 3] {
    [Upstream::saying("alone").await, Upstream::saying("prefill").await, Upstream::saying("decode").await]
}

/// All of one model, or of none that is known.
fn entries([alone, prefill, decode]: &[Upstream; 3]) -> Vec<WorkerEntry> {
    vec![
        worker(alone, WorkerRole::Regular, None),
        worker(prefill, WorkerRole::Prefill, None),
        worker(decode, WorkerRole::Decode, None),
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
        worker(&alone, WorkerRole::Regular, Some("a")),
        worker(&prefill, WorkerRole::Prefill, Some("b")),
        worker(&decode, WorkerRole::Decode, Some("b")),
        worker(&half, WorkerRole::Prefill, Some("c")),
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
        let path = format!("/workers/drain?url={}&force=true", worker.url());
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

fn role(entry: WorkerEntry, role: WorkerRole) -> WorkerEntry {
    WorkerEntry { role, ..entry }
}

/// A worker that answers with this status once somebody adds a permit for it.
async fn failing_behind_a_gate(status: u16) -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&gate);
    let worker = Upstream::start(move |_| {
        let permits = Arc::clone(&permits);
        async move {
            permits.acquire().await.expect("it stays open").forget();
            upstream::whole(status, "{}")
        }
    });
    (worker.await, gate)
}

#[tokio::test]
async fn request_whose_pair_fails_changes_over_to_a_regular_worker() {
    for failing in [WorkerRole::Prefill, WorkerRole::Decode] {
        for crashes in [true, false] {
            let [alone, prefill, _] = three().await;
            // As one does that waits for its other half.
            let (waiting, _) = Upstream::without_an_answer().await;
            let (crashing, full) = (Raw::start(|_| Act::Crash).await, Upstream::failing(503).await);
            let bad = if crashes { crashing.entry() } else { full.entry() };
            let (prefill, decode) = match failing {
                WorkerRole::Prefill => (bad, waiting.entry()),
                _ => (prefill.entry(), bad),
            };
            let (prefill, decode) = (role(prefill, WorkerRole::Prefill), role(decode, WorkerRole::Decode));
            let router = router::start(router::config(vec![alone.entry(), prefill, decode])).await;
            let answer = ask(&router, "/generate", "m").await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, "alone"), "{failing:?} {crashes}");
            let seen = alone.seen();
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].json().get("bootstrap_room"), None, "it is no half of a pair there");
        }
    }
}

#[tokio::test]
async fn request_that_changes_over_runs_twice_at_most() {
    let [_, prefill, _] = three().await;
    let crashing = [Raw::start(|_| Act::Crash).await, Raw::start(|_| Act::Crash).await];
    let decode = Raw::start(|_| Act::Crash).await;
    let mut entries: Vec<WorkerEntry> = crashing.iter().map(Raw::entry).collect();
    entries.push(role(prefill.entry(), WorkerRole::Prefill));
    entries.push(role(decode.entry(), WorkerRole::Decode));
    let router = router::start(router::config(entries)).await;
    let answer = ask(&router, "/generate", "m").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_closed"));
    let runs: usize = crashing.iter().map(Raw::runs).sum();
    assert_eq!((decode.runs(), runs), (1, 1));
}

#[tokio::test]
async fn request_whose_regular_worker_fails_changes_over_to_a_pair_that_came_up_meanwhile() {
    let [_, prefill, decode] = three().await;
    let (full, gate) = failing_behind_a_gate(503).await;
    decode.set_health(500);
    let router = router::start(router::checking(vec![
        full.entry(),
        role(prefill.entry(), WorkerRole::Prefill),
        role(decode.entry(), WorkerRole::Decode),
    ]))
    .await;
    for worker in [&full, &prefill] {
        seen(&router, worker, true).await;
    }
    let address = router.addresses().data;
    let asked = tokio::spawn(call(address, post("/generate", r#"{"text": ["a", "b"]}"#)));
    let odd = tokio::spawn(call(address, post("/generate", "[]")));
    full.arrived(2).await;
    decode.set_health(200);
    seen(&router, &decode, true).await;
    gate.add_permits(2);
    let answer = soon(asked).await.unwrap();
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "decode"));
    assert_eq!(soon(odd).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE, "no pair can be told of it");
    assert_eq!(decode.seen().len(), 1);
}

#[tokio::test]
async fn pair_that_was_not_there_when_a_request_came_is_told_all_that_it_must_know() {
    let [_, prefill, decode] = three().await;
    let (full, gate) = failing_behind_a_gate(503).await;
    let router = router::start(router::config(vec![full.entry()])).await;
    let body = r#"{"prompt": ["a", "b"]}"#;
    let asked = tokio::spawn(call(router.addresses().data, post("/v1/completions", body)));
    full.arrived(1).await;
    for (worker, half) in [(&prefill, WorkerRole::Prefill), (&decode, WorkerRole::Decode)] {
        router.proxy().backends().add(&role(worker.entry(), half)).expect("a new worker");
    }
    gate.add_permits(1);
    let answer = soon(asked).await.unwrap();
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "decode"));
    let rooms = decode.seen()[0].json()["bootstrap_room"].as_array().map(Vec::len);
    assert_eq!(rooms, Some(2), "one for each prompt");
}

#[tokio::test]
async fn halves_of_a_request_without_a_model_serve_the_same_one() {
    let mut workers = Vec::new();
    for (model, half) in [
        ("a", WorkerRole::Prefill),
        ("b", WorkerRole::Decode),
        ("b", WorkerRole::Prefill),
        ("a", WorkerRole::Decode),
        ("half", WorkerRole::Prefill),
    ] {
        workers.push((model, half, Upstream::saying("{}").await));
    }
    let entries = workers.iter().map(|(model, half, one)| worker(one, *half, Some(model))).collect();
    let router = router::start(router::config(entries)).await;
    let rounds = 40;
    for _ in 0..rounds {
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let rooms = |index: usize| {
        let seen = workers[index].2.seen();
        let mut rooms: Vec<u64> =
            seen.iter().filter_map(|seen| seen.json()["bootstrap_room"].as_u64()).collect();
        rooms.sort_unstable();
        rooms
    };
    until(async || rooms(0).len() + rooms(2).len() == rounds).await;
    for (prefill, decode) in [(0, 3), (2, 1)] {
        assert_eq!(rooms(prefill), rooms(decode));
        assert!(rooms(decode).len() > rounds / 8, "both models serve");
    }
    assert!(rooms(4).is_empty(), "it has no other half");
}

#[tokio::test]
async fn request_without_a_model_finds_the_pair_that_is_well_and_whole() {
    let [alone, prefill, decode] = three().await;
    let entries = |alone_model| {
        vec![
            worker(&alone, WorkerRole::Regular, alone_model),
            worker(&prefill, WorkerRole::Prefill, Some("a")),
            worker(&decode, WorkerRole::Decode, Some("b")),
        ]
    };
    let router = router::start(router::config(entries(Some("c")))).await;
    let answer = call(router.addresses().data, post("/generate", "{}")).await;
    assert_eq!(answer.text(), "alone", "the halves do not fit");
    let router = router::start(router::config(entries(None).split_off(1))).await;
    let answer = call(router.addresses().data, post("/generate", "{}")).await;
    assert_eq!(reason(&answer), "none_qualifies");
    assert_eq!(readiness(&router).await["ready"], false);
    // One model is ill: the other serves.
    let crashing = Raw::start(|_| Act::Crash).await;
    let mut entries = Vec::new();
    for (model, decode) in [("a", crashing.entry()), ("b", decode.entry())] {
        let prefill = Upstream::saying("{}").await;
        entries
            .push((WorkerEntry { model: Some(model.into()), ..role(decode, WorkerRole::Decode) }, prefill));
    }
    let mut all: Vec<WorkerEntry> = Vec::new();
    for (decode, prefill) in &entries {
        all.push(worker(prefill, WorkerRole::Prefill, decode.model.as_deref()));
        all.push(decode.clone());
    }
    let router = router::start(router::config(all)).await;
    for _ in 0..10 {
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "decode"));
    }
}

/// A pair for each of two models, `a` and `b`, whose workers list `more` of a name that both share. They
/// stand crosswise, so that who takes them in turn mixes them.
async fn two_models(more: fn(&str) -> serde_json::Value) -> (Vec<Upstream>, RunningRouter) {
    let (mut workers, mut entries) = (Vec::new(), Vec::new());
    for (model, half) in [
        ("a", WorkerRole::Prefill),
        ("b", WorkerRole::Decode),
        ("b", WorkerRole::Prefill),
        ("a", WorkerRole::Decode),
    ] {
        let one = Upstream::saying("{}").await;
        let list = serde_json::json!({"data": [{"id": model}, more(model)]});
        one.serve("/v1/models", 200, &list.to_string());
        entries.push(worker(&one, half, None));
        workers.push(one);
    }
    let router = router::start(router::learning(entries)).await;
    until(async || call(router.addresses().data, get("/v1/models")).await.text().contains(r#""b""#)).await;
    (workers, router)
}

/// The rooms in which a worker was to meet others.
fn rooms(worker: &Upstream) -> Vec<u64> {
    let seen = worker.seen();
    let mut rooms: Vec<u64> = seen.iter().filter_map(|seen| seen.json()["bootstrap_room"].as_u64()).collect();
    rooms.sort_unstable();
    rooms
}

#[tokio::test]
async fn halves_serve_the_same_model_though_a_name_is_shared() {
    let adapter = |model: &str| serde_json::json!({"id": "shared", "parent": model});
    let alias = |_: &str| serde_json::json!({"id": "shared"});
    for more in [adapter as fn(&str) -> serde_json::Value, alias] {
        let (workers, router) = two_models(more).await;
        let [prefill, other_decode, other_prefill, decode] = &workers[..] else { panic!("four") };
        for body in [r#"{}"#, r#"{"model": "shared"}"#, r#"{"model": "a"}"#] {
            let before = rooms(prefill).len() + rooms(other_prefill).len();
            let rounds = 24;
            for _ in 0..rounds {
                let answer = call(router.addresses().data, post("/v1/completions", body)).await;
                assert_eq!(answer.status, StatusCode::OK, "{body} {}", answer.text());
            }
            until(async || rooms(prefill).len() + rooms(other_prefill).len() == before + rounds).await;
            assert_eq!(rooms(prefill), rooms(decode), "{body}");
            assert_eq!(rooms(other_prefill), rooms(other_decode), "{body}");
            assert!(rooms(decode).len() > before / 8 && rooms(other_decode).len() > 1, "both models serve");
        }
    }
}

#[tokio::test]
async fn halves_of_different_models_are_no_pair_though_a_name_is_shared() {
    for (prefills, decodes, model) in [
        (r#"{"id":"a"},{"id":"lora","parent":"a"}"#, r#"{"id":"b"},{"id":"lora","parent":"b"}"#, "lora"),
        (r#"{"id":"a"},{"id":"alias"}"#, r#"{"id":"b"},{"id":"alias"}"#, "alias"),
        // Both serve both models, but each has the adapter for another.
        (
            r#"{"id":"a"},{"id":"b"},{"id":"lora","parent":"a"}"#,
            r#"{"id":"a"},{"id":"b"},{"id":"lora","parent":"b"}"#,
            "lora",
        ),
    ] {
        let workers = three().await;
        let [alone, prefill, decode] = &workers;
        alone.serve("/v1/models", 200, r#"{"data":[{"id":"c"}]}"#);
        prefill.serve("/v1/models", 200, &format!(r#"{{"data":[{prefills}]}}"#));
        decode.serve("/v1/models", 200, &format!(r#"{{"data":[{decodes}]}}"#));
        let mut config = router::checking(entries(&workers));
        config.proxy.health.poll_models = true;
        let router = router::start(config).await;
        until(async || {
            let targets = router.proxy().backends().snapshot();
            targets.targets().iter().all(|target| target.worker().is_healthy())
        })
        .await;
        for _ in 0..4 {
            assert_eq!(reason(&ask(&router, "/generate", model).await), "none_qualifies", "{model}");
        }
        let listed = call(router.addresses().data, get("/v1/models")).await;
        assert!(!listed.text().contains(&format!(r#""{model}""#)), "{}", listed.text());
    }
}

#[tokio::test]
async fn halves_of_one_model_are_a_pair_whatever_else_one_of_them_lists() {
    for (prefills, decodes) in [
        (r#"{"id":"m"}"#, r#"{"id":"m"},{"id":"alias"}"#),
        (r#"{"id":"m"}"#, r#"{"id":"m"},{"id":"lora","parent":"m"}"#),
        (r#"{"id":"m"},{"id":"x","parent":"m"}"#, r#"{"id":"m"},{"id":"y","parent":"m"}"#),
        (r#"{"id":"lora","parent":"m"}"#, r#"{"id":"m"},{"id":"lora","parent":"m"}"#),
        (r#"{"id":"m"},{"id":"alias"}"#, r#"{"id":"m"},{"id":"alias"}"#),
        ("", r#"{"id":"m"},{"id":"alias"}"#),
    ] {
        let [_, prefill, decode] = three().await;
        prefill.serve("/v1/models", 200, &format!(r#"{{"data":[{prefills}]}}"#));
        decode.serve("/v1/models", 200, &format!(r#"{{"data":[{decodes}]}}"#));
        let entries =
            vec![worker(&prefill, WorkerRole::Prefill, None), worker(&decode, WorkerRole::Decode, None)];
        let mut config = router::checking(entries);
        config.proxy.health.poll_models = true;
        let router = router::start(config).await;
        until(async || readiness(&router).await["ready"] == true).await;
        // Whom a request with a name goes to, lists it.
        let named = if prefills.starts_with(r#"{"id":"lora""#) { "lora" } else { "m" };
        for body in ["{}", &format!(r#"{{"model": "{named}"}}"#)] {
            let answer = call(router.addresses().data, post("/v1/completions", body)).await;
            assert_eq!(answer.text(), "decode", "{prefills} {decodes} {body}");
        }
    }
}
