//! Clients that ask without a pause and look at every answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;
use sgl_testkit::client::{TestClient, chat};
use sgl_testkit::waits::until;
use tokio::task::JoinSet;

/// One request in this many asks who decided.
const EXPLAINED: u64 = 8;

/// Which generation serves, as far as an operator can know.
#[derive(Debug)]
pub(crate) struct Epoch(Mutex<State>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    /// The number of the newest generation that surely serves.
    generation: u64,
    /// The worker that it chooses.
    worker: usize,
    /// True from before a swap is asked for until it is confirmed.
    swapping: bool,
}

impl Epoch {
    pub(crate) fn new(generation: u64) -> Self {
        Self(Mutex::new(State { generation, worker: 0, swapping: false }))
    }

    pub(crate) fn worker(&self) -> usize {
        self.0.lock().worker
    }

    pub(crate) fn begin_swap(&self) {
        self.0.lock().swapping = true;
    }

    pub(crate) fn end_swap(&self, worker: usize, generation: u64) {
        *self.0.lock() = State { generation, worker, swapping: false };
    }

    fn now(&self) -> State {
        *self.0.lock()
    }
}

/// What all clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    /// Of the requests that asked: how often which generation chose which worker.
    pub(crate) decided: BTreeMap<(u64, usize), u64>,
}

pub(crate) struct Crowd {
    clients: JoinSet<Seen>,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Crowd {
    pub(crate) fn start(router: SocketAddr, epoch: &Arc<Epoch>, clients: usize) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut crowd = JoinSet::new();
        for _ in 0..clients {
            crowd.spawn(ask(router, Arc::clone(epoch), Arc::clone(&stop), Arc::clone(&asked)));
        }
        Self { clients: crowd, stop, asked }
    }

    /// Waits until so many requests are answered.
    pub(crate) async fn has_asked(&self, requests: u64) {
        until(async || self.asked.load(Ordering::Relaxed) >= requests).await;
    }

    /// Lets every client finish its request; fails if any of them saw something wrong.
    pub(crate) async fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(seen) = self.clients.join_next().await {
            let seen = seen.unwrap();
            all.requests += seen.requests;
            for (key, count) in seen.decided {
                *all.decided.entry(key).or_default() += count;
            }
        }
        all
    }
}

async fn ask(router: SocketAddr, epoch: Arc<Epoch>, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> Seen {
    let mut client = TestClient::connect(router).await;
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let mut request = chat("who is it?");
        let explained = seen.requests % EXPLAINED == 0;
        if explained {
            request.headers_mut().insert("x-sgl-explain", HeaderValue::from_static("1"));
        }
        let before = epoch.now();
        let answer = client.call(request).await;
        let after = epoch.now();
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let worker: usize = answer.text().parse().unwrap();
        if before == after && !before.swapping {
            assert_eq!(worker, before.worker, "only generation {} was live", before.generation);
        }
        if explained {
            let decision: Value =
                serde_json::from_str(answer.headers["x-sgl-decision"].to_str().unwrap()).unwrap();
            assert_eq!(decision["chooser"], "plugin", "{decision}");
            let generation = decision["generation"].as_u64().unwrap();
            let was = before.generation;
            assert!(
                generation >= was,
                "{generation} decided, and had been replaced by {was} before it was asked"
            );
            *seen.decided.entry((generation, worker)).or_default() += 1;
        }
        seen.requests += 1;
        asked.fetch_add(1, Ordering::Relaxed);
    }
    seen
}
