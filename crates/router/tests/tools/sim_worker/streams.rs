//! Server-sent events of each inference endpoint.

use serde_json::{Value, json};
use sgl_tools::sim::SimConfig;

use crate::sim_worker::client::{Client, chat, instant, start};

/// The two answers that two equal workers give to their first request, streamed and not.
async fn both_ways(path: &str, mut request: Value) -> (Vec<Value>, Value) {
    let streaming = start(instant()).await;
    let plain = start(instant()).await;
    request["stream"] = json!(true);
    let streamed = Client::new(&streaming).post(path, &request).await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!((streaming.in_flight(), streaming.cancelled()), (0, 0));
    request["stream"] = json!(false);
    (streamed.events(), Client::new(&plain).post(path, &request).await.json())
}

fn joined(events: &[Value], choice: u64, text: impl Fn(&Value) -> &Value) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    choices.filter(|c| c["index"] == choice).filter_map(|c| text(c).as_str()).collect()
}

#[tokio::test]
async fn chat_stream_says_what_the_plain_answer_says() {
    let (events, plain) = both_ways("/v1/chat/completions", chat(6, true)).await;
    // The role, six tokens, the end.
    assert_eq!(events.len(), 8);
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(events[7]["choices"][0]["delta"], json!({}));
    let text = joined(&events, 0, |choice| &choice["delta"]["content"]);
    assert_eq!(text, plain["choices"][0]["message"]["content"]);
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        for key in ["id", "created", "model", "system_fingerprint"] {
            assert_eq!(event[key], plain[key], "{key}");
        }
        assert!(event.get("usage").is_none());
    }
    let reasons: Vec<&Value> = events.iter().map(|e| &e["choices"][0]["finish_reason"]).collect();
    assert!(reasons[..7].iter().all(|reason| reason.is_null()));
    assert_eq!(reasons[7], "length");
}

#[tokio::test]
async fn stream_ends_with_the_usage_if_asked() {
    let mut request = chat(3, true);
    request["stream_options"] = json!({ "include_usage": true });
    let (mut events, plain) = both_ways("/v1/chat/completions", request).await;
    let last = events.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], plain["usage"]);
    assert!(events.iter().all(|event| event.get("usage") == Some(&Value::Null)));
}

#[tokio::test]
async fn completion_stream_interleaves_its_choices() {
    let request = json!({ "prompt": "hello", "n": 2, "max_tokens": 4 });
    let (events, plain) = both_ways("/v1/completions", request).await;
    // Four tokens and the end of two choices each.
    assert_eq!(events.len(), 10);
    for choice in [0, 1] {
        let text = joined(&events, choice as u64, |choice| &choice["text"]);
        assert_eq!(text, plain["choices"][choice]["text"]);
    }
}

#[tokio::test]
async fn generate_stream_repeats_the_text_so_far() {
    let request = json!({ "text": "hello", "sampling_params": { "max_new_tokens": 3 } });
    let (events, plain) = both_ways("/generate", request).await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[2], plain);
    let mut before = "";
    for (made, event) in events.iter().enumerate() {
        let text = event["text"].as_str().unwrap();
        assert!(text.len() > before.len() && text.starts_with(before));
        before = text;
        assert_eq!(event["meta_info"]["completion_tokens"], made + 1);
        assert_eq!(event["meta_info"]["finish_reason"].is_null(), made < 2);
    }
}

#[tokio::test]
async fn generate_stream_of_a_batch_numbers_its_answers() {
    let request = json!({ "text": ["a", "b"], "sampling_params": { "max_new_tokens": 2 } });
    let (events, plain) = both_ways("/generate", request).await;
    let indexes: Vec<u64> = events.iter().filter_map(|event| event["index"].as_u64()).collect();
    assert_eq!(indexes, [0, 1, 0, 1]);
    assert_eq!(events[2]["text"], plain[0]["text"]);
    assert_eq!(events[3]["text"], plain[1]["text"]);
}

#[tokio::test]
async fn paced_stream_is_complete() {
    let config = SimConfig { time_scale: 0.1, ..SimConfig::default() };
    let worker = start(config).await;
    let answer = Client::new(&worker).post("/v1/chat/completions", &chat(5, true)).await;
    assert_eq!(answer.events().len(), 7);
}
