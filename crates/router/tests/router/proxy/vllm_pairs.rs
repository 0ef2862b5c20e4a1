//! Pairs of vLLM: first the prompt at one worker, then the answer at another with what the first one told.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use sgl_router::RunningRouter;
use sgl_router::config::{EngineSetting, RetryCondition, WorkerEntry};
use sgl_router::internals::Verdict;
use sgl_testkit::client::{TestClient, call, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};
use sglang_router_rs::core::WorkerRole;

const COMPLETIONS: &str = "/v1/completions";
const BODY: &str = r#"{"prompt": "a b", "max_tokens": 9, "stream": false}"#;

/// What a prefill worker tells, and how it stands in the decode worker's request.
const TOLD: &str = r#"{"choices":[],"kv_transfer_params": {"remote_block_ids": [[ 3,1 ]], "x": 1.50}}"#;
const PARAMS: &str = r#""kv_transfer_params":{"remote_block_ids": [[ 3,1 ]], "x": 1.50}"#;

fn vllm(entry: WorkerEntry, role: WorkerRole) -> WorkerEntry {
    WorkerEntry { role, engine: EngineSetting::Vllm, ..entry }
}

fn entries(prefills: &[Upstream], decodes: &[Upstream]) -> Vec<WorkerEntry> {
    let prefills = prefills.iter().map(|worker| vllm(worker.entry(), WorkerRole::Prefill));
    prefills.chain(decodes.iter().map(|worker| vllm(worker.entry(), WorkerRole::Decode))).collect()
}

async fn over(prefills: &[Upstream], decodes: &[Upstream]) -> RunningRouter {
    router::start(router::config(entries(prefills, decodes))).await
}

fn seen(workers: &[Upstream]) -> Vec<usize> {
    workers.iter().map(|worker| worker.seen().len()).collect()
}

fn counted(router: &RunningRouter, worker: &Upstream) -> [u64; 3] {
    let target = router::target(router, &worker.url()).expect("a worker");
    [Verdict::Served, Verdict::Failed, Verdict::Abandoned].map(|verdict| target.counted(verdict))
}

/// A worker whose first request gets this, and further ones the other.
async fn at_first(first: (u16, &'static str), then: &'static str) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |_| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let (status, body) = if is_first { first } else { (200, then) };
        async move { upstream::whole(status, body) }
    })
    .await
}

#[tokio::test]
async fn decode_worker_gets_the_request_with_what_the_prefill_worker_told() {
    let (first, gate) = Upstream::behind_a_gate().await;
    let [first, second] = [first, Upstream::saying("decode").await];
    let router = over(std::slice::from_ref(&first), std::slice::from_ref(&second)).await;
    let mut request = post(COMPLETIONS, r#"{"prompt": "a",  "stream": true, "stream_options": {}}"#);
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("mine"));
    let asked = tokio::spawn(call(router.addresses().data, request));
    first.arrived(1).await;
    assert_eq!([&first, &second].map(|worker| router::in_flight(&router, &worker.url())), [1, 1]);
    assert!(second.seen().is_empty(), "before the prompt is processed");
    gate.add_permits(1);
    assert_eq!(soon(asked).await.unwrap().status, StatusCode::OK);
    let (prefill, decode) = (first.seen()[0].clone(), second.seen()[0].clone());
    let body = prefill.json();
    assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(1), &json!(false)));
    assert_eq!(body["kv_transfer_params"]["do_remote_decode"], true);
    assert!(body.get("stream_options").is_none() && body.get("bootstrap_room").is_none(), "{body}");
    assert_eq!(prefill.headers["content-length"], prefill.body.len().to_string().as_str());
    assert!(!prefill.headers.contains_key("accept-encoding"), "the router has to read the answer");
    assert_eq!(decode.headers["accept-encoding"], "gzip");
    assert_eq!([&prefill, &decode].map(|seen| seen.headers["x-request-id"].clone()), ["mine", "mine"]);
    until(async || [&first, &second].iter().all(|worker| router::in_flight(&router, &worker.url()) == 0))
        .await;
}

#[tokio::test]
async fn parameters_are_passed_on_as_they_were_written() {
    let [first, second] = [Upstream::saying(TOLD).await, Upstream::saying("decode").await];
    let router = over(std::slice::from_ref(&first), std::slice::from_ref(&second)).await;
    assert_eq!(call(router.addresses().data, post(COMPLETIONS, BODY)).await.text(), "decode");
    let expected = format!("{},{PARAMS}}}", BODY.strip_suffix('}').unwrap());
    assert_eq!(second.seen()[0].body, expected);
    until(async || counted(&router, &first) == [1, 0, 0] && counted(&router, &second) == [1, 0, 0]).await;
    // A prefill worker whose only token ended the answer has kept nothing.
    let first = [Upstream::saying(r#"{"kv_transfer_params": null}"#).await];
    let router = over(&first, std::slice::from_ref(&second)).await;
    assert_eq!(call(router.addresses().data, post(COMPLETIONS, BODY)).await.text(), "decode");
    assert_eq!(second.seen()[1].body, BODY, "as it came");
}

#[tokio::test]
async fn prompts_and_choices_that_are_several_are_processed_by_the_decode_worker() {
    let [first, second] = [Upstream::saying(TOLD).await, Upstream::saying("decode").await];
    let router = over(std::slice::from_ref(&first), std::slice::from_ref(&second)).await;
    let several = [
        (COMPLETIONS, r#"{"prompt": ["a", "b"]}"#),
        (COMPLETIONS, r#"{"prompt": "a", "n": 2}"#),
        ("/v1/chat/completions", r#"{"messages": [], "n": 2}"#),
    ];
    for (path, body) in several {
        assert_eq!(call(router.addresses().data, post(path, body)).await.text(), "decode");
        assert_eq!(second.seen().last().unwrap().body, body);
    }
    assert!(first.seen().is_empty());
    until(async || counted(&router, &first) == [0, 0, 3] && router::in_flight(&router, &first.url()) == 0)
        .await;
    call(router.addresses().data, post(COMPLETIONS, r#"{"prompt": ["a"], "n": 1}"#)).await;
    assert_eq!(first.seen().len(), 1, "a list of one is one");
}

#[tokio::test]
async fn prefill_worker_that_fails_is_tried_again_as_any_other_and_nobody_decodes_in_vain() {
    let fails: [(u16, &str); 5] = [(503, "{}"), (500, "{}"), (502, "{}"), (200, "no JSON"), (200, "")];
    for fail in fails {
        let prefills = [at_first(fail, TOLD).await, Upstream::saying(TOLD).await];
        let decodes = [Upstream::saying("decode").await];
        let mut config = router::config(entries(&prefills, &decodes));
        config.proxy.retry_on = RetryCondition::ALL.map(|(condition, _)| condition).into_iter().collect();
        let router = router::start(config).await;
        for _ in 0..2 {
            assert_eq!(
                call(router.addresses().data, post(COMPLETIONS, BODY)).await.text(),
                "decode",
                "{fail:?}"
            );
        }
        assert_eq!(seen(&prefills).iter().sum::<usize>(), 3, "{fail:?}");
        assert_eq!(seen(&decodes), [2], "{fail:?}: only those whose prompt was processed");
        let failures = prefills.iter().map(|worker| counted(&router, worker)[1]).sum::<u64>();
        assert_eq!(failures, u64::from(fail.0 != 503), "{fail:?}");
        assert_eq!(counted(&router, &decodes[0])[1], 0, "{fail:?}");
    }
}

#[tokio::test]
async fn failure_of_the_last_prefill_worker_is_what_the_client_is_told() {
    for (status, text, expected, code) in [
        (400, r#"{"error":"scripted"}"#, StatusCode::BAD_REQUEST, ""),
        (503, r#"{"error":"scripted"}"#, StatusCode::SERVICE_UNAVAILABLE, ""),
        (500, "{}", StatusCode::BAD_GATEWAY, "upstream_prefill_failed"),
        (200, "[]", StatusCode::BAD_GATEWAY, "upstream_invalid_answer"),
    ] {
        let first = Upstream::start(move |_| async move { upstream::whole(status, text) }).await;
        let decodes = [Upstream::saying("decode").await];
        let router = over(std::slice::from_ref(&first), &decodes).await;
        let answer = call(router.addresses().data, post(COMPLETIONS, BODY)).await;
        assert_eq!(answer.status, expected, "{status} {text}");
        if code.is_empty() {
            assert_eq!(answer.text(), text);
        } else {
            assert_eq!(answer.code(), code);
        }
        assert_eq!((seen(&decodes), counted(&router, &decodes[0])), (vec![0], [0, 0, 1]));
        until(async || router::in_flight(&router, &decodes[0].url()) == 0).await;
    }
}

#[tokio::test]
async fn prompt_is_processed_once_more_where_the_decode_worker_has_no_room_and_no_third_time() {
    let prefills = [Upstream::saying(TOLD).await];
    let decodes = [Upstream::failing(503).await, Upstream::failing(503).await, Upstream::failing(503).await];
    let router = over(&prefills, &decodes).await;
    let answer = call(router.addresses().data, post(COMPLETIONS, BODY)).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, r#"{"error":"scripted"}"#));
    assert_eq!((seen(&prefills), seen(&decodes).iter().sum::<usize>()), (vec![2], 2));
}

#[tokio::test]
async fn silent_prefill_worker_is_blamed_alone_and_so_is_one_that_stops_in_its_answer() {
    let begins = Raw::start(|_: &str| {
        Act::Fall(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{".to_owned(),
        )
    });
    let (silent, begins) = (Upstream::start(|_| pending()).await, begins.await);
    for prefill in [silent.entry(), begins.entry()] {
        let url = prefill.url.clone();
        let decodes = [Upstream::saying("decode").await];
        let mut all = entries(&[], &decodes);
        all.push(vllm(prefill, WorkerRole::Prefill));
        let mut config = router::config(all);
        config.proxy.silence.first_byte = Some(Duration::from_millis(100));
        config.proxy.silence.between = Some(Duration::from_millis(100));
        let router = router::start(config).await;
        let answer = soon(call(router.addresses().data, post(COMPLETIONS, BODY))).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
        );
        let prefill = router::target(&router, &url).unwrap();
        assert_eq!((prefill.counted(Verdict::Failed), counted(&router, &decodes[0])[1]), (1, 0), "{url}");
        assert_eq!(seen(&decodes), [0]);
    }
}

#[tokio::test]
async fn silent_decode_worker_is_blamed_unless_only_the_client_is_in_a_hurry() {
    for is_hurried in [false, true] {
        let prefills = [Upstream::saying(TOLD).await];
        let decodes = [Upstream::start(|_| pending()).await];
        let mut config = router::config(entries(&prefills, &decodes));
        config.proxy.silence.first_byte = Some(Duration::from_millis(200));
        let router = router::start(config).await;
        let mut request = post(COMPLETIONS, BODY);
        if is_hurried {
            request.headers_mut().insert("x-sgl-first-byte-timeout", HeaderValue::from_static("0.1"));
        }
        let answer = soon(call(router.addresses().data, request)).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(counted(&router, &decodes[0])[1], u64::from(!is_hurried));
        assert_eq!(counted(&router, &prefills[0])[1], 0);
    }
}

#[tokio::test]
async fn client_that_hangs_up_ends_the_half_that_is_at_work() {
    let (first, ended) = Upstream::without_an_answer().await;
    let decodes = [Upstream::saying("decode").await];
    let router = over(std::slice::from_ref(&first), &decodes).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let asked = tokio::spawn(async move { client.send(post(COMPLETIONS, BODY)).await.map(drop) });
    first.arrived(1).await;
    asked.abort();
    soon(ended.notified()).await;
    until(async || {
        let in_flight = |worker: &Upstream| router::in_flight(&router, &worker.url());
        in_flight(&first) + in_flight(&decodes[0]) == 0
    })
    .await;
    assert_eq!((seen(&decodes), counted(&router, &first)[1]), (vec![0], 0));
}

#[tokio::test]
async fn workers_of_other_engines_are_told_of_the_bootstrap() {
    use EngineSetting::{Auto, Sglang, Vllm};
    for (prefill, decode, is_staged) in [
        (Vllm, Vllm, true),
        (Vllm, Auto, true),
        (Auto, Vllm, true),
        (Auto, Auto, false),
        (Sglang, Auto, false),
        (Sglang, Vllm, false),
    ] {
        let [first, second] = [Upstream::saying(TOLD).await, Upstream::saying("decode").await];
        let with = |worker: &Upstream, role, engine| WorkerEntry { role, engine, ..worker.entry() };
        let workers =
            vec![with(&first, WorkerRole::Prefill, prefill), with(&second, WorkerRole::Decode, decode)];
        let router = router::start(router::config(workers)).await;
        assert_eq!(call(router.addresses().data, post(COMPLETIONS, BODY)).await.text(), "decode");
        let body = second.seen()[0].json();
        assert_eq!(body.get("bootstrap_room").is_none(), is_staged, "{prefill:?} {decode:?}");
        assert_eq!(body.get("kv_transfer_params").is_some(), is_staged, "{prefill:?} {decode:?}");
    }
}

async fn sim(role: WorkerRole, worker_id: &str) -> SimWorker {
    let engine = Some(Dialect::Vllm);
    let worker_id = worker_id.to_owned();
    SimWorker::start(SimConfig { engine, role, worker_id, time_scale: 0.0, ..SimConfig::default() })
        .await
        .unwrap()
}

fn entry_of(worker: &SimWorker, role: WorkerRole) -> WorkerEntry {
    WorkerEntry { role, ..router::entry(worker.addr()) }
}

/// The text of a streamed or a whole answer.
fn words(answer: &str) -> usize {
    let of = |json: &Value| {
        let choice = &json["choices"][0];
        let text = [&choice["text"], &choice["message"]["content"], &choice["delta"]["content"]];
        text.into_iter().filter_map(Value::as_str).collect::<String>()
    };
    let text: String = match serde_json::from_str(answer) {
        Ok(whole) => of(&whole),
        Err(_) => answer
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .map(|event| of(&event))
            .collect(),
    };
    text.split_whitespace().count()
}

#[tokio::test]
async fn workers_that_say_they_are_vllm_serve_every_form_of_request_together() {
    let prefills = [sim(WorkerRole::Prefill, "p0").await, sim(WorkerRole::Prefill, "p1").await];
    let decode = sim(WorkerRole::Decode, "d").await;
    let workers = prefills.iter().map(|worker| entry_of(worker, WorkerRole::Prefill));
    let workers = workers.chain([entry_of(&decode, WorkerRole::Decode)]).collect();
    let router = router::start(router::checking(workers)).await;
    let is_vllm = async |worker: &SimWorker| {
        router::shown(&router, &worker.url()).await.is_some_and(|shown| shown["engine"]["name"] == "vllm")
    };
    until(async || is_vllm(&prefills[0]).await && is_vllm(&prefills[1]).await && is_vllm(&decode).await)
        .await;
    let options = json!({"include_usage": true});
    let chat = json!([{"role": "user", "content": "hello there, how do you do"}]);
    let forms = [
        ("/v1/completions", json!({"prompt": "hello", "max_tokens": 7})),
        ("/v1/completions", json!({"prompt": [1, 2, 3], "max_tokens": 7, "min_tokens": 7, "stream": true})),
        (
            "/v1/completions",
            json!({"prompt": "x".repeat(1000), "max_tokens": 7, "stream": true, "stream_options": options}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": chat, "max_completion_tokens": 7, "stream": true, "stream_options": options}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": chat, "max_tokens": 7, "kv_transfer_params": {"do_remote_prefill": true}}),
        ),
        ("/v1/completions", json!({"prompt": ["x".repeat(200_000)], "max_tokens": 7})),
    ];
    for (count, (path, body)) in (1..).zip(&forms) {
        let answer = call(router.addresses().data, post(path, &body.to_string())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(words(answer.text()), 7, "{}", answer.text());
        let source = answer.headers.get("x-sim-kv-source").map(|source| source.to_str().unwrap());
        let source = source.unwrap_or_else(|| panic!("{body}: {:?}", answer.headers));
        assert!(["p0", "p1"].contains(&source), "{source}");
        let processed: u64 = prefills.iter().map(SimWorker::requests).sum();
        assert_eq!((processed, decode.requests()), (count, count));
    }
    let several = json!({"prompt": ["a", "b"], "max_tokens": 3}).to_string();
    assert_eq!(call(router.addresses().data, post(COMPLETIONS, &several)).await.status, StatusCode::OK);
    let turns: Vec<u64> = prefills.iter().map(SimWorker::requests).collect();
    // A request that is asked for twice, since a worker changed meanwhile, takes two of them.
    assert!(turns.iter().all(|count| *count >= 2), "both took their turns: {turns:?}");
}

#[tokio::test]
async fn stream_of_the_decode_worker_is_passed_on_as_it_comes() {
    let first = [Upstream::saying(TOLD).await];
    let (response, pieces, _) = upstream::stream();
    let slot = parking_lot::Mutex::new(Some(response));
    let second = Upstream::start(move |_| {
        let response = slot.lock().take().expect("one request");
        async { response }
    });
    let second = [second.await];
    let router = over(&first, &second).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = client.send(post(COMPLETIONS, BODY)).await.unwrap().into_body();
    for next in ["data: 2\n\n", "data: [DONE]\n\n"] {
        assert!(sgl_testkit::client::piece(&mut body).await.is_some());
        pieces.send(Bytes::from_static(next.as_bytes())).await.unwrap();
    }
    drop(pieces);
    assert_eq!(sgl_testkit::client::piece(&mut body).await.as_deref(), Some("data: [DONE]\n\n"));
    assert_eq!(sgl_testkit::client::piece(&mut body).await, None);
}
