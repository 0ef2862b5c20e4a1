//! Health, failures and delays that are switched while a worker runs.

use http::StatusCode;
use serde_json::json;
use sgl_tools::sim::SimConfig;

use crate::sim_worker::client::{Client, chat, instant, start};

#[tokio::test]
async fn unhealthy_worker_fails_its_checks_and_still_serves() {
    let worker = start(instant()).await;
    let client = Client::new(&worker);
    for path in ["/health", "/health_generate"] {
        assert_eq!(client.get(path).await.status, StatusCode::OK);
    }
    client.post("/sim/control", &json!({ "healthy": false })).await;
    for path in ["/health", "/health_generate"] {
        assert_eq!(client.get(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let answer = client.post("/v1/chat/completions", &chat(1, false)).await;
    assert_eq!(answer.status, StatusCode::OK);
    client.post("/sim/control", &json!({ "healthy": true })).await;
    assert_eq!(client.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn failures_are_switched_on_and_off() {
    let worker = start(SimConfig { fail_status: 503, ..instant() }).await;
    let client = Client::new(&worker);
    let status = async || client.post("/v1/chat/completions", &chat(1, false)).await.status;
    assert_eq!(status().await, StatusCode::OK);
    client.post("/sim/control", &json!({ "fail_rate": 1 })).await;
    let failed = client.post("/v1/chat/completions", &chat(1, true)).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(failed.json()["error"]["code"], "simulated_failure");
    client.post("/sim/control", &json!({ "fail_rate": 0 })).await;
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!((worker.requests(), worker.in_flight(), worker.cancelled()), (3, 0, 0));
}

#[tokio::test]
async fn control_answers_with_the_settings_in_force() {
    let worker = start(SimConfig { fail_rate: 0.5, ..instant() }).await;
    let client = Client::new(&worker);
    let changed = client.post("/sim/control", &json!({ "extra_delay_ms": 2 })).await;
    let expected = json!({ "healthy": true, "fail_rate": 0.5, "extra_delay_ms": 2 });
    assert_eq!(changed.json(), expected);
    for bad in [json!({ "fail_rate": 2 }), json!({ "healty": true }), json!([])] {
        let answer = client.post("/sim/control", &bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(client.get("/sim/control").await.json(), expected);
}
