//! What a client can hold of the operators' and the metrics listener, and for how long.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use sgl_router::config::CheckedConfig;
use sgl_testkit::client::{call, get};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::api::Setup;

const SHORT: Duration = Duration::from_millis(100);

/// A connection on which this was sent.
async fn holding(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    stream.write_all(text.as_bytes()).await.expect("a connection");
    stream
}

/// All that comes until the other side closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset ends it, too.
    let _ = soon(stream.read_to_end(&mut all)).await;
    String::from_utf8(all).expect("text")
}

/// The head of an upload of ten bytes that does not end.
fn half_upload() -> String {
    "PUT /v1/plugins/held HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/wasm\r\ncontent-length: 10\r\n\r\nabc"
        .to_owned()
}

#[tokio::test]
async fn silent_connections_half_heads_and_half_bodies_end() {
    let setup = Setup::with(|config| {
        config.operations.idle_timeout = SHORT;
        config.operations.body_timeout = SHORT;
    })
    .await;
    let addresses = setup.router.addresses();
    for address in [addresses.admin, addresses.metrics] {
        for text in ["", "GET /metrics HTTP/1.1\r\nhost: local"] {
            assert_eq!(rest(holding(address, text).await).await, "", "{text:?}");
        }
    }
    let asked = "GET /v1/plugins HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answered = rest(holding(addresses.admin, asked).await).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "it was answered, was idle, and was closed: {answered}");
    for text in [
        half_upload(),
        half_upload().replace("application/wasm", "application/json"),
        half_upload().replace("PUT /v1/plugins/held", "POST /workers").replace("wasm", "json"),
    ] {
        let answer = rest(holding(addresses.admin, &text).await).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout_secs"), "{answer}");
    }
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_one_to_end() {
    let setup = Setup::with(|config| config.operations.max_connections = 2).await;
    let addresses = setup.router.addresses();
    for (address, path) in [(addresses.admin, "/workers"), (addresses.metrics, "/metrics")] {
        let held = [holding(address, "").await, holding(address, "").await];
        let asking = tokio::spawn(async move { call(address, get(path)).await.status });
        // However long the third waits, it is not answered before one of the two has gone.
        tokio::time::sleep(SHORT).await;
        assert!(!asking.is_finished(), "{path}");
        drop(held);
        assert_eq!(soon(asking).await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn uploads_above_the_limit_are_told_to_come_again() {
    let change = |config: &mut CheckedConfig| config.operations.max_uploads = 2;
    let setup = Setup::with(change).await;
    let admin = setup.router.addresses().admin;
    let held = [holding(admin, &half_upload()).await, holding(admin, &half_upload()).await];
    // Until both have arrived.
    until(async || {
        setup.put("other", "", b"nonsense".to_vec()).await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let third = setup.put("other", "", guest_choosing(1)).await;
    assert_eq!(third.json()["code"], "too_many_uploads", "{}", third.text());
    assert_eq!(third.headers["retry-after"], "1");
    assert!(third.text().contains("admin.max_uploads"), "{}", third.text());
    assert_eq!(setup.ask().await, "first", "clients do not notice");
    drop(held);
    until(async || setup.put("other", "", guest_choosing(1)).await.status.is_success()).await;
}

#[tokio::test]
async fn answer_that_nobody_reads_does_not_keep_its_connection() {
    let setup = Setup::with(|config| {
        config.operations.write_timeout = SHORT;
        config.operations.max_connections = 1;
    })
    .await;
    let admin = setup.router.addresses().admin;
    // More answers than the buffers of both sides can take.
    let mut greedy = TcpStream::connect(admin).await.unwrap();
    let asked = "GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let sending = tokio::spawn(async move {
        let sent = greedy.write_all(asked.as_bytes()).await;
        (greedy, sent)
    });
    let status = soon(async { call(admin, get("/workers")).await.status }).await;
    assert_eq!(status, StatusCode::OK);
    sending.abort();
}
