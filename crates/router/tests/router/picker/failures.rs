//! Whatever is wrong with the picker, requests are served with the configuration that it prints.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use http::StatusCode;
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::envoy::Envoy;
use sgl_testkit::upstream::Upstream;

use crate::picker::rig::{asking, printed};
use crate::picker::strange_picker;
use crate::picker::strange_picker::Strange;

/// Requests with bodies of every size are served whole. Gives how many Envoy let through without a pick.
async fn served_with(picker: SocketAddr) -> Option<u64> {
    let worker = Upstream::saying("fine").await;
    let envoy = Envoy::start(&printed(picker, &[worker.address]).await).await?;
    let mut client = TestClient::connect(envoy.clients).await;
    for size in [200, 8 << 10, 1_000_000, 5_000_000] {
        let body = asking("m", size);
        let answer = client.call(post("/v1/completions", &body)).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "fine"), "{size} bytes");
        assert!(worker.seen().last().unwrap().body == body, "{size} bytes are not what the worker got");
    }
    assert_eq!(worker.seen().len(), 4);
    Some(envoy.counted("ext_proc.failure_mode_allowed").await)
}

#[tokio::test]
async fn picker_that_is_not_there_harms_no_request() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let allowed = served_with(nowhere).await;
    assert!(allowed.is_none_or(|allowed| allowed == 4), "{allowed:?}");
}

#[tokio::test]
async fn picker_that_is_silent_harms_no_request() {
    let (address, _serving) = strange_picker::start(Strange::Silent).await;
    let allowed = served_with(address).await;
    assert!(allowed.is_none_or(|allowed| allowed == 4), "{allowed:?}");
    // One that takes connections and says nothing at all.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let allowed = served_with(hole.local_addr().unwrap()).await;
    assert!(allowed.is_none_or(|allowed| allowed == 4), "{allowed:?}");
}

#[tokio::test]
async fn picker_that_is_slow_is_waited_for() {
    let (address, _serving) = strange_picker::start(Strange::Slow(Duration::from_millis(250))).await;
    let allowed = served_with(address).await;
    assert!(allowed.is_none_or(|allowed| allowed == 0), "{allowed:?}");
}

#[tokio::test]
async fn picker_that_talks_nonsense_harms_no_request() {
    for strange in [Strange::Erring, Strange::Closing, Strange::Empty, Strange::Mistaken, Strange::Early] {
        let (address, _serving) = strange_picker::start(strange).await;
        if served_with(address).await.is_none() {
            return;
        }
    }
}
