//! Answers whose form is not what a client may be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use http_body_util::BodyExt;
use sgl_router::config::WorkerEntry;
use sgl_router::internals::Verdict;
use sgl_testkit::client::{TestClient, call, chat, piece, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::router;
use sgl_testkit::waits::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

async fn router_over(answer: &'static str) -> (sgl_router::RunningRouter, Raw) {
    let worker = Raw::start(move |_| Act::SayAndClose(answer.to_owned())).await;
    (router::start(router::config(vec![worker.entry()])).await, worker)
}

#[tokio::test]
async fn length_beside_chunks_is_dropped_and_the_body_is_whole() {
    for length in ["1", "100"] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: ";
        let answer = format!("{head}{length}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let worker = Raw::start(move |_| Act::Say(answer.clone())).await;
        let router = router::start(router::config(vec![worker.entry()])).await;
        let answer = call(router.addresses().data, chat("hi")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "hello"));
    }
}

#[tokio::test]
async fn answer_that_switches_protocols_is_a_502_of_the_router() {
    let (router, worker) =
        router_over("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_invalid_answer"));
    assert_eq!(worker.runs(), 1);
}

#[tokio::test]
async fn headers_in_the_routers_name_are_the_routers_alone() {
    let (router, _worker) =
        router_over("HTTP/1.1 200 OK\r\nx-sgl-worker: forged\r\nX-SGL-Decision: {}\r\nx-own: 1\r\ncontent-length: 2\r\n\r\n{}").await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(answer.headers.get("x-sgl-worker"), None);
    assert_eq!(answer.headers.get("x-sgl-decision"), None);
    assert_eq!(answer.headers["x-own"], "1");
}

#[tokio::test]
async fn version_of_an_old_worker_is_not_passed_on() {
    let (router, _worker) =
        router_over("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\": 1}\n").await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let response = soon(client.send(chat("hi"))).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_11);
    let mut body = response.into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("{\"a\": 1}\n"));
    assert_eq!(piece(&mut body).await, None);
}

#[tokio::test]
async fn answer_of_an_old_worker_that_was_cut_off_is_a_break_for_the_client() {
    let event = "data: {\"choices\": []}\n\n";
    for (kind, coding, body, is_whole) in [
        ("application/json", "identity", "{\"a\": 1", false),
        ("application/json", "identity", "{\"a\": 1}", true),
        ("application/json", "identity", "{\"choices\":[{\"message\":{\"content\":\"hi\"}", false),
        ("application/problem+json; charset=utf-8", "identity", "{\"a\": 1", false),
        // The end of a compressed body says nothing.
        ("application/json", "gzip", "{\"a\": 1", true),
        ("text/event-stream", "identity", event, false),
        ("text/event-stream", "br", event, true),
        ("text/event-stream", "identity", "data: 1\n\ndata: [DONE]\n\n", true),
        ("text/plain", "identity", "any", true),
    ] {
        let head = format!("HTTP/1.0 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}");
        let answer = format!("{head}\r\n\r\n{body}");
        let worker = Raw::start(move |_| Act::SayAndClose(answer.clone())).await;
        let router = router::start(router::config(vec![worker.entry()])).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        let whole = soon(client.send(chat("hi"))).await.unwrap().into_body().collect().await;
        assert_eq!(whole.is_ok(), is_whole, "{kind}, {coding}: {body}");
        let outcomes = router::target(&router, &worker.entry().url).unwrap().outcomes();
        assert_eq!(outcomes, if is_whole { (1, 0) } else { (0, 1) }, "{kind}, {coding}: {body}");
    }
}

#[tokio::test]
async fn json_of_an_old_worker_that_ends_without_any_is_tried_elsewhere() {
    const EMPTY: &str = "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n";
    let has_begun = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let has_begun = Arc::clone(&has_begun);
        let act = move |_: &str| {
            let is_first = !has_begun.swap(true, Ordering::SeqCst);
            Act::SayAndClose(if is_first { EMPTY.to_owned() } else { format!("{EMPTY}{{}}") })
        };
        workers.push(Raw::start(act).await);
    }
    let router = router::start(router::config(workers.iter().map(Raw::entry).collect())).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{}"));
    let told = |worker: &Raw| router::target(&router, &worker.entry().url).unwrap().outcomes();
    let (mut runs, mut told) =
        (workers.iter().map(Raw::runs).collect::<Vec<_>>(), workers.iter().map(told).collect::<Vec<_>>());
    runs.sort_unstable();
    told.sort_unstable();
    assert_eq!((runs, told), (vec![1, 1], vec![(0, 1), (1, 0)]));
    // Where there is nobody else, the client is told what happened, and an error may be empty.
    let (router, _worker) = router_over(EMPTY).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_closed"));
    let (router, _worker) =
        router_over("HTTP/1.0 404 Not Found\r\ncontent-type: application/json\r\n\r\n").await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, ""));
}

#[tokio::test]
async fn answer_in_a_coding_that_nobody_offered_is_a_502_of_the_router() {
    for coding in ["gzip, chunked", "gzip", "chunked, chunked", "gzip\r\ntransfer-encoding: chunked"] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let worker = Raw::start(move |_| Act::SayAndClose(answer.clone())).await;
        let router = router::start(router::config(vec![worker.entry()])).await;
        let answer = call(router.addresses().data, chat("hi")).await;
        let code = answer.code();
        assert_eq!((answer.status, &*code), (StatusCode::BAD_GATEWAY, "upstream_invalid_answer"), "{coding}");
        assert!(answer.text().contains("transfer coding"), "{}", answer.text());
    }
}

/// A worker that refuses a request by its head and closes the connection, so that the rest of the body
/// meets nobody. Counts its connections.
async fn hasty(answer: &'static str) -> (WorkerEntry, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (entry, runs) = (router::entry(listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let (count, mut accepting) = (Arc::clone(&runs), JoinSet::new());
    accepting.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (entry, runs, accepting)
}

// The worker must be able to close while the router writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refusal_that_comes_before_the_body_was_read_is_the_clients_answer() {
    const TOO_LARGE: &str = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 8\r\n\r\ntoo much";
    let [(first, first_runs, _first), (second, second_runs, _second)] =
        [hasty(TOO_LARGE).await, hasty(TOO_LARGE).await];
    let router = router::start(router::config(vec![first, second])).await;
    let (body, rounds) = ("x".repeat(16 << 20), 8);
    for _ in 0..rounds {
        let answer = call(router.addresses().data, post("/generate", &body)).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::PAYLOAD_TOO_LARGE, "too much"));
    }
    let runs = first_runs.load(Ordering::SeqCst) + second_runs.load(Ordering::SeqCst);
    assert_eq!(runs, rounds, "each runs once");
}

#[tokio::test]
async fn answer_with_trailers_is_whole_and_its_connection_is_used_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = format!("{head}9\r\ndata: 1\n\n\r\n0\r\nx-sum: 1\r\n\r\n");
    let worker = Raw::start(move |_| Act::Say(answer.clone())).await;
    let router = router::start(router::config(vec![worker.entry()])).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "data: 1\n\n");
    let target = router::target(&router, &worker.entry().url).unwrap();
    assert_eq!((target.counted(Verdict::Served), target.counted(Verdict::Abandoned)), (1, 0));
    assert_eq!(target.pool().len(), 1);
}
