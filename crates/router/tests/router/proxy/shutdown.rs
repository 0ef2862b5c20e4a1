use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use sgl_testkit::client::{TestClient, chat, get, piece};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use tokio::net::TcpStream;

#[tokio::test]
async fn shutdown_finishes_streams_and_takes_no_new_connections() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::over(&[&worker]).await;
    let address = router.addresses().data;
    let mut streaming = TestClient::connect(address).await;
    let idle = {
        let mut client = TestClient::connect(address).await;
        assert_eq!(client.call(get("/readiness")).await.status, StatusCode::OK);
        client
    };
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 1\n\n"));

    let stopping = tokio::spawn(router.shut_down());
    idle.closed().await;
    until(async || TcpStream::connect(address).await.is_err()).await;
    assert!(!stopping.is_finished());
    pieces.send(Bytes::from_static(b"data: 2\n\n")).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 2\n\n"));
    drop(pieces);
    assert_eq!(piece(&mut body).await, None, "the stream ended in order");
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn request_that_does_not_finish_is_cut_at_the_limit() {
    let worker = Upstream::start(|_| pending()).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.shutdown = Duration::from_millis(50);
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let request = tokio::spawn(async move { client.send(chat("hi")).await.map(|_| ()) });
    worker.arrived(1).await;
    soon(router.shut_down()).await;
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn stopping_router_is_not_ready_and_answers_what_it_is_still_asked() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let response = client.send(chat("hi")).await.unwrap();
    router.stop();
    until(async || router.proxy().is_stopping()).await;
    drop(pieces);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "data: 1\n\n");
    client.closed().await;
    soon(router.shut_down()).await;
}
