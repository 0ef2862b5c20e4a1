//! What holding the head of a streamed answer costs where its first event came with it: no allocation.
//! Only those of its own thread are counted.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use sgl_router::internals::Opening;
use sgl_upstream::{Address, AnswerBody, Payload, UpstreamAnswer, UpstreamConnection, WorkerUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EVENT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}]}\n\n";

/// The head of a streamed answer, whose first chunk has arrived with it; the worker's side stays open.
async fn answer() -> (UpstreamAnswer, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let address = Address::new(WorkerUrl::parse(&url).expect("a worker's URL"));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = format!("{head}{:x}\r\n{EVENT}\r\n", EVENT.len());
    let worker = async {
        let (mut stream, _) = listener.accept().await.expect("the router's connection");
        // All of the request comes in one piece, and so does the answer.
        assert!(stream.read(&mut [0; 1024]).await.expect("a request") > 0);
        stream.write_all(whole.as_bytes()).await.expect("an open connection");
        stream
    };
    let router = async {
        let connection =
            UpstreamConnection::open(&address, Duration::from_secs(5)).await.expect("a connection");
        let request = Request::post("/generate").header("host", "worker").body(Payload::default());
        connection.send(|| request.expect("a request")).await.expect("an answer")
    };
    tokio::join!(router, worker)
}

/// Reads the piece that is there.
fn read(body: &mut AnswerBody) {
    match body.poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => assert_eq!(frame.data_ref().expect("data"), EVENT),
        other => panic!("the first chunk is there: {other:?}"),
    }
}

async fn allocations(run: impl FnOnce(UpstreamAnswer) -> AnswerBody) -> u64 {
    let (answer, _worker) = answer().await;
    let mut body = None;
    let counted = allocation_counter::measure(|| body = Some(run(answer)));
    counted.count_total
}

fn held(answer: UpstreamAnswer) -> AnswerBody {
    let mut opening = Opening::new(answer).expect("an answer of HTTP");
    let read_on = pin!(opening.read_on(|| {})).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(read_on, Poll::Ready(Ok(()))), "the first event is there");
    assert!(opening.events.is_some(), "it was looked at");
    read(&mut opening.body);
    opening.body
}

fn passed_on(answer: UpstreamAnswer) -> AnswerBody {
    let (_, mut body) = answer.into_parts();
    read(&mut body);
    body
}

#[tokio::test]
async fn head_that_is_held_for_its_first_event_costs_no_allocation() {
    // What is searched for is prepared once.
    allocations(held).await;
    assert_eq!(allocations(held).await, allocations(passed_on).await);
}
