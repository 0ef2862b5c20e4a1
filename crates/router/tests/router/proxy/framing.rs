//! Answers whose form is not what a client may be sent.

use http::StatusCode;
use http_body_util::BodyExt;
use sgl_router::internals::Verdict;
use sgl_testkit::client::{TestClient, call, chat, piece};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::router;
use sgl_testkit::waits::soon;

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
        ("application/json", "identity", "", false),
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
