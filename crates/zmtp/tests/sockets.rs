//! Sockets over loopback.

use std::time::Duration;

use bytes::Bytes;
use sgl_zmtp::{Publisher, SocketKind, ZmtpConnection, ZmtpError, ZmtpLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes about")
}

async fn subscribed(publisher: &Publisher, topic: &[u8]) -> ZmtpConnection {
    let subscriber = ZmtpConnection::connect(publisher.address(), SocketKind::Sub, ZmtpLimits::default());
    let mut subscriber = within(subscriber).await.expect("a publisher listens");
    subscriber.subscribe(topic).await.expect("it is connected");
    subscriber
}

fn message(frames: &[&'static str]) -> Vec<Bytes> {
    frames.iter().map(|frame| Bytes::from_static(frame.as_bytes())).collect()
}

/// Publishes until the subscription has arrived and the message with it.
async fn received(
    publisher: &Publisher,
    subscriber: &mut ZmtpConnection,
    frames: &[&'static str],
) -> Vec<Bytes> {
    within(async {
        loop {
            publisher.send(message(frames));
            if let Ok(got) = tokio::time::timeout(Duration::from_millis(20), subscriber.recv()).await {
                return got.expect("it is connected");
            }
        }
    })
    .await
}

#[tokio::test]
async fn subscriber_gets_the_topics_that_it_asked_for() {
    let publisher = Publisher::bind("127.0.0.1:0", 100).await.expect("a free port");
    let mut all = subscribed(&publisher, b"").await;
    let mut some = subscribed(&publisher, b"kv@").await;
    assert_eq!(received(&publisher, &mut all, &["other", "1"]).await, message(&["other", "1"]));
    // The first message that arrives is one of its topic, though others were sent before it.
    assert_eq!(received(&publisher, &mut some, &["kv@x", "", "2"]).await, message(&["kv@x", "", "2"]));
}

#[tokio::test]
async fn publisher_that_goes_ends_its_connections() {
    let publisher = Publisher::bind("127.0.0.1:0", 100).await.expect("a free port");
    let mut subscriber = subscribed(&publisher, b"").await;
    drop(publisher);
    assert!(matches!(within(subscriber.recv()).await, Err(ZmtpError::Io(_))));
}

#[tokio::test]
async fn peer_of_another_kind_or_protocol_is_refused() {
    let publisher = Publisher::bind("127.0.0.1:0", 100).await.expect("a free port");
    let dealer = ZmtpConnection::connect(publisher.address(), SocketKind::Dealer, ZmtpLimits::default());
    assert!(matches!(within(dealer).await, Err(ZmtpError::Protocol { .. })));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody comes");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.expect("it listens");
        let _ = stream.read(&mut [0; 1]).await;
        // Held open: whoever waits for the rest of a greeting waits for ever.
        std::future::pending::<()>().await;
    });
    let subscriber = ZmtpConnection::connect(address, SocketKind::Sub, ZmtpLimits::default());
    assert!(matches!(within(subscriber).await, Err(ZmtpError::Protocol { .. })));
    other.abort();
}

#[tokio::test]
async fn router_and_dealer_ask_and_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("somebody comes");
        let mut router =
            ZmtpConnection::begin(stream, SocketKind::Router, ZmtpLimits::default()).await.expect("a dealer");
        let asked = router.recv().await.expect("a question");
        router.send(&[&asked[0][..], b"answer", &[7; 70_000]]).await.expect("it listens");
    });
    let dealer = ZmtpConnection::connect(address, SocketKind::Dealer, ZmtpLimits::default());
    let mut dealer = within(dealer).await.expect("a router listens");
    dealer.send(&[&b""[..], &7_u64.to_be_bytes()]).await.expect("it is connected");
    let answer = within(dealer.recv()).await.expect("an answer");
    assert_eq!((&answer[0][..], &answer[1][..], answer[2].len()), (&b""[..], &b"answer"[..], 70_000));
    within(router).await.expect("nothing panics");
}
