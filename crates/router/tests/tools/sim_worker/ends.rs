//! How each engine ends when it is told to.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use sgl_tools::sim::{Dialect, SimConfig};
use tokio::time::timeout;

use crate::sim_worker::client::{Client, chat, start, within};
use crate::sim_worker::dialects::like;

const CHAT: &str = "/v1/chat/completions";

/// A worker whose streams last for a while.
fn slow(engine: Dialect, grace: Duration) -> SimConfig {
    SimConfig {
        time_scale: 1.0,
        decode_step: Duration::from_millis(100),
        shutdown_grace: grace,
        ..like(engine)
    }
}

#[tokio::test]
async fn sglang_is_unhealthy_at_once_and_lets_streams_end() {
    let worker = start(slow(Dialect::Sglang, Duration::from_secs(50))).await;
    let client = Client::new(&worker);
    let stream = client.open_stream(&chat(20, true)).await;
    let ending = tokio::spawn(worker.shutdown());
    within(async { while client.get("/ready").await.status == StatusCode::OK {} }).await;
    assert_eq!(client.get("/health").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.post(CHAT, &chat(1, false)).await.status, StatusCode::OK);
    let rest = within(stream.collect()).await.expect("the stream is complete").to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
    within(ending).await.expect("nothing panics");
}

#[tokio::test]
async fn vllm_refuses_with_500_while_it_waits_and_then_falls_silent() {
    let worker = start(slow(Dialect::Vllm, Duration::from_secs(1))).await;
    let client = Client::new(&worker);
    let mut stream = client.open_stream(&chat(5000, true)).await;
    let ending = tokio::spawn(worker.shutdown());
    within(async {
        while client.post(CHAT, &chat(1, false)).await.status != StatusCode::INTERNAL_SERVER_ERROR {}
    })
    .await;
    assert_eq!(client.get("/health").await.status, StatusCode::OK);
    // Ten pieces come each second until it is silent; the connection stays.
    within(async { while timeout(Duration::from_secs(2), stream.frame()).await.is_ok() {} }).await;
    assert!(!ending.is_finished());
    drop(stream);
    within(ending).await.expect("nothing panics");
}

#[tokio::test]
async fn llama_cpp_breaks_off_what_runs() {
    let worker = start(slow(Dialect::LlamaCpp, Duration::from_secs(50))).await;
    let stream = Client::new(&worker).open_stream(&chat(5000, true)).await;
    within(worker.shutdown()).await;
    within(stream.collect()).await.expect_err("no proper end");
}
