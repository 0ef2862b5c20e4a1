//! The picker as a process: killed under load and back, and stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sgl_testkit::client::{TestClient, piece, post};
use sgl_testkit::envoy::Envoy;
use sgl_testkit::process::Process;
use sgl_testkit::upstream::{SeenRequest, Upstream, stream, whole};
use sgl_testkit::waits::{soon, until};
use tokio::task::JoinSet;

use crate::picker::rig::{asking, printed};

const CONNECTIONS: usize = 16;

/// Clients that send one request after another.
struct Crowd {
    clients: JoinSet<()>,
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    fn start(address: SocketAddr) -> Self {
        let mut crowd = Self {
            clients: JoinSet::new(),
            served: Arc::default(),
            failed: Arc::default(),
            stop: Arc::default(),
        };
        for _ in 0..CONNECTIONS {
            let (served, failed) = (Arc::clone(&crowd.served), Arc::clone(&crowd.failed));
            let stop = Arc::clone(&crowd.stop);
            crowd.clients.spawn(async move {
                let body = asking("m", 2000);
                let mut client = TestClient::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.call(post("/v1/completions", &body)).await;
                    let is_well = answer.status == StatusCode::OK && answer.text() == "fine";
                    let count = if is_well { &served } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        crowd
    }

    /// Waits for that many more requests.
    async fn more(&self, count: usize) {
        let goal = self.served.load(Ordering::Relaxed) + count;
        until(async || self.served.load(Ordering::Relaxed) >= goal).await;
    }

    /// How many were served, and how many failed.
    async fn end(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = soon(self.clients.join_next()).await {
            ended.expect("a client that goes on");
        }
        (self.served.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// A picker over these workers, at this port, with health checks off.
async fn picker(port: u16, workers: &[&Upstream]) -> Process {
    let (port, urls) = (port.to_string(), workers.iter().map(|worker| worker.url()).collect::<Vec<_>>());
    let mut arguments = vec!["--port", &port, "--health-check-interval-secs", "0", "--worker-urls"];
    arguments.extend(urls.iter().map(String::as_str));
    Process::pick(&arguments).await
}

async fn allowed(envoy: &Envoy) -> u64 {
    envoy.counted("ext_proc.failure_mode_allowed").await
}

#[tokio::test]
async fn picker_that_is_killed_under_load_and_comes_back_costs_no_request() {
    let workers = [Upstream::saying("fine").await, Upstream::saying("fine").await];
    let all = [&workers[0], &workers[1]];
    let first = picker(0, &all).await;
    let address = first.data;
    let config = printed(address, &[workers[0].address, workers[1].address]).await;
    let Some(envoy) = Envoy::start(&config).await else { return };
    let crowd = Crowd::start(envoy.clients);
    crowd.more(300).await;
    assert_eq!(allowed(&envoy).await, 0);
    first.kill();
    crowd.more(300).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(allowed(&envoy).await > 0, "Envoy went on without it");
    let second = picker(address.port(), &all).await;
    assert_eq!(second.data, address);
    // It is asked again: a while without a request that it was not asked for.
    until(async || {
        let before = allowed(&envoy).await;
        crowd.more(100).await;
        allowed(&envoy).await == before
    })
    .await;
    let (served, failed) = crowd.end().await;
    assert!(failed == 0 && served > 700, "{failed} of {} failed", served + failed);
}

#[tokio::test]
async fn picker_that_is_stopped_finishes_what_it_picked_and_no_request_goes_without_a_pick() {
    let (send, mut scripts) = tokio::sync::mpsc::channel(1);
    let worker = Upstream::start(move |seen: SeenRequest| {
        let streams = seen.headers.contains_key("x-stream");
        let (response, pieces, _) = stream();
        if streams {
            send.try_send(pieces).unwrap();
        }
        async move { if streams { response } else { whole(200, "fine") } }
    })
    .await;
    let mut first = picker(0, &[&worker]).await;
    let second = picker(0, &[&worker]).await;
    let config = printed(first.data, &[worker.address]).await;
    // A second picker, as in a deployment of two.
    let line = |port: u16| {
        format!(
            "        - endpoint: {{ address: {{ socket_address: {{ address: \"127.0.0.1\", port_value: {port} }} }} }}\n"
        )
    };
    let both = format!("{}{}", line(first.data.port()), line(second.data.port()));
    let config = config.replace(&line(first.data.port()), &both);
    let Some(envoy) = Envoy::start(&config).await else { return };
    let mut client = TestClient::connect(envoy.clients).await;
    let mut request = post("/v1/completions", &asking("m", 200));
    request.headers_mut().insert("x-stream", "1".parse().unwrap());
    let (answer, pieces) = tokio::join!(client.send(request), soon(scripts.recv()));
    let (mut body, pieces) = (answer.unwrap().into_body(), pieces.unwrap());
    let crowd = Crowd::start(envoy.clients);
    crowd.more(200).await;
    first.signal("-TERM");
    crowd.more(200).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 1\n\n"));
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    first.lines_to_the_end().await;
    assert!(first.child.wait().unwrap().success());
    crowd.more(200).await;
    let (_, failed) = crowd.end().await;
    assert_eq!((failed, allowed(&envoy).await), (0, 0));
}
