//! The same seed and order of requests give the same answers, byte for byte.

use http::StatusCode;
use serde_json::json;
use sgl_tools::sim::SimConfig;

use crate::sim_worker::client::{Client, chat, instant, start};

/// Status and body of a fixed row of requests, some of which fail.
async fn run(config: SimConfig) -> Vec<(StatusCode, String)> {
    let worker = start(SimConfig { fail_rate: 0.3, fail_status: 502, ..config }).await;
    let client = Client::new(&worker);
    let open_ended = json!({ "messages": [{ "role": "user", "content": "x".repeat(200) }] });
    let generate = json!({ "text": "hello", "stream": true });
    let mut answers = Vec::new();
    for _ in 0..10 {
        for (path, request) in [
            ("/v1/chat/completions", &open_ended),
            ("/v1/chat/completions", &chat(5, true)),
            ("/generate", &generate),
        ] {
            let answer = client.post(path, request).await;
            answers.push((answer.status, answer.text().to_owned()));
        }
    }
    answers
}

#[tokio::test]
async fn equal_runs_give_equal_answers() {
    let first = run(instant()).await;
    assert_eq!(first, run(instant()).await);
    let failed = first.iter().filter(|(status, _)| *status == StatusCode::BAD_GATEWAY).count();
    assert!((1..30).contains(&failed), "{failed} of 30 failed");
}

#[tokio::test]
async fn pace_does_not_change_the_answers() {
    let paced = SimConfig { time_scale: 0.001, ..SimConfig::default() };
    assert_eq!(run(instant()).await, run(paced).await);
}

#[tokio::test]
async fn another_seed_gives_other_answers() {
    assert_ne!(run(instant()).await, run(SimConfig { seed: 1, ..instant() }).await);
}
