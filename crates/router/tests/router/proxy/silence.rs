//! Workers that say nothing.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use sgl_router::RunningRouter;
use sgl_router::config::WorkerEntry;
use sgl_router::internals::{Opening, Verdict};
use sgl_testkit::client::{TestClient, call, chat, piece, with_method};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{raw, router, upstream};
use sgl_upstream::{Address, Payload, UpstreamConnection, WorkerUrl};
use sglang_router_rs::core::Worker;

const EVENT: &str = "data: {\"choices\": []}\n\n";

#[tokio::test]
async fn worker_that_gives_no_byte_in_time_is_passed_over() {
    let silent = Upstream::start(|_| pending()).await;
    let worker = Upstream::saying("fine").await;
    let mut config = router::config(vec![silent.entry(), worker.entry()]);
    config.proxy.silence.first_byte = Some(Duration::from_millis(50));
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..2 {
        assert_eq!(client.call(chat("hi")).await.text(), "fine");
    }
    let target = router::target(&router, &silent.url()).unwrap();
    assert_eq!(target.counted(Verdict::Failed), u64::try_from(silent.seen().len()).unwrap());
    assert!(!silent.seen().is_empty());
    let page = router::metrics(&router).await;
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="silent"} "#), "{}", page.text());
}

#[tokio::test]
async fn head_of_a_stream_without_an_event_is_silence_too() {
    let silent = Raw::start(|_| Act::Fall(raw::events(&[]))).await;
    let mut config = router::config(vec![silent.entry()]);
    config.proxy.silence.first_byte = Some(Duration::from_millis(50));
    let router = router::start(config).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"));
}

#[tokio::test]
async fn client_in_a_hurry_says_nothing_against_a_worker() {
    let silent = Upstream::start(|_| pending()).await;
    let mut config = router::config(vec![silent.entry()]);
    // The sweeps come as often as the shortest limit needs.
    config.proxy.silence.between = Some(Duration::from_millis(100));
    config.proxy.circuit.failures = 1;
    let router = router::start(config).await;
    let mut request = chat("hi");
    request.headers_mut().insert("x-sgl-first-byte-timeout", "0.05".parse().unwrap());
    assert_eq!(call(router.addresses().data, request).await.status, StatusCode::GATEWAY_TIMEOUT);
    let target = router::target(&router, &silent.url()).unwrap();
    assert_eq!(target.circuit().state().as_str(), "closed");
    assert_eq!((target.counted(Verdict::Failed), target.counted(Verdict::Abandoned)), (0, 1));
}

#[tokio::test]
async fn comments_before_the_first_event_are_no_silence() {
    let worker = Upstream::start(|_| async {
        let (response, pieces, _) = upstream::stream();
        tokio::spawn(async move {
            for _ in 0..10 {
                let _ = pieces.send(Bytes::from_static(b": keep-alive\n\n")).await;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            let _ = pieces.send(Bytes::from_static(EVENT.as_bytes())).await;
        });
        response
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.silence.first_byte = Some(Duration::from_millis(200));
    let router = router::start(config).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text().ends_with(EVENT)), (StatusCode::OK, true));
    assert_eq!(router::target(&router, &worker.url()).unwrap().outcomes(), (1, 0));
}

#[tokio::test]
async fn clients_own_limit_does_not_excuse_from_the_other() {
    let silent = Raw::start(|_| Act::Fall(String::new())).await;
    let falling = Raw::start(|_| Act::Fall(raw::events(&[EVENT]))).await;
    for (worker, own) in [(&silent, "x-sgl-silence-timeout"), (&falling, "x-sgl-first-byte-timeout")] {
        let mut config = router::config(vec![worker.entry()]);
        config.proxy.silence.first_byte = Some(Duration::from_millis(50));
        config.proxy.silence.between = Some(Duration::from_millis(50));
        let router = router::start(config).await;
        let mut request = chat("hi");
        request.headers_mut().insert(own, "100".parse().unwrap());
        let mut client = TestClient::connect(router.addresses().data).await;
        let response = soon(client.send(request)).await.unwrap();
        // One is answered with 504, the other breaks off.
        let _ = soon(response.into_body().collect()).await;
        assert_eq!(router::target(&router, &worker.entry().url).unwrap().outcomes(), (0, 1), "{own}");
    }
}

#[tokio::test]
async fn stream_that_falls_silent_is_broken_off() {
    let worker = Raw::start(|_| Act::Fall(raw::events(&[EVENT]))).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.silence.between = Some(Duration::from_millis(50));
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let mut body = soon(client.send(chat("hi"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some(EVENT));
    assert!(soon(body.frame()).await.unwrap().is_err());
    assert_eq!(router::target(&router, &worker.entry().url).unwrap().outcomes(), (0, 1));
}

#[tokio::test]
async fn stream_that_says_something_now_and_then_goes_on() {
    let worker = Upstream::start(|_| async {
        let (response, pieces, _) = upstream::stream();
        tokio::spawn(async move {
            for _ in 0..10 {
                let _ = pieces.send(Bytes::from_static(EVENT.as_bytes())).await;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        });
        response
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.silence.between = Some(Duration::from_millis(300));
    let router = router::start(config).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), EVENT.repeat(10));
}

/// A worker that passes its checks and gives requests this.
async fn falling(answer: &'static [&'static str]) -> Raw {
    let answer = if answer.is_empty() { String::new() } else { raw::events(answer) };
    Raw::start(move |request| {
        if request.starts_with("GET") { Act::SayAndClose(raw::whole("")) } else { Act::Fall(answer.clone()) }
    })
    .await
}

#[tokio::test]
async fn what_waits_for_a_worker_that_is_found_dead_is_tried_elsewhere() {
    let dying = falling(&[]).await;
    let worker = Upstream::saying("fine").await;
    let router = over_dying(&dying, &worker).await;
    let address = router.addresses().data;
    let asked = tokio::spawn(two_answers(address));
    until(async || router::in_flight(&router, &dying.entry().url) > 0).await;
    dying.stop_listening();
    assert_eq!(soon(asked).await.unwrap(), ["fine", "fine"]);
}

/// Waits until all workers pass their checks.
async fn all_passing(router: &RunningRouter) {
    until(async || {
        let snapshot = router.proxy().backends().snapshot();
        snapshot.targets().iter().all(|target| target.is_passing())
    })
    .await;
}

/// A router over one that is dying and one that is well, quick to see it.
async fn over_dying(dying: &Raw, worker: &Upstream) -> RunningRouter {
    let mut config = router::checking(vec![dying.entry(), worker.entry()]);
    config.proxy.health.load_interval = None;
    config.proxy.client_idle = Duration::from_millis(500);
    config.proxy.shutdown = Duration::from_millis(20);
    let router = router::start(config).await;
    all_passing(&router).await;
    router
}

/// What two requests at the same time are answered.
async fn two_answers(address: SocketAddr) -> [String; 2] {
    let answers = tokio::join!(call(address, chat("hi")), call(address, chat("hi")));
    [answers.0, answers.1].map(|answer| answer.text().to_owned())
}

#[tokio::test]
async fn what_waits_for_a_removed_worker_that_is_found_dead_is_tried_elsewhere() {
    let dying = falling(&[]).await;
    let worker = Upstream::saying("fine").await;
    let router = over_dying(&dying, &worker).await;
    let url = dying.entry().url;
    let target = router::target(&router, &url).unwrap();
    let asked = tokio::spawn(two_answers(router.addresses().data));
    until(async || target.worker().load() > 0).await;
    let removal = with_method("DELETE", &format!("/workers?url={url}"));
    assert_eq!(call(router.addresses().admin, removal).await.status, StatusCode::ACCEPTED);
    until(async || router::target(&router, &url).is_none()).await;
    // Another one at its URL, which counts the requests of before as its own and is as dead.
    router.proxy().backends().add(&dying.entry()).unwrap();
    dying.stop_listening();
    assert_eq!(soon(asked).await.unwrap(), ["fine", "fine"]);
}

#[tokio::test]
async fn what_waits_for_a_worker_that_was_changed_since_learns_of_its_death() {
    let dying = falling(&[]).await;
    let worker = Upstream::saying("fine").await;
    let router = over_dying(&dying, &worker).await;
    let url = dying.entry().url;
    let asked = tokio::spawn(two_answers(router.addresses().data));
    until(async || router::in_flight(&router, &url) > 0).await;
    let entry = WorkerEntry { weight: 2.0, ..dying.entry() };
    router.proxy().backends().change(&entry).unwrap().unwrap();
    dying.stop_listening();
    assert_eq!(soon(asked).await.unwrap(), ["fine", "fine"]);
}

#[tokio::test]
async fn removed_worker_is_looked_after_until_its_last_request_has_ended() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let target = router::target(&router, &worker.url()).unwrap();
    until(async || target.is_passing()).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let send = async { pieces.send(Bytes::from_static(EVENT.as_bytes())).await.unwrap() };
    let (answer, ()) = soon(async { tokio::join!(client.send(chat("hi")), send) }).await;
    router.proxy().backends().remove(&worker.url()).unwrap();
    let connections = worker.connections();
    until(async || worker.connections() > connections + 2).await;
    assert_eq!(target.deaths(), 0, "it takes connections");
    drop((answer, client));
    let target = Arc::downgrade(&{ target });
    until(async || target.strong_count() == 0).await;
}

#[tokio::test]
async fn silent_stream_of_a_worker_that_is_found_dead_is_broken_off() {
    let dying = falling(&[EVENT]).await;
    let mut config = router::checking(vec![dying.entry()]);
    config.proxy.health.load_interval = None;
    config.proxy.health.timeout = Duration::from_millis(200);
    config.proxy.client_idle = Duration::from_millis(500);
    config.proxy.silence.between = None;
    let router = router::start(config).await;
    let target = router::target(&router, &dying.entry().url).unwrap();
    until(async || target.is_passing()).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let mut body = soon(client.send(chat("hi"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some(EVENT));
    dying.stop_listening();
    assert!(soon(body.frame()).await.unwrap().is_err());
}

#[tokio::test]
async fn error_whose_body_does_not_end_is_passed_on_as_far_as_it_came() {
    let begun = "HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let worker = Raw::start(|_| Act::Fall(begun.to_owned())).await;
    let address = Address::new(WorkerUrl::parse(&worker.entry().url).unwrap());
    let connection = UpstreamConnection::open(&address, Duration::from_secs(5)).await.unwrap();
    let answer = connection.send(|| Request::new(Payload::default())).await.unwrap();
    // All of it is there, so the time goes by at once.
    tokio::time::pause();
    let mut opening = Opening::new(answer).unwrap();
    let reading = opening.read_on(|| {});
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it is not held").unwrap();
    assert_eq!((opening.status(), opening.is_dying(), opening.body.held()), (500, false, &b"hello"[..]));
}
