//! Every way in which Envoy sends bodies, with bodies of every size, and answers in one piece and in many.

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use sgl_testkit::client::{TestClient, get, piece, post};
use sgl_testkit::router::in_flight;
use sgl_testkit::upstream::{SeenRequest, Upstream, stream, whole};
use sgl_testkit::waits::{eventually, soon};
use std::sync::Arc;
use tokio::sync::mpsc;

use crate::picker::rig::{Rig, asking, in_mode, picking};
use sgl_router::config::WorkerEntry;
use sglang_router_rs::policies::PolicyFactory;

const SIZES: [usize; 4] = [200, 8 << 10, 1_000_000, 5_000_000];

/// The largest body that Envoy holds whole.
const LARGEST_BUFFERED: usize = 1 << 20;

/// How a mode treats bodies.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    /// Whether the picker sees them.
    shows: bool,
    /// Whether one that does not fit Envoy's buffer is refused.
    refuses: bool,
}

type Pieces = Arc<Mutex<Option<mpsc::Sender<Bytes>>>>;

/// A worker that says its name, and streams if it is asked to.
async fn worker(name: &'static str, pieces: &Pieces) -> Upstream {
    let pieces = Arc::clone(pieces);
    Upstream::start(move |seen: SeenRequest| {
        let streams = seen.headers.contains_key("x-stream");
        let (response, sender, _) = stream();
        if streams {
            *pieces.lock() = Some(sender);
        }
        async move { if streams { response } else { whole(200, name) } }
    })
    .await
}

pub(crate) fn serving(worker: &Upstream, model: &str) -> WorkerEntry {
    WorkerEntry { model: Some(model.to_owned()), ..worker.entry() }
}

async fn holds(mode: Mode) {
    let pieces = Pieces::default();
    let workers = [worker("a", &pieces).await, worker("b", &pieces).await];
    // So it matters what is in the body: each model has a worker of its own.
    let entries = vec![serving(&workers[0], "a"), serving(&workers[1], "b")];
    let all = [&workers[0], &workers[1]];
    let change = |config: &str| in_mode(config, mode.name);
    let rig = Rig::with(picking(entries, 0), &PolicyFactory::new(), &all, change).await;
    let Some(rig) = rig else { return };
    for size in SIZES {
        for (model, worker) in [("b", &workers[1]), ("a", &workers[0])] {
            let body = asking(model, size);
            let before = (workers[0].seen().len(), workers[1].seen().len());
            let mut client = TestClient::connect(rig.envoy.clients).await;
            let answer = client.call(post("/v1/completions", &body)).await;
            if mode.refuses && size > LARGEST_BUFFERED {
                assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
                continue;
            }
            assert_eq!(answer.status, StatusCode::OK, "{size} bytes: {}", answer.text());
            if mode.shows {
                assert_eq!(answer.text(), model, "{size} bytes went to the wrong worker");
                assert_eq!(worker.seen().last().unwrap().body, body, "{size} bytes");
            }
            let new = workers[0]
                .seen()
                .into_iter()
                .skip(before.0)
                .chain(workers[1].seen().into_iter().skip(before.1));
            let bodies: Vec<Bytes> = new.map(|seen| seen.body).collect();
            assert!(bodies.len() == 1 && bodies[0] == body, "{size} bytes are not what the worker got");
            streams(&rig, &workers, &pieces, &body).await;
        }
    }
    let answer = TestClient::connect(rig.envoy.clients).await.call(get("/anything")).await;
    assert_eq!(answer.status, StatusCode::OK, "a request without a body");
    // All that may be refused was: nobody asked in vain.
    assert_eq!(rig.envoy.counted("ext_proc.failure_mode_allowed").await, 0);
    assert_eq!(rig.metric("sgl_router_picker_late_picks_total").await.as_deref(), Some("0"));
}

/// A streamed answer comes piece by piece, and the request is in flight until the last one.
async fn streams(rig: &Rig, workers: &[Upstream; 2], pieces: &Pieces, body: &str) {
    let mut request = post("/v1/completions", body);
    request.headers_mut().insert("x-stream", "1".parse().unwrap());
    let mut client = TestClient::connect(rig.envoy.clients).await;
    let answer = soon(client.send(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut answer = answer.into_body();
    let sender = pieces.lock().take().expect("a worker that streams");
    let load = || workers.iter().map(|worker| in_flight(&rig.router, &worker.url())).sum::<usize>();
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        sender.send(Bytes::from(event.clone())).await.unwrap();
        assert_eq!(piece(&mut answer).await, Some(event), "it comes at once");
        assert_eq!(load(), 1, "in flight after piece {number}");
    }
    drop(sender);
    assert_eq!(piece(&mut answer).await, None);
    eventually("the request is over", || load() == 0).await;
}

#[tokio::test]
async fn bodies_are_whole_where_none_is_shown() {
    holds(Mode { name: "NONE", shows: false, refuses: false }).await;
}

#[tokio::test]
async fn bodies_are_whole_where_pieces_are_shown() {
    holds(Mode { name: "STREAMED", shows: false, refuses: false }).await;
}

#[tokio::test]
async fn bodies_are_whole_and_read_where_envoy_holds_them() {
    holds(Mode { name: "BUFFERED", shows: true, refuses: true }).await;
}

#[tokio::test]
async fn bodies_are_whole_and_read_where_envoy_holds_a_part_of_them() {
    holds(Mode { name: "BUFFERED_PARTIAL", shows: true, refuses: false }).await;
}

#[tokio::test]
async fn bodies_are_whole_and_read_where_the_picker_gives_them_back() {
    holds(Mode { name: "FULL_DUPLEX_STREAMED", shows: true, refuses: false }).await;
}

#[tokio::test]
async fn answers_are_whole_where_the_picker_gives_them_back() {
    let pieces = Pieces::default();
    let workers = [worker("a", &pieces).await, worker("b", &pieces).await];
    let both =
        "response_header_mode: SEND, response_body_mode: FULL_DUPLEX_STREAMED, response_trailer_mode: SEND";
    let change =
        |config: &str| in_mode(config, "FULL_DUPLEX_STREAMED").replace("response_trailer_mode: SEND", both);
    let Some(rig) = Rig::start(&[&workers[0], &workers[1]], change).await else { return };
    for size in SIZES {
        let body = asking("m", size);
        let answer = TestClient::connect(rig.envoy.clients).await.call(post("/v1/completions", &body)).await;
        assert!(answer.status == StatusCode::OK && ["a", "b"].contains(&answer.text()), "{size} bytes");
        streams(&rig, &workers, &pieces, &body).await;
    }
    let complete = r#"sgl_router_picker_streams_total{mode="full_duplex_streamed",end="complete"}"#;
    assert_eq!(rig.metric(complete).await.as_deref(), Some("8"));
}
