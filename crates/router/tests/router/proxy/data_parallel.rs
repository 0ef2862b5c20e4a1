//! Engines whose data-parallel ranks are workers of their own.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use sgl_policy_abi::Input;
use sgl_router::RunningRouter;
use sgl_router::config::{RecordSettings, WorkerEntry};
use sgl_testkit::client::{call, chat, get, post, with_method};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};
use sglang_router_rs::core::{CandidateWorkers, Column, Worker};
use sglang_router_rs::types::{PrefixBlocks, PrefixHasher, PrefixSeed};

use crate::proxy::kv_rig::start_with;

const BOTH: [Dialect; 2] = [Dialect::Sglang, Dialect::Vllm];

fn sim(engine: Dialect, dp_size: usize) -> SimConfig {
    SimConfig { engine: Some(engine), dp_size, time_scale: 0.0, ..SimConfig::default() }
}

/// A worker whose ranks are workers of their own.
fn aware(entry: WorkerEntry) -> WorkerEntry {
    WorkerEntry { dp_aware: Some(true), model: Some("sim-model".to_owned()), ..entry }
}

pub(crate) fn names(router: &RunningRouter) -> Vec<String> {
    let snapshot = router.proxy().backends().snapshot();
    let mut names: Vec<String> =
        snapshot.table().workers().iter().map(|worker| worker.url().to_owned()).collect();
    names.sort();
    names
}

/// The ranks of a worker, from 0 on.
pub(crate) fn ranks(url: &str, count: usize) -> Vec<String> {
    (0..count).map(|rank| format!("{url}@{rank}")).collect()
}

/// Waits until these are the only workers, and all of them may be chosen.
pub(crate) async fn laid_out(router: &RunningRouter, expected: &[String]) {
    until(async || {
        let snapshot = router.proxy().backends().snapshot();
        names(router) == expected && snapshot.table().workers().iter().all(|worker| worker.is_healthy())
    })
    .await;
}

fn short() -> Value {
    json!({"prompt": "a", "max_tokens": 1})
}

async fn complete(router: &RunningRouter, path: &str, body: &Value) -> StatusCode {
    call(router.addresses().data, post(path, &body.to_string())).await.status
}

pub(crate) fn worker_of(router: &RunningRouter, name: &str) -> Arc<sglang_router_rs::core::FleetWorker> {
    Arc::clone(router::target(router, name).expect("it is there").worker())
}

#[tokio::test]
async fn each_rank_gets_its_own_requests() {
    for dialect in BOTH {
        let worker = SimWorker::start(sim(dialect, 3)).await.expect("a worker");
        let mut config = router::checking(vec![aware(router::entry(worker.addr()))]);
        config.proxy.worker_header = true;
        let router = router::start(config).await;
        laid_out(&router, &ranks(&worker.url(), 3)).await;
        let paths: &[&str] = match dialect {
            Dialect::Sglang => &["/v1/chat/completions", "/v1/completions", "/generate"],
            _ => &["/v1/chat/completions", "/v1/completions"],
        };
        for path in paths {
            for _ in 0..6 {
                let mut body = json!({"text": "a", "sampling_params": {"max_new_tokens": 1}});
                if *path != "/generate" {
                    let messages = json!([{"role": "user", "content": "a"}]);
                    body = json!({"prompt": "a", "messages": messages, "max_tokens": 1});
                }
                let mut request = post(path, &body.to_string());
                request.headers_mut().insert("x-data-parallel-rank", HeaderValue::from_static("0"));
                let answer = call(router.addresses().data, request).await;
                assert_eq!(answer.status, StatusCode::OK, "{dialect:?}: {}", answer.text());
                let named = answer.headers["x-sgl-worker"].to_str().expect("a name").to_owned();
                assert!(ranks(&worker.url(), 3).contains(&named), "{named}");
            }
        }
        let each = 2 * paths.len() as u64;
        assert_eq!(worker.requests_by_rank(), [each; 3], "{dialect:?}");
    }
}

#[tokio::test]
async fn what_a_client_says_of_ranks_does_not_count() {
    let worker = Upstream::saying("{}").await;
    let entry = WorkerEntry { dp_size: Some(2), ..worker.entry() };
    let router = router::start(router::config(vec![entry])).await;
    let body = r#"{"routed_dp_rank": 7, "data_parallel_rank": 7, "messages": []} "#;
    for _ in 0..2 {
        let mut request = post("/v1/chat/completions", body);
        request.headers_mut().append("x-data-parallel-rank", HeaderValue::from_static("7"));
        request.headers_mut().append("x-data-parallel-rank", HeaderValue::from_static("8"));
        assert_eq!(call(router.addresses().data, request).await.status, StatusCode::OK);
    }
    let mut told = Vec::new();
    for seen in worker.seen() {
        let headers: Vec<_> = seen.headers.get_all("x-data-parallel-rank").iter().collect();
        let rank = seen.json()["routed_dp_rank"].as_u64().expect("the last one counts");
        assert_eq!(headers, [rank.to_string().as_str()]);
        assert_eq!(seen.json()["data_parallel_rank"], rank);
        assert!(seen.body.starts_with(br#"{"routed_dp_rank": 7, "data_parallel_rank": 7, "messages": [],"#));
        assert_eq!(seen.headers["content-length"], seen.body.len().to_string().as_str());
        told.push(rank);
    }
    told.sort_unstable();
    assert_eq!(told, [0, 1]);
}

#[tokio::test]
async fn worker_without_the_setting_or_with_one_rank_is_one_and_gets_requests_as_they_came() {
    let worker = Upstream::saying("{}").await;
    worker.serve(
        "/server_info",
        200,
        r#"{"model_path": "m", "tp_size": 1, "dp_size": 4, "version": "0.5.23"}"#,
    );
    let alone = SimWorker::start(sim(Dialect::Sglang, 1)).await.expect("a worker");
    let router =
        router::start(router::checking(vec![worker.entry(), aware(router::entry(alone.addr()))])).await;
    let mut expected = vec![worker.url(), alone.url()];
    expected.sort();
    laid_out(&router, &expected).await;
    until(async || worker.asked("/server_info") > 0).await;
    let body = r#"{"prompt": "a", "max_tokens": 1, "routed_dp_rank": 1} "#;
    while worker.seen().is_empty() {
        let mut request = post("/v1/completions", body);
        request.headers_mut().insert("x-data-parallel-rank", HeaderValue::from_static("1"));
        call(router.addresses().data, request).await;
    }
    let seen = worker.seen();
    assert_eq!(
        (&seen[0].body[..], &seen[0].headers["x-data-parallel-rank"]),
        (body.as_bytes(), &"1".parse().unwrap())
    );
    assert_eq!(names(&router), expected);
}

#[tokio::test]
async fn load_of_each_rank_is_its_own() {
    for dialect in BOTH {
        let config = SimConfig { stall_after: Some(1), cache_tokens: 640, max_running: 8, ..sim(dialect, 2) };
        let worker = SimWorker::start(config).await.expect("a worker");
        let mut config = router::checking(vec![aware(router::entry(worker.addr()))]);
        config.proxy.health.poll_models = true;
        let router = router::start(config).await;
        laid_out(&router, &ranks(&worker.url(), 2)).await;
        let body = json!({"prompt": "a", "max_tokens": 9, "stream": true, "routed_dp_rank": 1}).to_string();
        let mut request = post("/v1/completions", &body);
        request.headers_mut().insert("x-data-parallel-rank", HeaderValue::from_static("1"));
        let address = worker.addr();
        let _held = tokio::spawn(async move { call(address, request).await.status });
        let running = |rank: usize| worker_of(&router, &ranks(&worker.url(), 2)[rank]).report().running;
        until(async || (running(0), running(1)) == (0, 1)).await;
        until(async || {
            let facts = |rank: usize| worker_of(&router, &ranks(&worker.url(), 2)[rank]).engine().clone();
            (0..2).all(|rank| {
                facts(rank).kv_capacity_tokens == Some(640) && facts(rank).dp_rank == u32::try_from(rank).ok()
            })
        })
        .await;
        for name in ranks(&worker.url(), 2) {
            let models =
                worker_of(&router, &name).engine().models.clone().expect("they are told by all of it");
            assert_eq!(models.as_slice(), ["sim-model"]);
        }
        let shown = router::shown(&router, &worker.url()).await.expect("one worker");
        assert_eq!(shown["engine"]["models"], json!(["sim-model"]));
        assert_eq!(
            (&shown["report"]["running"], &shown["engine"]["kv_capacity_tokens"]),
            (&json!(1), &json!(1280))
        );
        assert_eq!(
            (&shown["ranks"][0]["report"]["running"], &shown["ranks"][1]["report"]["running"]),
            (&json!(0), &json!(1))
        );
        let list = call(router.addresses().admin, get("/workers")).await.json();
        assert_eq!(list["workers"].as_array().map(Vec::len), Some(1), "ranks are shown within their worker");
    }
}

#[tokio::test]
async fn pushed_load_is_that_of_its_rank() {
    let config = SimConfig {
        stall_after: Some(1),
        kv_events: Some("auto".to_owned()),
        push_load: true,
        ..sim(Dialect::Sglang, 2)
    };
    let worker = SimWorker::start(config).await.expect("a worker");
    let mut config = router::checking(vec![aware(router::entry(worker.addr()))]);
    config.proxy.health.load_interval = Some(Duration::from_secs(3600));
    let (router, _plugins) = start_with(config, &[Input::Column(Column::Running)]).await;
    laid_out(&router, &ranks(&worker.url(), 2)).await;
    let body = json!({"prompt": "a", "max_tokens": 9, "stream": true, "routed_dp_rank": 1}).to_string();
    let address = worker.addr();
    let _held = tokio::spawn(async move { call(address, post("/v1/completions", &body)).await.status });
    let running = |rank: usize| worker_of(&router, &ranks(&worker.url(), 2)[rank]).report().running;
    until(async || (running(0), running(1)) == (0, 1)).await;
}

#[tokio::test]
async fn prefix_match_of_each_rank_is_its_own_and_a_plugin_sees_a_worker_for_each() {
    for dialect in BOTH {
        let config = SimConfig { kv_events: Some("auto".to_owned()), cache_tokens: 6400, ..sim(dialect, 3) };
        let worker = SimWorker::start(config).await.expect("a worker");
        let mut config = router::checking(vec![aware(router::entry(worker.addr()))]);
        config.records = Some(RecordSettings {
            sample: 1.0,
            file: None,
            keep: 5,
            header: false,
            inputs: sgl_api::RecordedInputs::Declared,
        });
        let (router, _plugins) = start_with(config, &[Input::PrefixMatch]).await;
        laid_out(&router, &ranks(&worker.url(), 3)).await;
        let tokens: Vec<u32> = (100..148).collect();
        let mut hasher = PrefixHasher::new(PrefixBlocks::DEFAULT, 0);
        tokens.iter().for_each(|token| hasher.token(*token));
        let hashes = hasher.finish(&PrefixSeed { model: "sim-model", ..PrefixSeed::default() });
        let held = || {
            let snapshot = router.proxy().backends().snapshot();
            let place = |name: &String| snapshot.table().position(name).expect("it is there");
            let all = ranks(&worker.url(), 3);
            let held = all.iter().map(|name| snapshot.table().prefix_match(place(name), &hashes, 16.0));
            held.map(|held| held.unwrap_or(-1)).collect::<Vec<_>>()
        };
        until(async || {
            router::target(&router, &ranks(&worker.url(), 1)[0])
                .is_some_and(|one| one.feed().connection_count() == 3)
        })
        .await;
        let body = json!({"model": "sim-model", "prompt": tokens, "max_tokens": 1, "routed_dp_rank": 2});
        let mut request = post("/v1/completions", &body.to_string());
        request.headers_mut().insert("x-data-parallel-rank", HeaderValue::from_static("2"));
        // The worker itself is asked: the router knows of it only from the rank's events.
        assert_eq!(call(worker.addr(), request).await.status, StatusCode::OK);
        until(async || held() == [0, 0, 48]).await;

        let mut request = chat("hi");
        request.headers_mut().insert("x-request-id", HeaderValue::from_static("seen"));
        call(router.addresses().data, request).await;
        until(async || call(router.addresses().admin, get("/v1/decisions/seen")).await.status == 200).await;
        let record = call(router.addresses().admin, get("/v1/decisions/seen")).await.json();
        let text = record.to_string();
        assert!(ranks(&worker.url(), 3).iter().all(|name| text.contains(name.as_str())), "{text}");
        assert!(!text.contains(&format!("\"{}\"", worker.url())), "{text}");
    }
}

#[tokio::test]
async fn health_draining_and_removal_are_of_the_whole_worker() {
    let worker = SimWorker::start(sim(Dialect::Vllm, 2)).await.expect("a worker");
    let other = SimWorker::start(sim(Dialect::Vllm, 1)).await.expect("a worker");
    let entries = vec![aware(router::entry(worker.addr())), aware(router::entry(other.addr()))];
    let router = router::start(router::checking(entries)).await;
    let mut all = ranks(&worker.url(), 2);
    all.push(other.url());
    all.sort();
    laid_out(&router, &all).await;
    let admin = router.addresses().admin;
    let drained = call(admin, with_method("POST", &format!("/workers/drain?url={}", worker.url()))).await;
    assert_eq!((drained.status, &drained.json()["draining"]), (StatusCode::ACCEPTED, &json!(true)));
    assert_eq!(drained.json()["ranks"].as_array().map(Vec::len), Some(2));
    let is_chosen = || ranks(&worker.url(), 2).iter().any(|name| worker_of(&router, name).is_healthy());
    assert!(!is_chosen());
    let before = worker.requests();
    for _ in 0..4 {
        assert_eq!(complete(&router, "/v1/completions", &short()).await, StatusCode::OK);
    }
    assert_eq!(worker.requests(), before);
    call(admin, with_method("POST", &format!("/workers/undrain?url={}", worker.url()))).await;
    laid_out(&router, &all).await;

    let ill = json!({"healthy": false}).to_string();
    call(worker.addr(), post("/sim/control", &ill)).await;
    until(async || !is_chosen()).await;
    call(worker.addr(), post("/sim/control", &json!({"healthy": true}).to_string())).await;
    laid_out(&router, &all).await;

    let rank = call(admin, with_method("POST", &format!("/workers/drain?url={}@1", worker.url()))).await;
    assert_eq!(rank.status, StatusCode::NOT_FOUND, "a rank is no worker of the API");
    let removed = call(admin, with_method("DELETE", &format!("/workers?url={}", worker.url()))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    laid_out(&router, &[other.url()]).await;
    let added = json!({"url": worker.url(), "dp_aware": true}).to_string();
    assert_eq!(call(admin, post("/workers", &added)).await.status, StatusCode::CREATED);
    laid_out(&router, &all).await;
}

#[tokio::test]
async fn candidates_follow_an_engine_that_comes_back_with_other_ranks() {
    for dialect in BOTH {
        let mut worker = SimWorker::start(sim(dialect, 3)).await.expect("a worker");
        let (url, port) = (worker.url(), worker.addr().port());
        let router = router::start(router::checking(vec![aware(router::entry(worker.addr()))])).await;
        laid_out(&router, &ranks(&url, 3)).await;
        for count in [2, 4, 1, 2] {
            worker.shutdown().await;
            worker =
                SimWorker::start(SimConfig { port, ..sim(dialect, count) }).await.expect("its port is free");
            let expected = if count == 1 { vec![url.clone()] } else { ranks(&url, count) };
            laid_out(&router, &expected).await;
            for _ in 0..count {
                assert_eq!(complete(&router, "/v1/completions", &short()).await, StatusCode::OK);
            }
            assert_eq!(worker.requests_by_rank(), vec![1; count], "{dialect:?}");
        }
    }
}
