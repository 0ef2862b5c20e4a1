//! Requests that wait: for their turn, where only so many are served at a time, and for workers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sgl_router::RunningRouter;
use sgl_router::config::{CheckedConfig, WorkerEntry};
use sgl_testkit::client::{TestClient, Whole, call, chat, get, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A router that serves one request at a time, and lets so many wait.
async fn one_at_a_time(worker: &Upstream, size: usize, change: impl Fn(&mut CheckedConfig)) -> RunningRouter {
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.queue.max_concurrent = Some(1);
    config.proxy.queue.size = size;
    change(&mut config);
    router::start(config).await
}

/// The queue as operators see it.
async fn queue(router: &RunningRouter) -> Value {
    call(router.addresses().admin, get("/v1/queue")).await.json()
}

/// Waits until so many wait.
async fn waiting(router: &RunningRouter, count: usize) {
    until(async || queue(router).await["waiting"] == count).await;
}

/// A request on its way.
fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> JoinHandle<Whole> {
    tokio::spawn(call(address, request))
}

fn generate(id: usize) -> Request<Full<Bytes>> {
    post("/generate", &id.to_string())
}

/// A line of the metrics page.
async fn shows(router: &RunningRouter, line: &str) {
    let page = router::metrics(router).await;
    assert!(page.text().lines().any(|found| found == line), "{line} is missing in\n{}", page.text());
}

#[tokio::test]
async fn requests_beyond_the_limit_are_served_in_the_order_of_their_arrival() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = one_at_a_time(&worker, 10, |_| {}).await;
    let address = router.addresses().data;
    let mut sent = vec![send(address, generate(0))];
    worker.arrived(1).await;
    for id in 1..=5 {
        sent.push(send(address, generate(id)));
        waiting(&router, id).await;
    }
    assert_eq!(queue(&router).await["served"], 1);
    gate.add_permits(6);
    for request in sent {
        assert_eq!(soon(request).await.unwrap().status, StatusCode::OK);
    }
    let order: Vec<Bytes> = worker.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5"].map(Bytes::from));
    shows(&router, r#"sgl_router_queue_waits_total{for="limit",end="went_on"} 5"#).await;
    shows(&router, r#"sgl_router_queue_wait_seconds_count{for="limit"} 5"#).await;
    shows(&router, r#"sgl_router_queue_waiting{for="limit"} 0.0"#).await;
}

#[tokio::test]
async fn turn_lasts_until_the_end_of_the_answer() {
    let (response, pieces, _) = sgl_testkit::upstream::stream();
    let streaming = Upstream::once(response).await;
    let router = one_at_a_time(&streaming, 0, |_| {}).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let answer = client.send(chat("hi")).await.unwrap();
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::TOO_MANY_REQUESTS);
    drop(answer);
    drop(client);
    until(async || queue(&router).await["served"] == 0).await;
}

#[tokio::test]
async fn request_beyond_the_queue_is_refused_with_429() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = one_at_a_time(&worker, 1, |_| {}).await;
    let address = router.addresses().data;
    let first = send(address, generate(0));
    worker.arrived(1).await;
    let second = send(address, generate(1));
    waiting(&router, 1).await;
    let refused = call(address, generate(2)).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "queue_full"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    let mut held_back = generate(3);
    held_back.headers_mut().insert("expect", "100-continue".parse().unwrap());
    assert_eq!(call(address, held_back).await.status, StatusCode::TOO_MANY_REQUESTS);
    gate.add_permits(2);
    assert_eq!(soon(first).await.unwrap().status, StatusCode::OK);
    assert_eq!(soon(second).await.unwrap().status, StatusCode::OK);
    shows(&router, r#"sgl_router_queue_waits_total{for="limit",end="refused"} 1"#).await;
    until(async || queue(&router).await["served"] == 0).await;
}

#[tokio::test]
async fn bodies_of_those_who_wait_have_half_of_the_room_for_bodies() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = one_at_a_time(&worker, 10, |config| config.proxy.max_total_body_bytes = Some(4000)).await;
    let address = router.addresses().data;
    let first = send(address, generate(0));
    worker.arrived(1).await;
    let second = send(address, post("/generate", &"x".repeat(1500)));
    waiting(&router, 1).await;
    assert_eq!(queue(&router).await["body_bytes"], 1500);
    let refused = call(address, post("/generate", &"x".repeat(501))).await;
    assert_eq!(refused.code(), "queue_full");
    gate.add_permits(2);
    soon(first).await.unwrap();
    soon(second).await.unwrap();
}

#[tokio::test]
async fn request_that_waits_for_too_long_is_a_503() {
    let (worker, _gate) = Upstream::behind_a_gate().await;
    let short = |config: &mut CheckedConfig| config.proxy.queue.timeout = Duration::from_millis(50);
    let router = one_at_a_time(&worker, 1, short).await;
    let address = router.addresses().data;
    let _first = send(address, generate(0));
    worker.arrived(1).await;
    let late = soon(call(address, generate(1))).await;
    assert_eq!((late.status, late.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "queue_timeout"));
    assert_eq!(late.headers["retry-after"], "1");
    assert_eq!(queue(&router).await["waiting"], 0);
    shows(&router, r#"sgl_router_queue_waits_total{for="limit",end="timed_out"} 1"#).await;
}

#[tokio::test]
async fn client_that_hangs_up_leaves_the_queue_and_its_turn_to_the_next() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = one_at_a_time(&worker, 2, |_| {}).await;
    let address = router.addresses().data;
    let first = send(address, generate(0));
    worker.arrived(1).await;
    let second = send(address, generate(1));
    waiting(&router, 1).await;
    let third = send(address, generate(2));
    waiting(&router, 2).await;
    second.abort();
    waiting(&router, 1).await;
    gate.add_permits(2);
    assert_eq!(soon(first).await.unwrap().status, StatusCode::OK);
    assert_eq!(soon(third).await.unwrap().status, StatusCode::OK);
    assert_eq!(worker.seen().last().unwrap().body, "2");
    shows(&router, r#"sgl_router_queue_waits_total{for="limit",end="client_gone"} 1"#).await;
}

#[tokio::test]
async fn thousand_requests_wait_and_are_served() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = one_at_a_time(&worker, 1000, |_| {}).await;
    let address = router.addresses().data;
    let sent: Vec<_> = (0..1001).map(|id| send(address, generate(id))).collect();
    waiting(&router, 1000).await;
    assert_eq!(call(address, generate(9)).await.code(), "queue_full");
    let listed = call(router.addresses().admin, get("/v1/queue?limit=7")).await.json();
    assert_eq!(listed["requests"].as_array().unwrap().len(), 7);
    for query in ["limit=1001", "limit=-1", "limits=7"] {
        let refused = call(router.addresses().admin, get(&format!("/v1/queue?{query}"))).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (StatusCode::BAD_REQUEST, &"bad_query".into()),
            "{query}"
        );
    }
    gate.add_permits(1001);
    for request in sent {
        assert_eq!(soon(request).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(worker.seen().len(), 1001);
}

#[tokio::test]
async fn router_that_stops_serves_those_who_wait_and_tells_those_that_it_cannot() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let brief = |config: &mut CheckedConfig| config.proxy.shutdown = Duration::from_millis(300);
    let router = one_at_a_time(&worker, 10, brief).await;
    let address = router.addresses().data;
    let _served = send(address, generate(0));
    worker.arrived(1).await;
    let next = send(address, generate(1));
    waiting(&router, 1).await;
    let last = send(address, generate(2));
    waiting(&router, 2).await;
    router.stop();
    until(async || TcpStream::connect(address).await.is_err()).await;
    gate.add_permits(1);
    worker.arrived(2).await;
    soon(router.shut_down()).await;
    let told = soon(last).await.unwrap();
    assert_eq!((told.status, told.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "router_stopping"));
    assert!(soon(next).await.is_err(), "its worker did not answer in time");
}

/// A router without workers, where requests wait for them.
async fn without_workers(change: impl Fn(&mut CheckedConfig)) -> RunningRouter {
    let mut config = router::checking(Vec::new());
    config.proxy.queue.wait_for_workers = true;
    change(&mut config);
    router::start(config).await
}

#[tokio::test]
async fn request_waits_for_a_worker_that_is_added() {
    let router = without_workers(|_| {}).await;
    let address = router.addresses().data;
    let sent: Vec<_> = (0..3).map(|_| send(address, chat("hi"))).collect();
    waiting(&router, 3).await;
    let listed = queue(&router).await;
    assert_eq!(listed["requests"][0]["waits_for"], "workers");
    assert!(listed["requests"][0]["left_ms"].as_u64().unwrap() > 30_000);
    let worker = Upstream::saying("{}").await;
    router.proxy().backends().add(&worker.entry()).unwrap();
    for request in sent {
        assert_eq!(soon(request).await.unwrap().status, StatusCode::OK);
    }
    shows(&router, r#"sgl_router_queue_waits_total{for="workers",end="went_on"} 3"#).await;
}

#[tokio::test]
async fn request_waits_for_a_worker_that_becomes_healthy_or_ends_to_drain() {
    let worker = Upstream::saying("{}").await;
    worker.set_health(503);
    let router = without_workers(|_| {}).await;
    let backends = router.proxy().backends();
    backends.add(&worker.entry()).unwrap();
    let address = router.addresses().data;
    let sent = send(address, chat("hi"));
    waiting(&router, 1).await;
    worker.set_health(200);
    assert_eq!(soon(sent).await.unwrap().status, StatusCode::OK);
    backends.drain(&worker.url()).unwrap();
    let sent = send(address, chat("hi"));
    waiting(&router, 1).await;
    backends.undrain(&worker.url()).unwrap().unwrap();
    assert_eq!(soon(sent).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn request_that_waits_for_workers_in_vain_is_told_what_it_would_have_been_told_at_once() {
    let router = without_workers(|config| config.proxy.queue.timeout = Duration::from_millis(50)).await;
    let late = soon(call(router.addresses().data, chat("hi"))).await;
    assert_eq!((late.status, late.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available"));
    assert_eq!(late.json()["error"]["reason"], "none_configured");
    shows(&router, r#"sgl_router_queue_waits_total{for="workers",end="timed_out"} 1"#).await;
    let full = without_workers(|config| config.proxy.queue.size = 0).await;
    let refused = call(full.addresses().data, chat("hi")).await;
    assert_eq!(refused.code(), "no_worker_available");
    shows(&full, r#"sgl_router_queue_waits_total{for="workers",end="refused"} 1"#).await;
}

#[tokio::test]
async fn request_that_waits_is_read_anew_where_models_begin_to_matter() {
    let router = without_workers(|_| {}).await;
    let address = router.addresses().data;
    let sent = send(address, chat("hi"));
    waiting(&router, 1).await;
    let others = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    for (other, model) in others.iter().zip(["a", "b"]) {
        other.set_health(503);
        let entry = WorkerEntry { model: Some(model.to_owned()), ..other.entry() };
        router.proxy().backends().add(&entry).unwrap();
    }
    assert_eq!(soon(sent).await.unwrap().code(), "model_not_found");
    shows(&router, r#"sgl_router_queue_waits_total{for="workers",end="failed"} 1"#).await;
}
