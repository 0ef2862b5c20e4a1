//! The router's own books while requests pass through.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use sgl_policy_abi::Input;
use sgl_router::config::WorkerEntry;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{TestClient, call, chat, piece, post};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins;
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;
use sgl_testkit::upstream::{Upstream, stream, whole};
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::{Load, PluginOptions, PolicyFactory};
use tokio::sync::mpsc;

/// A router whose plugin reads the books and gives each request a cost of 2.5 at the first worker.
async fn start(workers: Vec<WorkerEntry>) -> RunningRouter {
    start_reading(workers, &[Input::TokensInFlight, Input::PendingCost]).await
}

/// The same with other inputs.
async fn start_reading(workers: Vec<WorkerEntry>, inputs: &[Input]) -> RunningRouter {
    let fields = format!(r#"{}(data (i32.const 16) "\93\00\07\ca\40\20\00\00")"#, manifest(inputs));
    let factory = PolicyFactory::new();
    let load = Load::bytes(plugins::config("mine"), guest_with(&fields, &answer(16, 8)));
    factory.load(load.with(PluginOptions::default())).await.expect("it loads");
    let mut config = router::config(workers);
    config.policy = "mine".to_owned();
    RunningRouter::start(config, &factory, Arc::new(Metrics::new())).await.expect("a router")
}

/// The books of a worker, as operators see them.
async fn books(router: &RunningRouter, worker: &Upstream) -> Value {
    router::shown(router, &worker.url()).await.expect("it is there")["books"].clone()
}

async fn shows(router: &RunningRouter, worker: &Upstream, expected: &Value) {
    until(async || {
        let books = books(router, worker).await;
        expected.as_object().unwrap().iter().all(|(key, value)| books[key] == *value)
    })
    .await;
}

async fn is_empty(router: &RunningRouter, worker: &Upstream) {
    let zero = json!({
        "prefill_load": 0, "prefill_tokens": 0, "uncached_tokens": 0, "tokens_in_flight": 0, "pending_cost": 0.0,
        "oldest_pending_ms": null,
    });
    shows(router, worker, &zero).await;
}

/// A worker that streams what a test sends.
async fn scripted() -> (Upstream, mpsc::Receiver<mpsc::Sender<Bytes>>) {
    let (send, scripts) = mpsc::channel(4);
    let worker = Upstream::start(move |_| {
        let (response, pieces, _) = stream();
        send.try_send(pieces).unwrap();
        async { response }
    });
    (worker.await, scripts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stream_is_pending_until_its_first_event_and_each_event_is_a_token() {
    let (worker, mut scripts) = scripted().await;
    let router = start(vec![worker.entry()]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let begun = async {
        let pieces = soon(scripts.recv()).await.unwrap();
        // 8 bytes of prompt, four a token.
        let pending = json!({
            "prefill_load": 1, "prefill_tokens": 2, "uncached_tokens": 2, "tokens_in_flight": 2, "pending_cost": 2.5,
        });
        shows(&router, &worker, &pending).await;
        assert!(books(&router, &worker).await["oldest_pending_ms"].is_number());
        pieces.send(": a comment\n\n".into()).await.unwrap();
        shows(&router, &worker, &pending).await;
        pieces.send("data: 1\n\n".into()).await.unwrap();
        pieces
    };
    let (response, pieces) = tokio::join!(client.send(chat("12345678")), begun);
    let mut body = response.unwrap().into_body();
    let mut read = String::new();
    while !read.contains("data: 1") {
        read += &piece(&mut body).await.unwrap();
    }
    let streaming = json!({
        "prefill_load": 0, "prefill_tokens": 0, "uncached_tokens": 0, "tokens_in_flight": 3, "pending_cost": 0.0,
        "oldest_pending_ms": null,
    });
    shows(&router, &worker, &streaming).await;
    assert!(books(&router, &worker).await["ttft_ms"].as_f64() > Some(0.0));
    pieces.send("data: 2\n\ndata: 3\n\n".into()).await.unwrap();
    assert!(piece(&mut body).await.is_some());
    shows(&router, &worker, &json!({ "tokens_in_flight": 5 })).await;
    pieces.send("data: [DONE]\n\n".into()).await.unwrap();
    drop(pieces);
    while piece(&mut body).await.is_some() {}
    is_empty(&router, &worker).await;
    assert!(books(&router, &worker).await["tpot_ms"].as_f64() > Some(0.0));
}

#[tokio::test]
async fn whole_answer_ends_what_was_pending_and_moves_no_average() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = start(vec![worker.entry()]).await;
    let asked = async {
        worker.arrived(1).await;
        shows(&router, &worker, &json!({ "prefill_load": 1, "pending_cost": 2.5 })).await;
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(call(router.addresses().data, chat("hi")), asked);
    assert_eq!(answer.status.as_u16(), 200);
    is_empty(&router, &worker).await;
    let books = books(&router, &worker).await;
    assert!(books.get("ttft_ms").is_none() && books.get("tpot_ms").is_none(), "{books}");
}

#[tokio::test]
async fn what_the_index_holds_of_a_prompt_is_not_uncached() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = start_reading(vec![worker.entry()], &[Input::UncachedTokens, Input::PrefixMatch]).await;
    // Forty tokens: two whole blocks, and eight that are never held.
    let prompt = || post("/generate", &json!({"input_ids": (1..=40).collect::<Vec<u32>>()}).to_string());
    for (number, uncached) in [(1, 40), (2, 8)] {
        let asked = async {
            worker.arrived(number).await;
            shows(&router, &worker, &json!({ "prefill_tokens": 40, "uncached_tokens": uncached })).await;
            gate.add_permits(1);
        };
        let (answer, ()) = tokio::join!(call(router.addresses().data, prompt()), asked);
        assert_eq!(answer.status.as_u16(), 200);
        is_empty(&router, &worker).await;
    }
}

#[tokio::test]
async fn client_that_hangs_up_leaves_nothing_in_the_books() {
    let (worker, ended) = Upstream::without_an_answer().await;
    let router = start(vec![worker.entry()]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let pending = json!({ "prefill_load": 1 });
    tokio::select! {
        _ = client.send(chat("hi")) => panic!("there is no answer"),
        () = shows(&router, &worker, &pending) => {}
    }
    drop(client);
    soon(ended.notified()).await;
    is_empty(&router, &worker).await;
}

#[tokio::test]
async fn request_that_is_tried_again_is_in_the_books_of_one_worker_at_a_time() {
    let (failing, second) = (Upstream::failing(503).await, Upstream::behind_a_gate().await);
    let router = start(vec![failing.entry(), second.0.entry()]).await;
    let asked = async {
        second.0.arrived(1).await;
        // The fallback has chosen it, at no cost.
        shows(&router, &second.0, &json!({ "prefill_load": 1, "pending_cost": 0.0 })).await;
        is_empty(&router, &failing).await;
        second.1.add_permits(1);
    };
    let (answer, ()) = tokio::join!(call(router.addresses().data, chat("hi")), asked);
    assert_eq!(answer.status.as_u16(), 200);
    is_empty(&router, &second.0).await;
}

#[tokio::test]
async fn worker_that_breaks_off_leaves_nothing_in_the_books() {
    let worker = Upstream::start(|_| async {
        let (mut response, pieces, _) = stream();
        // Less comes than was announced.
        response.headers_mut().insert("content-length", "100".parse().unwrap());
        pieces.send("data: 1\n\n".into()).await.unwrap();
        response
    })
    .await;
    let router = start(vec![worker.entry()]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let mut body = client.send(chat("hi")).await.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());
    assert!(piece(&mut body).await.is_none());
    is_empty(&router, &worker).await;
}

#[tokio::test]
async fn halves_of_a_pair_are_in_the_books_of_both_workers() {
    let (prefill, gate) = Upstream::behind_a_gate().await;
    let decode = {
        let gate = Arc::clone(&gate);
        Upstream::start(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                whole(200, "{}")
            }
        })
        .await
    };
    let entry = |worker: &Upstream, role| WorkerEntry { role, ..worker.entry() };
    let workers = vec![entry(&prefill, WorkerRole::Prefill), entry(&decode, WorkerRole::Decode)];
    let router = start(workers).await;
    let asked = async {
        let first = json!({ "prefill_load": 1, "prefill_tokens": 2, "tokens_in_flight": 2 });
        shows(&router, &prefill, &first).await;
        let second = json!({ "prefill_load": 1, "prefill_tokens": 0, "tokens_in_flight": 2 });
        shows(&router, &decode, &second).await;
        gate.add_permits(2);
    };
    let request = post("/generate", r#"{"text": "12345678"}"#);
    let (answer, ()) = tokio::join!(call(router.addresses().data, request), asked);
    assert_eq!(answer.status.as_u16(), 200);
    is_empty(&router, &prefill).await;
    is_empty(&router, &decode).await;
}
