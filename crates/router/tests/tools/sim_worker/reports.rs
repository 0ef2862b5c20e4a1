//! What a worker tells about itself.

use http::StatusCode;
use serde_json::json;
use sgl_tools::sim::SimConfig;
use sglang_router_rs::core::WorkerRole;

use crate::sim_worker::client::{Client, chat, instant, start, within};

#[tokio::test]
async fn models_are_listed_and_found() {
    let worker = start(SimConfig { model: "org/model".to_owned(), ..instant() }).await;
    let client = Client::new(&worker);
    let list = client.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["object"]), (&json!("org/model"), &json!("model")));
    assert_eq!(client.get("/v1/models/org/model").await.json(), list["data"][0]);
    assert_eq!(client.get("/v1/models/other").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn load_has_exactly_the_keys_of_sglang() {
    let worker = start(SimConfig { stall_after: Some(1), ..instant() }).await;
    let client = Client::new(&worker);
    let idle = json!([{ "dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0 }]);
    assert_eq!(client.get("/get_load").await.json(), idle);
    let stream = client.open_stream(&chat(5, true)).await;
    // Five tokens of prompt, one of the answer.
    let busy = json!([{ "dp_rank": 0, "num_reqs": 1, "num_waiting_reqs": 0, "num_tokens": 6 }]);
    assert_eq!(client.get("/get_load").await.json(), busy);
    drop(stream);
    within(worker.wait_until(|worker| worker.in_flight() == 0)).await;
    assert_eq!(client.get("/get_load").await.json(), idle);
}

#[tokio::test]
async fn server_and_model_info_describe_the_worker() {
    let worker = start(SimConfig { role: WorkerRole::Decode, max_running: 3, ..instant() }).await;
    let client = Client::new(&worker);
    for path in ["/get_server_info", "/server_info"] {
        let info = client.get(path).await.json();
        assert_eq!(info["served_model_name"], "sim-model");
        assert_eq!(info["disaggregation_mode"], "decode");
        assert_eq!((&info["dp_size"], &info["max_running_requests"]), (&json!(1), &json!(3)));
        assert!(info["internal_states"][0]["last_gen_throughput"].is_number());
    }
    for path in ["/get_model_info", "/model_info"] {
        let info = client.get(path).await.json();
        assert_eq!((&info["model_path"], &info["is_generation"]), (&json!("sim-model"), &json!(true)));
    }
}

/// Value of the one sample that starts like this.
fn sample(text: &str, start: &str) -> f64 {
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(start)).collect();
    assert_eq!(lines.len(), 1, "{start} in {text}");
    let (_, value) = lines[0].rsplit_once(' ').expect("a sample has a value");
    value.parse().expect("it is a number")
}

#[tokio::test]
async fn metrics_have_the_names_and_labels_of_sglang() {
    let worker = start(SimConfig { stall_after: Some(2), cache_tokens: 1600, ..instant() }).await;
    let client = Client::new(&worker);
    let prompt = json!({ "prompt": "x".repeat(400), "max_tokens": 7 });
    client.post("/v1/completions", &prompt).await;
    client.post("/v1/completions", &prompt).await;
    let _stream = client.open_stream(&chat(5, true)).await;
    let answer = client.get("/metrics").await;
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let text = answer.text();
    let scheduler = r#"{model_name="sim-model",engine_type="unified",tp_rank="0",pp_rank="0"} "#;
    let gauge = |name: &str| sample(text, &format!("{name}{scheduler}"));
    assert_eq!(gauge("sglang:num_running_reqs"), 1.0);
    assert_eq!(gauge("sglang:num_queue_reqs"), 0.0);
    assert_eq!(gauge("sglang:max_total_num_tokens"), 1600.0);
    assert_eq!(gauge("sglang:token_usage"), gauge("sglang:num_used_tokens") / 1600.0);
    assert!(gauge("sglang:gen_throughput") >= 0.0);
    // Prompts of 100, 100 and 5 tokens, of which 96 were cached.
    assert!((gauge("sglang:cache_hit_rate") - 96.0 / 205.0).abs() < 1e-9);
    let total = |name: &str| sample(text, &format!(r#"{name}_total{{model_name="sim-model""#));
    assert_eq!(total("sglang:prompt_tokens"), 205.0);
    assert_eq!(total("sglang:cached_tokens"), 96.0);
    assert_eq!(total("sglang:num_requests"), 3.0);
    assert_eq!(total("sglang:num_aborted_requests"), 0.0);
    assert!(total("sglang:generation_tokens") >= 15.0);
    let count = |name: &str| sample(text, &format!("{name}_count{{"));
    assert_eq!(count("sglang:time_to_first_token_seconds"), 3.0);
    assert_eq!(count("sglang:e2e_request_latency_seconds"), 2.0);
    assert!(text.ends_with("# EOF\n"));
}
