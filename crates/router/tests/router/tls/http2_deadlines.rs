use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sgl_router::config::CheckedConfig;
use sgl_testkit::client::{chat, get};
use sgl_testkit::router;
use sgl_testkit::upstream::{Upstream, whole};
use sgl_testkit::waits::{soon, until};
use tokio::net::TcpStream;

use crate::tls::rig::Http2Client;

fn h2c(worker: &Upstream, change: impl FnOnce(&mut CheckedConfig)) -> CheckedConfig {
    let mut config = router::config_with(vec![worker.entry()], |config| config.server.http2.cleartext = true);
    change(&mut config);
    config
}

#[tokio::test]
async fn request_that_is_out_of_time_is_answered_so_and_its_connection_goes_on() {
    let (worker, ended) = Upstream::without_an_answer().await;
    let limit = Duration::from_millis(50);
    let router = router::start(h2c(&worker, |config| config.proxy.request_timeout = limit)).await;
    let client = Http2Client::connect(router.addresses().data).await;
    for _ in 0..2 {
        let answer = client.call(chat("hi")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
        );
        soon(ended.notified()).await;
    }
    assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn connection_without_a_request_is_closed_and_one_with_a_request_is_not() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let idle = Duration::from_millis(50);
    let router = router::start(h2c(&worker, |config| config.proxy.client_idle = idle)).await;
    let client = Http2Client::connect(router.addresses().data).await;
    let sent = tokio::spawn(client.send(chat("hi")));
    worker.arrived(1).await;
    let other = Http2Client::connect(router.addresses().data).await;
    assert_eq!(other.call(get("/liveness")).await.status, StatusCode::OK);
    // That the other is closed shows that the time is over for this one too.
    other.closed().await;
    gate.add_permits(1);
    assert_eq!(soon(sent).await.unwrap().unwrap().status(), StatusCode::OK);
    client.closed().await;
}

#[tokio::test]
async fn body_that_does_not_come_is_not_waited_for_and_other_requests_are_served() {
    let worker = Upstream::saying("{}").await;
    let silence = Duration::from_millis(50);
    let router = router::start(h2c(&worker, |config| config.proxy.body_silence = silence)).await;
    let stream = TcpStream::connect(router.addresses().data).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let first = futures_util::stream::iter([Ok::<_, hyper::Error>(Frame::data(Bytes::from_static(b"{")))]);
    let never = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let request = Request::post("http://localhost/v1/completions").body(StreamBody::new(never)).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
    let client = Http2Client::connect(router.addresses().data).await;
    assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn client_that_does_not_read_an_answer_loses_it_in_time_and_gets_others() {
    let worker = Upstream::start(|seen| async move {
        let is_large = seen.json()["messages"][0]["content"] == "large";
        if is_large { whole(200, &"x".repeat(8 << 20)) } else { whole(200, "small") }
    })
    .await;
    let limit = Duration::from_millis(300);
    let router = router::start(h2c(&worker, |config| config.proxy.request_timeout = limit)).await;
    let stream = TcpStream::connect(router.addresses().data).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(64 << 10).initial_connection_window_size(4 << 20);
    let client = Http2Client::over(stream, &builder).await;
    let unread = soon(client.send(chat("large"))).await.unwrap();
    assert_eq!(router::in_flight(&router, &worker.url()), 1);
    assert_eq!(client.call(chat("small")).await.text(), "small");
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
    assert!(soon(unread.into_body().collect()).await.is_err(), "it was reset");
    assert_eq!(client.call(chat("small")).await.text(), "small");
}
