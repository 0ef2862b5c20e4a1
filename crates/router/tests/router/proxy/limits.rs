use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use sgl_testkit::client::{TestClient, call, chat, get, piece, post};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn unknown_path_and_wrong_method_are_openai_errors() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let unknown = client.call(post("/v1/nothing", "{}")).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    assert_eq!(unknown.json()["error"]["type"], "invalid_request_error");
    let wrong = client.call(get("/v1/chat/completions")).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(wrong.headers["allow"], "POST");
    assert!(worker.seen().is_empty());
}

#[tokio::test]
async fn body_at_the_limit_passes_and_one_byte_more_is_refused() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_payload_bytes = 1000;
    let router = router::start(config).await;
    let address = router.addresses().data;
    assert_eq!(call(address, post("/generate", &"x".repeat(1000))).await.status, StatusCode::OK);
    let refused = call(address, post("/generate", &"x".repeat(1001))).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large")
    );
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn body_of_unknown_length_is_measured_as_it_comes() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_payload_bytes = 1000;
    let router = router::start(config).await;
    for (pieces, status) in [(10, "200"), (11, "413")] {
        let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
        let head = "POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..pieces {
            stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        soon(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), format!("HTTP/1.1 {status}"));
    }
    assert_eq!(worker.seen()[0].body.len(), 1000);
    assert_eq!(worker.seen()[0].headers["content-length"], "1000");
}

#[tokio::test]
async fn worker_that_does_not_answer_in_time_is_a_504() {
    let worker = Upstream::start(|_| pending()).await;
    let other = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry(), other.entry()]);
    config.proxy.request_timeout = Duration::from_millis(100);
    let router = router::start(config).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"));
    assert!(other.seen().is_empty(), "there is no time left for another");
    assert_eq!(router::target(&router, &worker.url()).unwrap().outcomes(), (0, 1));
}

#[tokio::test]
async fn stream_that_lasts_too_long_is_broken_off() {
    let (response, pieces, ended) = upstream::stream();
    let worker = Upstream::once(response).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.request_timeout = Duration::from_millis(200);
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = client.send(chat("hi")).await.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());
    assert!(soon(body.frame()).await.unwrap().is_err());
    soon(ended.notified()).await;
}

#[tokio::test]
async fn next_request_has_its_whole_time_again() {
    let worker = Upstream::start(|_| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        upstream::whole(200, "{}")
    })
    .await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.request_timeout = Duration::from_secs(1);
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    // Forty times 30 ms are more than the limit of one.
    for _ in 0..40 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn body_that_does_not_come_in_time_is_a_408() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.request_timeout = Duration::from_millis(100);
    let router = router::start(config).await;
    let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
    stream.write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn body_that_stalls_is_a_408_and_one_that_drips_is_none() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.body_silence = Duration::from_millis(200);
    let router = router::start(config).await;
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 10\r\n\r\n";
    let mut answer = [0; 12];
    let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in 0..10_u8 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        stream.write_all(&[byte]).await.unwrap();
    }
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
    stream.write_all(format!("{head}abc").as_bytes()).await.unwrap();
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // What is not read of the body may turn the end into a reset.
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn connection_without_a_request_is_closed_after_a_while() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.client_idle = Duration::from_millis(100);
    let router = router::start(config).await;
    let mut silent = TcpStream::connect(router.addresses().data).await.unwrap();
    silent.write_all(b"POST /gen").await.unwrap();
    let mut idle = TestClient::connect(router.addresses().data).await;
    assert_eq!(idle.call(chat("hi")).await.status, StatusCode::OK);
    idle.closed().await;
    assert_eq!(soon(silent.read(&mut [0; 1])).await.unwrap_or_default(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn client_that_does_not_read_its_answer_is_closed_when_its_time_is_over() {
    let (response, pieces, ended) = upstream::stream();
    let worker = Upstream::once(response).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.request_timeout = Duration::from_millis(200);
    let router = router::start(config).await;
    let mut client = TcpStream::connect(router.addresses().data).await.unwrap();
    client.write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    // More than all buffers on the way hold, until the router hangs up.
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    soon(async { while pieces.send(piece.clone()).await.is_ok() {} }).await;
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
}
