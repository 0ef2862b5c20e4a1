//! What workers say that speak like an engine, and how they refuse.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};

use crate::sim_worker::client::{Client, chat, instant, start, within};

const CHAT: &str = "/v1/chat/completions";

pub(crate) fn like(engine: Dialect) -> SimConfig {
    SimConfig { engine: Some(engine), ..instant() }
}

/// The value of the sample that begins like this.
fn sample(text: &str, start: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("{start} is not in:\n{text}"));
    line.rsplit_once(' ').expect("there is a value").1.parse().expect("it is a number")
}

/// A worker with room for one request and, in its queue, another: both are there, and neither ends.
async fn full(engine: Dialect) -> (SimWorker, Client, [tokio::task::JoinHandle<()>; 2]) {
    let config = SimConfig { max_running: 1, max_queued: 1, stall_after: Some(1), ..like(engine) };
    let worker = start(config).await;
    let client = Client::new(&worker);
    let held = [1, 2].map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let _ = client.call(Method::POST, CHAT, chat(5, true).to_string()).await;
        })
    });
    within(worker.wait_until(|worker| (worker.running(), worker.queued()) == (1, 1))).await;
    (worker, client, held)
}

#[tokio::test]
async fn each_engine_is_known_by_what_only_it_has() {
    let own = [
        (Dialect::Sglang, "sglang", ["/server_info", "/model_info", "/v1/loads"]),
        (Dialect::Vllm, "vllm", ["/version", "/load", "/kv_event_sources"]),
        (Dialect::LlamaCpp, "llamacpp", ["/props", "/slots", "/models"]),
    ];
    for (engine, owner, _) in own {
        let worker = start(like(engine)).await;
        let client = Client::new(&worker);
        for (other, _, paths) in own {
            let expected = if other == engine { StatusCode::OK } else { StatusCode::NOT_FOUND };
            for path in paths {
                assert_eq!(client.get(path).await.status, expected, "{engine}: {path}");
            }
        }
        assert_eq!(client.get("/v1/models").await.json()["data"][0]["owned_by"], owner);
        assert_eq!(client.get("/health").await.status, StatusCode::OK);
        assert_eq!(client.get("/get_load").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn sglang_tells_the_load_of_each_rank() {
    let config = SimConfig { dp_size: 2, stall_after: Some(1), ..like(Dialect::Sglang) };
    let worker = start(config).await;
    let client = Client::new(&worker);
    let mut request = chat(5, true);
    request["routed_dp_rank"] = json!(1);
    let _stream = client.open_stream(&request).await;
    let loads = client.get("/v1/loads?include=core").await.json();
    let running = |rank: usize| loads["loads"][rank]["num_running_reqs"].clone();
    assert_eq!((running(0), running(1)), (json!(0), json!(1)));
    assert_eq!(loads["loads"][1]["dp_rank"], 1);
    assert_eq!(loads["loads"][0]["queues"], Value::Null);
    assert_eq!(client.get("/v1/loads?dp_rank=1").await.json()["loads"][0]["queues"]["waiting"], 0);
    assert_eq!(client.get("/v1/loads?include=cores").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(client.get("/server_info").await.json()["dp_size"], 2);
    let text = client.get("/metrics").await;
    let labels = r#"model_name="sim-model",engine_type="unified",tp_rank="0",pp_rank="0",moe_ep_rank="0""#;
    let running = format!("sglang:num_running_reqs{{{labels},dp_rank=\"1\"}}");
    assert_eq!(sample(text.text(), &running), 1.0);
    request["routed_dp_rank"] = json!(2);
    assert_eq!(client.post(CHAT, &request).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn vllm_shows_its_load_as_metrics() {
    let (_worker, client, _held) = full(Dialect::Vllm).await;
    let text = client.get("/metrics").await;
    let own = r#"{engine="0",model_name="sim-model""#;
    for (name, value) in [
        (format!("vllm:num_requests_running{own}}}"), 1.0),
        (format!("vllm:num_requests_waiting{own}}}"), 1.0),
        (format!("vllm:num_requests_waiting_by_reason{own},reason=\"capacity\"}}"), 1.0),
        (r#"vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0""#.to_owned(), 1.0),
        (format!("vllm:time_to_first_token_seconds_count{own}}}"), 1.0),
    ] {
        assert_eq!(sample(text.text(), &name), value, "{name}");
    }
    assert_eq!(client.get("/load").await.json(), json!({ "server_load": 2 }));
    assert!(!text.text().contains("# EOF"), "the older form has no end");
}

#[tokio::test]
async fn vllm_refuses_with_503_and_in_a_burst_of_streams_with_events() {
    let (worker, client, _held) = full(Dialect::Vllm).await;
    for stream in [false, true] {
        let refused = client.post(CHAT, &chat(1, stream)).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.json()["error"]["code"], 503);
        assert!(!refused.headers.contains_key("retry-after"));
    }
    let text = client.get("/metrics").await;
    let name = r#"vllm:admission_rejections_total{model_name="sim-model",reason="max_num_queued_reqs"}"#;
    assert_eq!(sample(text.text(), name), 2.0);
    drop(worker);

    let config = SimConfig { max_running: 1, max_queued: 0, time_scale: 0.1, ..like(Dialect::Vllm) };
    let worker = start(config).await;
    let client = Client::new(&worker);
    let burst: Vec<_> = (0..40)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.post(CHAT, &chat(20, true)).await })
        })
        .collect();
    let mut refused = 0;
    for answer in burst {
        let answer = within(answer).await.expect("nothing panics");
        if answer.status == StatusCode::OK && answer.events()[0]["error"]["code"] == 503 {
            refused += 1;
        }
    }
    assert!(refused > 0, "some of them pass the first look, and not the second");
}

#[tokio::test]
async fn sglang_refuses_streams_in_their_first_event() {
    let (_worker, client, _held) = full(Dialect::Sglang).await;
    let refused = client.post(CHAT, &chat(1, true)).await;
    assert_eq!(refused.status, StatusCode::OK);
    let event = &refused.events()[0]["error"];
    assert_eq!((&event["object"], &event["code"]), (&json!("error"), &json!(503)));
    let refused = client.post("/generate", &json!({ "text": "a", "stream": true })).await;
    let finish = &refused.events()[0]["meta_info"]["finish_reason"];
    assert_eq!((&finish["type"], &finish["status_code"]), (&json!("abort"), &json!(503)));
    let refused = client.post(CHAT, &chat(1, false)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(503)));
}

#[tokio::test]
async fn llama_cpp_lets_all_wait_and_tells_how_many() {
    let (worker, client, _held) = full(Dialect::LlamaCpp).await;
    let third = client.clone();
    let third = tokio::spawn(async move { third.post(CHAT, &chat(1, false)).await });
    within(worker.wait_until(|worker| worker.queued() == 2)).await;
    assert!(!third.is_finished());
    let text = client.get("/metrics").await;
    assert_eq!(sample(text.text(), "llamacpp:requests_processing "), 1.0);
    assert_eq!(sample(text.text(), "llamacpp:requests_deferred "), 2.0);
    assert_eq!(client.get("/slots").await.json()[0]["is_processing"], true);
    assert_eq!(client.get("/props").await.json()["total_slots"], 1);
    let refused = client.post("/v1/embeddings", &json!({ "input": "a" })).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (StatusCode::NOT_IMPLEMENTED, &json!(501))
    );
}

#[tokio::test]
async fn errors_have_each_engines_form() {
    let cases = [
        (Dialect::Sglang, json!({ "detail": "Not Found" }), "/code"),
        (Dialect::Vllm, json!({ "detail": "Not Found" }), "/error/code"),
        (
            Dialect::LlamaCpp,
            json!({ "error": { "message": "File Not Found", "type": "not_found_error", "code": 404 } }),
            "/error/code",
        ),
    ];
    for (engine, lost, code) in cases {
        let worker = start(like(engine)).await;
        let client = Client::new(&worker);
        assert_eq!(client.get("/nothing").await.json(), lost, "{engine}");
        let wrong = client.post(CHAT, &json!({ "messages": "none" })).await;
        assert_eq!((wrong.status, wrong.json().pointer(code)), (StatusCode::BAD_REQUEST, Some(&json!(400))));
        // Only vLLM knows which models it does not have.
        let other = json!({ "model": "other", "messages": [{ "role": "user" }], "max_tokens": 1 });
        let expected = if engine == Dialect::Vllm { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(client.post(CHAT, &other).await.status, expected, "{engine}");
    }
}

#[tokio::test]
async fn cached_tokens_are_whole_blocks_of_the_same_prompt() {
    let worker = start(SimConfig { block_tokens: 4, ..like(Dialect::Vllm) }).await;
    let client = Client::new(&worker);
    for (ids, cached) in [(vec![1; 16], 0), (vec![1; 16], 12), (vec![1; 21], 16), (vec![2; 16], 0)] {
        let request = json!({ "prompt": ids, "max_tokens": 1 });
        let usage = client.post("/v1/completions", &request).await.json()["usage"].clone();
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], cached, "{ids:?}");
    }
}
