//! Closed loop: each connection asks again as soon as it is answered. The load follows the target,
//! so the latency of a target that stalls is told by few requests; the open loop tells it by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::client_connection::ClientConnection;
use crate::load::record::ErrorKind;
use crate::load::round::{OpenRequest, Round, perform};

/// Pause of a connection that could not be made, so that a dead target is not stormed.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What the connections share.
#[derive(Debug)]
struct Tickets {
    /// Numbers of requests, of the warm-up too.
    next: AtomicU64,
    /// Requests that count and may still be sent.
    left: AtomicU64,
}

impl Tickets {
    /// The number of the next request; none if all that count were sent.
    fn take(&self, is_warmup: bool) -> Option<u64> {
        if !is_warmup {
            // Relaxed: it counts, and orders nothing.
            let take = |left: u64| left.checked_sub(1);
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        }
        Some(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs a round over so many connections, until it has run out or the run is aborted.
///
/// # Cancel safety
///
/// Dropping the future cuts off all requests; they may be recorded after it is gone.
pub(crate) async fn run(round: &Arc<Round>, connections: usize) {
    let left = AtomicU64::new(round.limits.requests.unwrap_or(u64::MAX));
    let tickets = Arc::new(Tickets { next: AtomicU64::new(0), left });
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(ask_on(Arc::clone(round), Arc::clone(&tickets)));
    }
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = round.run_out() => {}
        () = round.control.aborting().cancelled() => {}
    }
    // Waits, so that what is cut off has been recorded.
    tasks.shutdown().await;
}

async fn ask_on(round: Arc<Round>, tickets: Arc<Tickets>) {
    let mut line = ClientConnection::default();
    loop {
        let now = Instant::now();
        if round.is_over(now) {
            return;
        }
        let Some(number) = tickets.take(now < round.window.start) else {
            round.exhausted.cancel();
            return;
        };
        let open = OpenRequest::new(&round, number, now);
        if perform(open, &mut line).await == Err(ErrorKind::Connect) {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }
}
