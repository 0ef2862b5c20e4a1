use std::net::SocketAddr;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use sgl_testkit::client::{TestClient, call, chat, piece, with_method};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::router::entry;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a free port")
}

#[tokio::test]
async fn worker_that_cannot_be_reached_is_passed_over() {
    let gone = entry(nobody().await);
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::config(vec![gone, worker.entry()])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..4 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    assert_eq!(worker.seen().len(), 4);
    // Each retry takes a turn of round robin too, so every request begins at the same worker.
    let page = router::metrics(&router).await;
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="connect"} 4"#), "{}", page.text());
}

#[tokio::test]
async fn worker_that_answers_502_or_503_is_passed_over_with_the_same_request() {
    for status in [502, 503] {
        let failing = Upstream::failing(status).await;
        let worker = Upstream::saying("fine").await;
        let router = router::over(&[&failing, &worker]).await;
        let answer = call(router.addresses().data, chat("the prompt")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "fine"));
        let (first, second) = (&failing.seen()[0], &worker.seen()[0]);
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers["content-type"], second.headers["content-type"]);
        assert_eq!(second.headers["host"], worker.address.to_string().as_str());
    }
}

#[tokio::test]
async fn other_errors_of_a_worker_are_passed_on_at_once() {
    for status in [400, 404, 500, 501, 504] {
        let failing = Upstream::failing(status).await;
        let other = Upstream::saying("fine").await;
        let router = router::over(&[&failing, &other]).await;
        let answer = call(router.addresses().data, chat("hi")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.text(), r#"{"error":"scripted"}"#);
        assert!(other.seen().is_empty());
    }
}

#[tokio::test]
async fn last_answer_of_a_worker_counts_when_all_are_tried() {
    let workers = [Upstream::failing(503).await, Upstream::failing(503).await];
    let router = router::over(&[&workers[0], &workers[1]]).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text(), r#"{"error":"scripted"}"#);
    assert_eq!((workers[0].seen().len(), workers[1].seen().len()), (1, 1), "each once");
}

#[tokio::test]
async fn retries_end_at_their_limit() {
    let workers = [Upstream::failing(503).await, Upstream::failing(503).await, Upstream::saying("{}").await];
    let mut config = router::config(workers.iter().map(Upstream::entry).collect());
    config.proxy.max_retries = 1;
    let router = router::start(config).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(workers[2].seen().is_empty());
}

#[tokio::test]
async fn unreachable_workers_are_a_502_of_the_router_and_no_workers_a_503() {
    let router = router::start(router::config(vec![entry(nobody().await)])).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_connect_failed"));

    let router = router::start(router::config(Vec::new())).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available")
    );
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn nothing_is_tried_again_once_a_byte_was_sent() {
    let worker = breaking_off().await;
    let other = Upstream::saying("{}").await;
    let router = router::start(router::config(vec![entry(worker), other.entry()])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let response = client.send(chat("hi")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 1\n\n"));
    assert!(soon(body.frame()).await.unwrap().is_err(), "the client is told that the answer is not whole");
    assert!(other.seen().is_empty());
    let page = router::metrics(&router).await;
    let line = r#"sgl_router_broken_answers_total{route="chat_completions"} 1"#;
    assert!(page.text().contains(line), "{}", page.text());
}

/// A worker that breaks off after the first piece of its answer.
async fn breaking_off() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a connection");
    let address = listener.local_addr().expect("a connection");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let _ = stream.read(&mut request).await.expect("a connection");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await.expect("a connection");
    });
    address
}

#[tokio::test]
async fn worker_that_closes_without_an_answer_is_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
        }
    });
    let worker = Upstream::saying("fine").await;
    let router = router::start(router::config(vec![entry(closing), worker.entry()])).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
    let page = router::metrics(&router).await;
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="broken"} 1"#), "{}", page.text());
}

#[tokio::test]
async fn idle_connection_that_the_worker_has_closed_is_no_failure() {
    let first = Upstream::saying("first").await;
    let address = first.address;
    let mut config = router::config(vec![first.entry()]);
    config.proxy.max_retries = 0;
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    assert_eq!(client.call(chat("hi")).await.text(), "first");
    // The worker restarts: its old connections are closed.
    drop(first);
    let (response, pieces, _) = upstream::stream();
    let slot = parking_lot::Mutex::new(Some(response));
    let second = loop {
        // The port is free once the old listener's task has been dropped.
        if TcpListener::bind(address).await.is_ok() {
            break Upstream::start_at(address, move |_| {
                let response = slot.lock().take().expect("one request");
                async { response }
            })
            .await;
        }
        tokio::task::yield_now().await;
    };
    pieces.send(Bytes::from_static(b"second")).await.unwrap();
    drop(pieces);
    assert_eq!(client.call(chat("hi")).await.text(), "second");
    assert_eq!(second.seen().len(), 1);
}

#[tokio::test]
async fn request_that_makes_workers_crash_does_not_go_round_all_of_them() {
    let mut workers = Vec::new();
    let crashes = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        workers.push(entry(listener.local_addr().unwrap()));
        let crashes = std::sync::Arc::clone(&crashes);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            crashes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
    }
    let router = router::start(router::config(workers)).await;
    let answer = call(router.addresses().data, chat("poison")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_closed"));
    assert_eq!(crashes.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn retry_is_counted_when_there_is_one() {
    for status in [429, 502, 503] {
        let only = Upstream::failing(status).await;
        let router = router::over(&[&only]).await;
        assert_eq!(call(router.addresses().data, chat("hi")).await.status.as_u16(), status);
        let page = router::metrics(&router).await;
        let mut counts = page.text().lines().filter(|line| line.starts_with("sgl_router_retries_total"));
        assert!(counts.all(|line| line.ends_with(" 0")), "{}", page.text());
    }
}

#[tokio::test]
async fn retry_goes_to_a_worker_that_came_while_the_request_waited() {
    let leaving = Upstream::saying("{}").await;
    let hung = Raw::start(|_: &str| Act::Fall(String::new())).await;
    let router = router::start(router::config(vec![leaving.entry(), hung.entry()])).await;
    let address = router.addresses().data;
    assert_eq!(call(address, chat("hi")).await.status, StatusCode::OK);
    let waiting = tokio::spawn(call(address, chat("hi")));
    until(async || hung.runs() == 1).await;
    // Its place in the table becomes another's.
    let came = Upstream::saying("fine").await;
    router.proxy().backends().add(&came.entry()).expect("a worker");
    let path = format!("/workers?url={}", leaving.url());
    call(router.addresses().admin, with_method("DELETE", &path)).await;
    until(async || router::target(&router, &leaving.url()).is_none()).await;
    drop(hung);
    assert_eq!(soon(waiting).await.unwrap().text(), "fine");
    let page = router::metrics(&router).await;
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="broken"} 1"#), "{}", page.text());
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="connect"} 0"#), "{}", page.text());
}
