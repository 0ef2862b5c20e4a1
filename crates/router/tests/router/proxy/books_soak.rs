//! However requests end, the books of all workers end at zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;
use sgl_policy_abi::Input;
use sgl_router::config::WorkerEntry;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins;
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;
use sgl_testkit::upstream::{Script, SeenRequest, Upstream, stream, whole};
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::PolicyFactory;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const WORKERS: usize = 3;
const REQUESTS: usize = 400;
/// Requests at a time.
const CROWD: usize = 16;

/// What a worker does with a request; the request says it.
const WAYS: [&str; 12] = [
    "whole",
    "usage",
    "plain",
    "nonsense",
    "cut",
    "endless",
    "silent",
    "full",
    "broken",
    "refused",
    "error",
    "late_error",
];

/// A plugin that goes round, at a cost of 2.5, and reads the books or does not.
async fn load(factory: &PolicyFactory, reads_books: bool) {
    let inputs: &[Input] =
        if reads_books { &[Input::TokensInFlight, Input::PendingCost] } else { &[Input::Load] };
    let fields = format!(
        r#"{}(global $turn (mut i32) (i32.const 0)) (data (i32.const 16) "\93\00\07\ca\40\20\00\00")"#,
        manifest(inputs)
    );
    let body = format!(
        "(global.set $turn (i32.add (global.get $turn) (i32.const 1)))
         (i32.store8 (i32.const 17) (i32.rem_u (global.get $turn) (i32.const {WORKERS}))) {}",
        answer(16, 8)
    );
    plugins::load(factory, "mine", guest_with(&fields, &body)).await.expect("it loads");
}

fn event(tokens: u64) -> Bytes {
    let event = json!({"choices": [{"index": 0, "delta": {"content": "x"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": tokens}});
    format!("data: {event}\n\n").into()
}

async fn reply(seen: SeenRequest) -> http::Response<Script> {
    let way = seen.json()["user"].as_str().expect("a way").to_owned();
    let error = "data: {\"error\": {\"message\": \"no\", \"code\": 503}}\n\n";
    let plain = "data: {\"choices\": [{\"index\": 0}]}\n\n";
    let pieces: Vec<Bytes> = match way.as_str() {
        "whole" => {
            return whole(200, r#"{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 70}}"#);
        }
        "silent" => std::future::pending().await,
        "full" => return whole(503, "{}"),
        "broken" => return whole(500, "{}"),
        "refused" => return whole(400, "{}"),
        "usage" => vec![plain.into(), event(5), event(9), event(4), "data: [DONE]\n\n".into()],
        "nonsense" => vec![event(u64::from(u32::MAX)), event(u64::MAX), event(0), "data: [DONE]\n\n".into()],
        "error" => vec![error.into(), "data: [DONE]\n\n".into()],
        "late_error" => vec![event(3), error.into(), "data: [DONE]\n\n".into()],
        _ => vec![plain.into(), event(12), plain.into()],
    };
    let (mut response, send, ended) = stream();
    if way == "cut" {
        response.headers_mut().insert("content-length", "100000".parse().expect("a header"));
    }
    tokio::spawn(async move {
        for piece in pieces {
            if send.send(piece).await.is_err() {
                return;
            }
        }
        while way == "endless" && send.send(event(1)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if way == "endless" {
            ended.notified().await;
        }
    });
    response
}

/// One client: some read to the end, some leave before the answer or within it.
async fn ask(address: std::net::SocketAddr, path: &'static str, nth: usize) {
    let way = WAYS[nth % WAYS.len()];
    let request =
        post(path, &json!({"user": way, "prompt": "12345678", "text": "1234", "stream": true}).to_string());
    let mut client = TestClient::connect(address).await;
    let asking = client.send(request);
    let leaves = way == "silent" || nth % 7 == 3;
    let Ok(answered) = (if leaves {
        tokio::time::timeout(Duration::from_millis(20), asking).await.ok().transpose().map_err(|_| ())
    } else {
        Ok(soon(asking).await.ok())
    }) else {
        return;
    };
    let Some(response) = answered else { return };
    let mut body = response.into_body();
    let pieces = if way == "endless" || leaves { 3 } else { usize::MAX };
    for _ in 0..pieces {
        // It ends, or breaks off.
        if !matches!(soon(body.frame()).await, Some(Ok(_))) {
            return;
        }
    }
}

/// Kills a worker again and again, within its answers.
async fn kill(mut worker: Upstream, kills: Arc<AtomicUsize>) -> Upstream {
    let address = worker.address;
    while kills.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        drop(worker);
        // Its listener is closed a moment later.
        while TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        worker = Upstream::start_at(address, reply).await;
    }
    worker
}

async fn all_are_empty(router: &RunningRouter, urls: &[String]) {
    let zero = json!({"prefill_load": 0, "prefill_tokens": 0, "uncached_tokens": 0, "tokens_in_flight": 0, "pending_cost": 0.0});
    for url in urls {
        until(async || router::in_flight(router, url) == 0).await;
        let books = router::shown(router, url).await.expect("it is there")["books"].clone();
        for (column, value) in zero.as_object().expect("columns") {
            assert_eq!(books[column], *value, "{url}: {column} in {books}");
        }
        assert!(books["oldest_pending_ms"].is_null(), "{url}: {books}");
    }
}

/// Sends requests that end in every way while workers die and plugins are swapped.
async fn soak(roles: [WorkerRole; WORKERS], path: &'static str) {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Upstream::start(reply).await);
    }
    let entry = |(worker, role): (&Upstream, WorkerRole)| WorkerEntry { role, ..worker.entry() };
    let mut config = router::config(workers.iter().zip(roles).map(entry).collect());
    config.policy = "mine".to_owned();
    config.proxy.circuit.failures = 0;
    let urls: Vec<String> = workers.iter().map(Upstream::url).collect();
    let factory = PolicyFactory::new();
    load(&factory, true).await;
    let metrics = Arc::new(Metrics::new());
    let router = Box::pin(RunningRouter::start(config, &factory, metrics)).await.expect("a router");
    let going = Arc::new(AtomicUsize::new(REQUESTS));
    let killing = tokio::spawn(kill(workers.remove(0), Arc::clone(&going)));
    let address = router.addresses().data;
    let mut crowd = JoinSet::new();
    let mut most = 0;
    for nth in 0..REQUESTS {
        if crowd.len() >= CROWD {
            soon(crowd.join_next()).await.expect("one of them").expect("it ends");
        }
        if nth % 40 == 39 {
            load(&factory, nth % 80 != 39).await;
        }
        crowd.spawn(ask(address, path, nth));
        let snapshot = router.proxy().backends().snapshot();
        let books = snapshot
            .table()
            .workers()
            .iter()
            .filter_map(|worker| sglang_router_rs::core::Worker::book_numbers(&**worker));
        most = books.map(|books| books.tokens_in_flight).fold(most, i32::max);
    }
    while let Some(ended) = soon(crowd.join_next()).await {
        ended.expect("it ends");
    }
    going.store(0, Ordering::Relaxed);
    let _worker = soon(killing).await.expect("it ends");
    assert!(most > 0, "requests were in the books");
    load(&factory, true).await;
    all_are_empty(&router, &urls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn books_end_at_zero_whatever_becomes_of_requests() {
    Box::pin(soak([WorkerRole::Regular; WORKERS], "/v1/completions")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn books_end_at_zero_whatever_becomes_of_pairs() {
    Box::pin(soak([WorkerRole::Decode, WorkerRole::Prefill, WorkerRole::Prefill], "/generate")).await;
}
