//! Each inference endpoint without streaming, and its refusals.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sgl_tools::sim::SimConfig;
use sglang_router_rs::core::WorkerRole;

use crate::sim_worker::client::{Client, chat, instant, start};

fn words(text: &Value) -> usize {
    text.as_str().expect("a text").split(' ').count()
}

#[tokio::test]
async fn chat_answers_in_openai_form_and_names_the_worker() {
    let worker = start(SimConfig { worker_id: "w7".to_owned(), ..instant() }).await;
    let answer = Client::new(&worker).post("/v1/chat/completions", &chat(5, false)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-sim-worker"], "w7");
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["object"], "chat.completion");
    assert!(body["created"].is_u64());
    assert_eq!(body["model"], "sim-model");
    assert_eq!(body["system_fingerprint"], "w7");
    let choice = &body["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("length")));
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(words(&choice["message"]["content"]), 5);
    // "user", "hello there" and two line ends are 17 bytes: 5 tokens of four bytes.
    let usage = json!({
        "prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    assert_eq!(body["usage"], usage);
}

#[tokio::test]
async fn chat_without_a_length_stops_by_itself_within_the_seeded_range() {
    let worker = start(SimConfig { default_tokens: 10, ..instant() }).await;
    let client = Client::new(&worker);
    let request = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    for _ in 0..20 {
        let body = client.post("/v1/chat/completions", &request).await.json();
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        assert!((5..=15).contains(&body["usage"]["completion_tokens"].as_u64().unwrap()));
    }
}

#[tokio::test]
async fn repeated_prompt_is_reported_as_cached() {
    let worker = start(instant()).await;
    let client = Client::new(&worker);
    let request = json!({ "prompt": "x".repeat(400), "max_tokens": 1 });
    let cached = async || {
        let body = client.post("/v1/completions", &request).await.json();
        body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    assert_eq!(cached().await, Some(0));
    // 100 tokens hold six full blocks of 16.
    assert_eq!(cached().await, Some(96));
    client.post("/flush_cache", &json!(null)).await;
    assert_eq!(cached().await, Some(0));
}

#[tokio::test]
async fn completion_answers_each_prompt_n_times() {
    let worker = start(instant()).await;
    let request = json!({ "prompt": ["one", "two"], "n": 2, "max_tokens": 3 });
    let body = Client::new(&worker).post("/v1/completions", &request).await.json();
    assert_eq!(body["object"], "text_completion");
    let choices = body["choices"].as_array().unwrap();
    let indexes: Vec<u64> = choices.iter().filter_map(|c| c["index"].as_u64()).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    assert!(choices.iter().all(|choice| words(&choice["text"]) == 3));
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    assert_eq!(body["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn generate_answers_in_sglang_form() {
    let worker = start(instant()).await;
    let client = Client::new(&worker);
    let request = json!({ "text": "12345678", "sampling_params": { "max_new_tokens": 4 } });
    let body = client.post("/generate", &request).await.json();
    assert_eq!(words(&body["text"]), 4);
    assert_eq!(body["output_ids"].as_array().unwrap().len(), 4);
    let meta = &body["meta_info"];
    assert_eq!(meta["finish_reason"], json!({ "type": "length", "length": 4 }));
    assert_eq!((&meta["prompt_tokens"], &meta["completion_tokens"]), (&json!(2), &json!(4)));
    assert!(meta["id"].is_string());

    let batch = json!({ "input_ids": [[1, 2], [3]], "sampling_params": { "max_new_tokens": 2 } });
    let body = client.post("/generate", &batch).await.json();
    assert_eq!(body.as_array().unwrap().len(), 2);
    assert_ne!(body[0]["meta_info"]["id"], body[1]["meta_info"]["id"]);
}

#[tokio::test]
async fn prefill_worker_answers_one_token_and_sends_the_room_back() {
    let worker = start(SimConfig { role: WorkerRole::Prefill, ..instant() }).await;
    let mut request = chat(50, false);
    request["bootstrap_host"] = json!("10.0.0.1");
    request["bootstrap_port"] = json!(8998);
    request["bootstrap_room"] = json!(4_611_686_018_427_387_904_u64);
    let answer = Client::new(&worker).post("/v1/chat/completions", &request).await;
    assert_eq!(answer.headers["x-sim-bootstrap-room"], "4611686018427387904");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 1);
}

/// Only what this test needs of base64: no padding within, standard alphabet.
fn floats_of_base64(text: &str) -> Vec<f32> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = text
        .trim_end_matches('=')
        .bytes()
        .flat_map(|letter| (0..6).rev().map(move |bit| (value(letter) >> bit) & 1))
        .collect();
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
    let (floats, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    floats.iter().map(|float| f32::from_le_bytes(*float)).collect()
}

#[tokio::test]
async fn embeddings_agree_in_both_encodings() {
    let worker = start(instant()).await;
    let client = Client::new(&worker);
    let plain = json!({ "input": ["a", "b", "a"], "dimensions": 8 });
    let body = client.post("/v1/embeddings", &plain).await.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("list"), &json!("sim-model")));
    assert_eq!(body["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    assert_eq!(body["data"][0]["embedding"], body["data"][2]["embedding"]);
    assert_ne!(body["data"][0]["embedding"], body["data"][1]["embedding"]);
    assert_eq!((&body["data"][2]["index"], &body["data"][2]["object"]), (&json!(2), &json!("embedding")));

    let encoded = json!({ "input": "b", "dimensions": 8, "encoding_format": "base64" });
    let other = client.post("/v1/embeddings", &encoded).await.json();
    let decoded = floats_of_base64(other["data"][0]["embedding"].as_str().unwrap());
    let expected: Vec<f32> = serde_json::from_value(body["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(decoded, expected);
}

#[tokio::test]
async fn faulty_requests_get_openai_errors_and_leave_the_worker_idle() {
    let worker = start(instant()).await;
    let client = Client::new(&worker);
    let cases = [
        ("/v1/chat/completions", "{", StatusCode::BAD_REQUEST),
        ("/v1/chat/completions", r#"{"model":"sim-model"}"#, StatusCode::BAD_REQUEST),
        ("/v1/chat/completions", r#"{"model":"other","messages":[]}"#, StatusCode::NOT_FOUND),
        ("/v1/completions", "{}", StatusCode::BAD_REQUEST),
        ("/v1/embeddings", r#"{"input":[]}"#, StatusCode::BAD_REQUEST),
        ("/generate", "{}", StatusCode::BAD_REQUEST),
        ("/v1/unknown", "{}", StatusCode::NOT_FOUND),
        ("/v1/models", "{}", StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (path, body, status) in cases {
        let answer = client.call(Method::POST, path, body).await;
        assert_eq!(answer.status, status, "{path} {body}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{path} {body}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error.get("param").is_some() && error.get("code").is_some());
    }
    assert_eq!((worker.requests(), worker.in_flight(), worker.cancelled()), (0, 0, 0));
}

#[tokio::test]
async fn body_beyond_the_limit_is_refused() {
    let worker = start(instant()).await;
    let answer = Client::new(&worker).call(Method::POST, "/generate", vec![b' '; (32 << 20) + 1]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}
