//! Calls beside chats: which reach a worker, and which of the workers.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sgl_router::RunningRouter;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{Whole, call, get, post, with_method};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_tools::sim::{SimConfig, SimWorker};
use sglang_router_rs::core::WorkerRole;

async fn sim(id: &str) -> SimWorker {
    let config = SimConfig { time_scale: 0.0, worker_id: id.to_owned(), ..SimConfig::default() };
    SimWorker::start(config).await.expect("the worker starts")
}

async fn over(workers: &[&SimWorker]) -> RunningRouter {
    let entry = |worker: &&SimWorker| WorkerEntry { url: worker.url(), ..WorkerEntry::default() };
    router::start(router::config(workers.iter().map(entry).collect())).await
}

async fn ask(router: &RunningRouter, request: Request<Full<Bytes>>) -> Whole {
    call(router.addresses().data, request).await
}

fn worker_of(answer: &Whole) -> String {
    answer.headers["x-sim-worker"].to_str().unwrap().to_owned()
}

async fn respond(router: &RunningRouter, body: Value) -> Whole {
    ask(router, post("/v1/responses", &body.to_string())).await
}

#[tokio::test]
async fn each_call_reaches_a_worker_that_answers_it() {
    let worker = sim("a").await;
    let router = over(&[&worker]).await;
    let one = r#"{"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}"#;
    let pair = r#"{"query": "a", "documents": ["b", "c"]}"#;
    for (path, body, pointer) in [
        ("/v1/responses", r#"{"input": "hi", "max_output_tokens": 3}"#, "/output/0/content/0/text"),
        ("/v1/messages", one, "/content/0/text"),
        ("/v1/messages/count_tokens", one, "/input_tokens"),
        ("/v1/rerank", pair, "/results/1/relevance_score"),
        ("/rerank", pair, "/results/0/relevance_score"),
        ("/v1/score", r#"{"text_1": "a", "text_2": "b"}"#, "/data/0/score"),
        ("/score", r#"{"query": "a", "items": ["b"]}"#, "/data/0/score"),
        ("/v1/classify", r#"{"input": ["a"]}"#, "/data/0/data/0"),
        ("/classify", r#"{"input": "a"}"#, "/data/0/data/0"),
        ("/pooling", r#"{"input": "a"}"#, "/data/0/data/0"),
        ("/tokenize", r#"{"prompt": "hello"}"#, "/tokens/0"),
        ("/detokenize", r#"{"tokens": [1819043176]}"#, "/prompt"),
    ] {
        let answer = ask(&router, post(path, body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert!(answer.json().pointer(pointer).is_some(), "{path}: {}", answer.text());
    }
    for path in ["/get_model_info", "/model_info", "/get_server_info", "/server_info"] {
        assert_eq!(ask(&router, get(path)).await.json()["model_path"], "sim-model", "{path}");
    }
}

#[tokio::test]
async fn check_that_generates_a_token_is_answered_by_a_worker() {
    let worker = Upstream::failing(503).await;
    let router = router::over(&[&worker]).await;
    let answer = ask(&router, get("/health_generate")).await;
    // The router is well; what is told is whether the engine is.
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert!(
        worker.seen().iter().all(|seen| seen.uri.path() == "/health_generate") && !worker.seen().is_empty()
    );
    let none = router::start(router::config(Vec::new())).await;
    assert_eq!(ask(&none, get("/health_generate")).await.json()["error"]["reason"], "none_configured");
    let sim = sim("a").await;
    assert_eq!(ask(&over(&[&sim]).await, get("/health_generate")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn events_of_responses_and_messages_pass_through_and_their_tokens_are_known() {
    let worker = sim("a").await;
    let entry = WorkerEntry { url: worker.url(), model: Some("m".to_owned()), ..WorkerEntry::default() };
    let router = router::start(router::config_with(vec![entry], |config| config.metrics.tokens = true)).await;
    let responses = r#"{"input": "hi there", "max_output_tokens": 3, "stream": true}"#;
    let messages = r#"{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": true}"#;
    for (path, body, first, last, tokens) in [
        ("/v1/responses", responses, "event: response.created\n", "event: response.completed\n", 3),
        ("/v1/messages", messages, "event: message_start\n", "event: message_stop\n", 6),
    ] {
        let answer = ask(&router, post(path, body)).await;
        assert!(answer.text().starts_with(first), "{path}: {}", answer.text());
        let events: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert!(events.last().unwrap().starts_with(last), "{path}: {}", answer.text());
        let counted = format!(",model=\"m\",kind=\"completion\"}} {tokens}");
        until(async || {
            let page = router::metrics(&router).await;
            let mut lines =
                page.text().lines().filter(|line| line.starts_with("sgl_router_worker_tokens_total"));
            lines.any(|line| line.ends_with(&counted))
        })
        .await;
    }
}

#[tokio::test]
async fn calls_of_engines_operators_and_unknown_paths_reach_no_worker() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    let list = ["/inference/v1/generate".to_owned(), "/v1/realtime/*".to_owned()];
    config.proxy.calls = settings(&list).expect("paths that may be listed");
    let router = router::start(config).await;
    for path in [
        "/flush_cache",
        "/start_profile",
        "/abort_request",
        "/v1/realtime",
        "/v1/realtime/flush_cache",
        "/v1/realtime/%2e%2e/flush_cache",
        "/v1/responses/",
        "/nothing",
    ] {
        let answer = ask(&router, post(path, "{}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
    }
    for request in [
        post("/inference/v1/generate?x=1", "{}"),
        get("/v1/realtime/sessions"),
        with_method("PUT", "/v1/realtime/sessions/1"),
    ] {
        assert_eq!(ask(&router, request).await.status, StatusCode::OK);
    }
    let seen: Vec<String> =
        worker.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect();
    let expected =
        ["POST /inference/v1/generate?x=1", "GET /v1/realtime/sessions", "PUT /v1/realtime/sessions/1"];
    assert_eq!(seen, expected);
}

fn settings(list: &[String]) -> Option<sgl_router::config::CallSettings> {
    use sgl_router::config::{RouterConfig, Surroundings, check};
    let mut config = RouterConfig::default();
    config.calls.forward_paths = list.to_vec();
    let surroundings = Surroundings { built_in_policies: &["round_robin"], ..Surroundings::default() };
    check(config, surroundings).ok().map(|config| config.proxy.calls)
}

#[test]
fn engines_operators_calls_cannot_be_listed() {
    for path in ["/flush_cache", "/sleep", "/update_weights_from_disk", "/v1/load_lora_adapter", "/*"] {
        assert!(settings(&[path.to_owned()]).is_none(), "{path}");
    }
}

#[tokio::test]
async fn wrong_method_is_told_which_are_right() {
    let router = router::start(router::config(Vec::new())).await;
    for (request, allowed) in [
        (post("/v1/responses/resp_1", ""), "GET, DELETE"),
        (get("/v1/responses/resp_1/cancel"), "POST"),
        (get("/v1/messages"), "POST"),
        (post("/version", ""), "GET"),
    ] {
        let answer = ask(&router, request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers["allow"], allowed);
    }
}

#[tokio::test]
async fn errors_of_the_router_have_the_form_of_the_api_that_was_asked() {
    let router = router::start(router::config(Vec::new())).await;
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        for (request, kind) in [(get(path), "invalid_request_error"), (post(path, "{}"), "overloaded_error")]
        {
            let told = ask(&router, request).await.json();
            assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!(kind)), "{path}");
        }
    }
    let told = ask(&router, post("/v1/chat/completions", "{}")).await.json();
    assert_eq!((&told["type"], &told["error"]["type"]), (&json!(null), &json!("server_error")));
}

#[tokio::test]
async fn who_goes_on_from_a_response_or_asks_for_it_reaches_the_worker_that_made_it() {
    let workers = [sim("a").await, sim("b").await, sim("c").await];
    let router = over(&workers.each_ref()).await;
    let mut makers = BTreeSet::new();
    for stream in [false, true, false, true, false, true] {
        let made = respond(&router, json!({"input": "hi", "max_output_tokens": 2, "stream": stream})).await;
        let maker = worker_of(&made);
        let id = made.text().split("\"resp_").nth(1).unwrap()[..16].to_owned();
        let id = format!("resp_{id}");
        makers.insert(maker.clone());
        // More of them than workers, so that turns alone would not do.
        for _ in 0..4 {
            let next = respond(&router, json!({"input": "more", "previous_response_id": id})).await;
            assert_eq!((next.status, worker_of(&next)), (StatusCode::OK, maker.clone()));
            let shown = ask(&router, get(&format!("/v1/responses/{id}"))).await;
            assert_eq!((shown.json()["id"].as_str(), worker_of(&shown)), (Some(id.as_str()), maker.clone()));
        }
        let path = format!("/v1/responses/{id}/cancel");
        assert_eq!(worker_of(&ask(&router, post(&path, "")).await), maker);
        let path = format!("/v1/responses/{id}/input_items");
        assert_eq!(worker_of(&ask(&router, get(&path)).await), maker);
        let path = format!("/v1/responses/{id}");
        assert_eq!(ask(&router, with_method("DELETE", &path)).await.json()["deleted"], true);
        assert_eq!(ask(&router, get(&path)).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(makers.len(), 3, "{makers:?}");
}

#[tokio::test]
async fn response_that_another_router_saw_is_asked_for_everywhere_and_remembered_then() {
    let workers = [sim("a").await, sim("b").await, sim("c").await];
    let (first, second) = (over(&workers.each_ref()).await, over(&workers.each_ref()).await);
    for _ in 0..3 {
        let made = respond(&first, json!({"input": "hi", "max_output_tokens": 2})).await;
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let next = respond(&second, json!({"input": "more", "previous_response_id": id})).await;
        assert_eq!((next.status, worker_of(&next)), (StatusCode::OK, worker_of(&made)));
        let shown = ask(&second, get(&format!("/v1/responses/{id}"))).await;
        assert_eq!((shown.status, worker_of(&shown)), (StatusCode::OK, worker_of(&made)));
    }
    let before: u64 = workers.iter().map(SimWorker::requests).sum();
    let nowhere = ask(&second, get("/v1/responses/resp_none")).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.text().contains("resp_none"), "the engine's own words: {}", nowhere.text());
    assert_eq!(workers.iter().map(SimWorker::requests).sum::<u64>(), before, "nothing was generated");
}

#[tokio::test]
async fn response_whose_worker_is_not_there_is_no_other_workers_to_guess_at() {
    let (stays, goes) = (sim("stays").await, sim("goes").await);
    let router = over(&[&stays, &goes]).await;
    let ids = [respond(&router, json!({"input": "a"})).await, respond(&router, json!({"input": "b"})).await];
    let lost = ids.iter().find(|answer| worker_of(answer) == "goes").expect("turns");
    let id = lost.json()["id"].as_str().unwrap().to_owned();
    let target = router::target(&router, &goes.url()).unwrap();
    target.endpoint().set_passing(false);
    let answer = respond(&router, json!({"input": "more", "previous_response_id": id})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available")
    );
    target.endpoint().set_passing(true);
    router.proxy().backends().remove(&goes.url()).expect("it is there");
    let answer = respond(&router, json!({"input": "more", "previous_response_id": id})).await;
    assert_eq!((answer.status, worker_of(&answer).as_str()), (StatusCode::NOT_FOUND, "stays"));
}

#[tokio::test]
async fn recording_reaches_the_worker_of_the_model_that_its_form_names() {
    let models = ["whisper-a", "whisper-b"];
    let mut workers = Vec::new();
    for model in models {
        let worker = Upstream::saying(r#"{"text": "heard"}"#).await;
        workers.push((WorkerEntry { model: Some(model.to_owned()), ..worker.entry() }, worker));
    }
    let router =
        router::start(router::config(workers.iter().map(|(entry, _)| entry.clone()).collect())).await;
    let form = |model: &str, is_first: bool| {
        let field = format!("--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n");
        let file = format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{}\r\n",
            "\u{1}".repeat(200_000)
        );
        let parts = if is_first { [field, file] } else { [file, field] };
        format!("{}--x--\r\n", parts.concat())
    };
    for (path, is_first) in [
        ("/v1/audio/transcriptions", true),
        ("/v1/audio/translations", false),
        ("/v1/audio/transcriptions", false),
    ] {
        for (index, model) in models.iter().enumerate() {
            let before = workers[index].1.seen().len();
            let mut request = post(path, &form(model, is_first));
            request
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=x"));
            assert_eq!(ask(&router, request).await.status, StatusCode::OK);
            assert_eq!(workers[index].1.seen().len(), before + 1, "{path} {model}");
            assert_eq!(workers[index].1.seen()[before].body, form(model, is_first).as_bytes());
        }
    }
    let mut request = post("/v1/audio/transcriptions", &form("other", true));
    request.headers_mut().insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=x"));
    assert_eq!(ask(&router, request).await.code(), "model_not_found");
}

#[tokio::test]
async fn halves_of_pairs_tell_what_does_not_depend_on_their_role() {
    let (prefill, decode) = (sim("p").await, sim("d").await);
    let entry = |worker: &SimWorker, role| WorkerEntry { url: worker.url(), role, ..WorkerEntry::default() };
    let entries = vec![entry(&prefill, WorkerRole::Prefill), entry(&decode, WorkerRole::Decode)];
    let router = router::start(router::config(entries)).await;
    for request in [get("/get_model_info"), get("/server_info"), post("/tokenize", r#"{"prompt": "hello"}"#)]
    {
        let answer = ask(&router, request).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let answer = ask(&router, post("/v1/rerank", r#"{"query": "a", "documents": ["b"]}"#)).await;
    assert_eq!(answer.json()["error"]["reason"], "none_qualifies");
}

#[tokio::test]
async fn one_model_is_shown_as_the_list_shows_it() {
    let worker = Upstream::saying("{}").await;
    let entry = WorkerEntry { model: Some("org/model".to_owned()), ..worker.entry() };
    let router = router::start(router::config(vec![entry])).await;
    let list = ask(&router, get("/v1/models")).await.json();
    for path in ["/v1/models/org/model", "/v1/models/org%2Fmodel"] {
        assert_eq!(ask(&router, get(path)).await.json(), list["data"][0], "{path}");
    }
    let none = ask(&router, get("/v1/models/other")).await;
    assert_eq!((none.status, none.code().as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    assert!(worker.seen().is_empty(), "the router knows it");
}
