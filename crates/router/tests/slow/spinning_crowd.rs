//! Clients that ask without a pause: ordinary ones, and some that can be told to be nasty.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use sgl_testkit::client::{TestClient, chat};
use sgl_testkit::waits::until;
use tokio::task::JoinSet;

/// The header of a request for which the plugin spins.
pub(crate) const SPIN: &str = "x-spin";

/// All clients of a run.
pub(crate) struct Crowd {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Answers to ordinary requests.
    ordinary: AtomicU64,
    /// Answers to the others.
    others: AtomicU64,
    /// True if the others say that the plugin shall spin.
    nasty: AtomicBool,
    stop: AtomicBool,
}

impl Crowd {
    /// Connects so many ordinary clients and so many others, which behave at first.
    pub(crate) fn start(router: SocketAddr, ordinary: usize, others: usize) -> Self {
        let (shared, mut clients) = (Arc::<Shared>::default(), JoinSet::new());
        for number in 0..ordinary + others {
            clients.spawn(ask(router, Arc::clone(&shared), number >= ordinary));
        }
        Self { clients, shared }
    }

    pub(crate) fn be_nasty(&self, nasty: bool) {
        self.shared.nasty.store(nasty, Ordering::Relaxed);
    }

    /// Waits until so many more ordinary requests are answered.
    pub(crate) async fn has_answers(&self, more: u64) {
        let wanted = self.shared.ordinary.load(Ordering::Relaxed) + more;
        until(async || self.shared.ordinary.load(Ordering::Relaxed) >= wanted).await;
    }

    /// Ordinary requests a second, over this time.
    pub(crate) async fn rate(&self, time: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.shared.ordinary.load(Ordering::Relaxed));
        tokio::time::sleep(time).await;
        let answered = self.shared.ordinary.load(Ordering::Relaxed) - before;
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let answered = answered as f64;
        answered / start.elapsed().as_secs_f64()
    }

    /// Lets every client finish; fails if one of them saw an error. How many answers there were.
    pub(crate) async fn stop(mut self) -> (u64, u64) {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.shared.ordinary), of(&self.shared.others))
    }
}

async fn ask(router: SocketAddr, shared: Arc<Shared>, other: bool) {
    let mut client = TestClient::connect(router).await;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut request = chat("who is it?");
        if other && shared.nasty.load(Ordering::Relaxed) {
            request.headers_mut().insert(SPIN, HeaderValue::from_static("1"));
        }
        let answer = client.call(request).await;
        // Those that make the plugin spin are served, too: the fallback chooses for them.
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let counter = if other { &shared.others } else { &shared.ordinary };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
