//! The bounded batch and its bounded queue.

use http::StatusCode;
use sgl_tools::sim::SimConfig;

use crate::sim_worker::client::{Client, chat, instant, start, within};

#[tokio::test]
async fn requests_wait_beyond_the_batch_and_get_503_beyond_the_queue() {
    let config = SimConfig { max_running: 1, max_queued: 1, stall_after: Some(1), ..instant() };
    let worker = start(config).await;
    let client = Client::new(&worker);
    let holder = client.open_stream(&chat(5, true)).await;
    let waiter = client.clone();
    let waiter = tokio::spawn(async move { waiter.post("/v1/chat/completions", &chat(3, false)).await });
    within(worker.wait_until(|worker| worker.queued() == 1)).await;

    let load = client.get("/get_load").await.json();
    assert_eq!((&load[0]["num_reqs"], &load[0]["num_waiting_reqs"]), (&2.into(), &1.into()));

    let refused = client.post("/v1/chat/completions", &chat(1, false)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    assert_eq!((worker.running(), worker.queued(), worker.cancelled()), (1, 1, 0));

    drop(holder);
    assert_eq!(within(waiter).await.unwrap().status, StatusCode::OK);
    assert_eq!(worker.requests(), 3);
}

#[tokio::test]
async fn burst_far_beyond_the_batch_is_answered_whole() {
    let config = SimConfig { max_running: 4, time_scale: 0.01, ..SimConfig::default() };
    let worker = start(config).await;
    let client = Client::new(&worker);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.post("/v1/chat/completions", &chat(4, false)).await })
        })
        .collect();
    for call in calls {
        assert_eq!(within(call).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!((worker.requests(), worker.in_flight(), worker.cancelled()), (100, 0, 0));
    assert_eq!((worker.running(), worker.queued()), (0, 0));
}
