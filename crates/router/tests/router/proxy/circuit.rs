use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use sgl_testkit::client::{TestClient, chat};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::Worker;

#[tokio::test]
async fn failures_in_a_row_open_the_circuit_and_a_probe_closes_it() {
    let broken = Arc::new(AtomicBool::new(true));
    let script = Arc::clone(&broken);
    let worker = Upstream::start(move |_| {
        let status = if script.load(Ordering::SeqCst) { 500 } else { 200 };
        async move { upstream::whole(status, "{}") }
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 3;
    config.proxy.circuit.timeout = Duration::from_millis(50);
    let router = router::start(config).await;
    let target = router::target(&router, &worker.url()).unwrap();
    let mut client = TestClient::connect(router.addresses().data).await;

    for _ in 0..3 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    let refused = client.call(chat("hi")).await;
    assert_eq!(refused.code(), "no_worker_available");
    assert_eq!(worker.seen().len(), 3, "an open circuit lets nothing through");

    // A probe that fails opens it again.
    until(async || target.worker().is_healthy()).await;
    assert_eq!(client.call(chat("hi")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(client.call(chat("hi")).await.code(), "no_worker_available");

    broken.store(false, Ordering::SeqCst);
    until(async || target.worker().is_healthy()).await;
    for _ in 0..5 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    assert_eq!(router::shown(&router, &worker.url()).await.unwrap()["circuit"], "closed");
}

#[tokio::test]
async fn half_open_circuit_lets_one_request_through_at_a_time() {
    let (send_script, mut scripts) = tokio::sync::mpsc::channel(1);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let worker = Upstream::start(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let (answer, wait) = tokio::sync::oneshot::channel::<()>();
        if !first {
            send_script.try_send(answer).unwrap();
        }
        async move {
            if first {
                return upstream::whole(500, "{}");
            }
            wait.await.unwrap();
            upstream::whole(200, "{}")
        }
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 1;
    // So long a probe has the circuit for itself.
    config.proxy.circuit.timeout = Duration::from_millis(600);
    let router = router::start(config).await;
    let address = router.addresses().data;
    let target = router::target(&router, &worker.url()).unwrap();
    let mut client = TestClient::connect(address).await;
    assert_eq!(client.call(chat("hi")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    until(async || target.worker().is_healthy()).await;

    let probe = tokio::spawn(async move { client.call(chat("probe")).await.status });
    let answer = soon(scripts.recv()).await.unwrap();
    let mut other = TestClient::connect(address).await;
    assert_eq!(other.call(chat("hi")).await.code(), "no_worker_available");
    answer.send(()).unwrap();
    assert_eq!(probe.await.unwrap(), StatusCode::OK);
    assert!(target.worker().is_healthy());
}

#[tokio::test]
async fn errors_of_clients_do_not_open_the_circuit() {
    let worker = Upstream::failing(400).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 1;
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..3 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::BAD_REQUEST);
    }
}

/// A worker that answers requests with the status that is their prompt.
async fn obedient() -> Upstream {
    Upstream::start(|seen: upstream::SeenRequest| async move {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let named = |status: &u16| body.contains(&status.to_string());
        upstream::whole([200, 400, 404, 500, 501, 505].into_iter().find(named).expect("a status"), "{}")
    })
    .await
}

#[tokio::test]
async fn refusals_between_failures_do_not_keep_a_worker_in() {
    for refusal in ["400", "501", "505"] {
        let worker = obedient().await;
        let mut config = router::config(vec![worker.entry()]);
        config.proxy.circuit.failures = 3;
        let router = router::start(config).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        for prompt in ["500", refusal, "500", refusal, "500"] {
            assert_eq!(client.call(chat(prompt)).await.status.as_str(), prompt);
        }
        assert_eq!(client.call(chat("200")).await.code(), "no_worker_available", "{refusal}");
    }
}

#[tokio::test]
async fn refusal_is_no_probe_and_makes_room_for_one() {
    for refusal in ["404", "501", "505"] {
        let worker = obedient().await;
        let mut config = router::config(vec![worker.entry()]);
        config.proxy.circuit.failures = 1;
        config.proxy.circuit.timeout = Duration::from_millis(20);
        let router = router::start(config).await;
        let target = router::target(&router, &worker.url()).unwrap();
        let mut client = TestClient::connect(router.addresses().data).await;
        client.call(chat("500")).await;
        until(async || target.worker().is_healthy()).await;
        for _ in 0..3 {
            assert_eq!(client.call(chat(refusal)).await.status.as_str(), refusal);
            assert_eq!(target.circuit().state().as_str(), "half_open", "{refusal}");
        }
        assert_eq!(client.call(chat("200")).await.status, StatusCode::OK);
        assert_eq!(target.circuit().state().as_str(), "closed");
    }
}

#[tokio::test]
async fn probe_that_lasts_does_not_keep_a_worker_out() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let worker = Upstream::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match number {
                0 => upstream::whole(500, "{}"),
                1 => std::future::pending().await,
                _ => upstream::whole(200, "{}"),
            }
        }
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 1;
    config.proxy.circuit.timeout = Duration::from_millis(50);
    let router = router::start(config).await;
    let target = router::target(&router, &worker.url()).unwrap();
    let address = router.addresses().data;
    let mut client = TestClient::connect(address).await;
    client.call(chat("hi")).await;
    until(async || target.worker().is_healthy()).await;
    let probe = tokio::spawn(async move { TestClient::connect(address).await.call(chat("long")).await });
    worker.arrived(2).await;
    until(async || target.worker().is_healthy()).await;
    assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    assert_eq!(target.circuit().state().as_str(), "closed");
    probe.abort();
}
