//! Requests to all routers of a fleet, for as long as something happens to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use sgl_testkit::client::{TestClient, post};
use tokio::task::JoinHandle;

use crate::member::{Member, within};

/// Requests that are sent one after the other to each router; each must be answered.
pub(crate) struct Traffic {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Begins, with this prompt.
    pub(crate) fn begin(routers: &[Member], prompt: &str) -> Self {
        let (ends, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let one = |router: &Member| {
            let ask = ask(router.process.data, prompt.to_owned(), Arc::clone(&ends), Arc::clone(&answered));
            tokio::spawn(ask)
        };
        Self { clients: routers.iter().map(one).collect(), ends, answered }
    }

    /// Waits until so many more were answered.
    pub(crate) async fn goes_on(&self, more: u64) {
        let from = self.answered.load(Ordering::Relaxed);
        within("requests are answered", async || self.answered.load(Ordering::Relaxed) >= from + more).await;
    }

    /// Ends; fails if a request was not answered.
    pub(crate) async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("all were answered");
        }
    }
}

async fn ask(router: SocketAddr, prompt: String, ends: Arc<AtomicBool>, answered: Arc<AtomicU64>) {
    let mut client = TestClient::connect(router).await;
    let body = json!({"model": "m", "prompt": prompt}).to_string();
    while !ends.load(Ordering::Relaxed) {
        let answer = client.call(post("/v1/completions", &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
