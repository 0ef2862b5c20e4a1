//! Clients that go away free what they held, wherever their request was.

use http::Method;
use sgl_tools::sim::SimConfig;
use std::time::Duration;

use crate::sim_worker::client::{Client, chat, instant, start, within};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn client_that_leaves_a_stream_frees_its_place() {
    // The second token would come in an hour.
    let worker = start(SimConfig { decode_step: HOUR, ..SimConfig::default() }).await;
    let stream = Client::new(&worker).open_stream(&chat(5, true)).await;
    assert_eq!((worker.running(), worker.in_flight(), worker.cancelled()), (1, 1, 0));
    drop(stream);
    within(worker.wait_until(|worker| worker.cancelled() == 1)).await;
    within(worker.wait_until(|worker| worker.running() == 0 && worker.in_flight() == 0)).await;
}

#[tokio::test]
async fn client_that_leaves_a_stalled_stream_frees_its_place() {
    let worker = start(SimConfig { stall_after: Some(1), ..instant() }).await;
    let stream = Client::new(&worker).open_stream(&chat(5, true)).await;
    assert_eq!(worker.running(), 1);
    drop(stream);
    within(worker.wait_until(|worker| worker.running() == 0 && worker.cancelled() == 1)).await;
}

#[tokio::test]
async fn client_that_leaves_while_its_answer_is_made_frees_its_place() {
    for slow in [
        SimConfig { prefill_base: HOUR, ..SimConfig::default() },
        SimConfig { decode_step: HOUR, ..SimConfig::default() },
    ] {
        let worker = start(slow).await;
        let client = Client::new(&worker);
        let call = tokio::spawn(async move {
            let body = chat(5, false).to_string();
            client.send(Method::POST, "/v1/chat/completions", body).await
        });
        within(worker.wait_until(|worker| worker.running() == 1)).await;
        call.abort();
        within(worker.wait_until(|worker| worker.running() == 0)).await;
        within(worker.wait_until(|worker| worker.cancelled() == 1)).await;
    }
}

#[tokio::test]
async fn client_that_leaves_the_queue_lets_the_next_one_up() {
    let worker = start(SimConfig { max_running: 1, stall_after: Some(1), ..instant() }).await;
    let client = Client::new(&worker);
    let holder = client.open_stream(&chat(5, true)).await;
    let leaver = client.clone();
    let leaver = tokio::spawn(async move { leaver.post("/v1/chat/completions", &chat(1, false)).await });
    within(worker.wait_until(|worker| worker.queued() == 1)).await;
    let stayer = client.clone();
    let stayer = tokio::spawn(async move { stayer.post("/v1/chat/completions", &chat(2, false)).await });
    within(worker.wait_until(|worker| worker.queued() == 2)).await;
    leaver.abort();
    within(worker.wait_until(|worker| worker.queued() == 1 && worker.cancelled() == 1)).await;
    drop(holder);
    let answer = within(stayer).await.unwrap();
    assert_eq!(answer.json()["usage"]["completion_tokens"], 2);
    within(worker.wait_until(|worker| worker.in_flight() == 0 && worker.cancelled() == 2)).await;
}
