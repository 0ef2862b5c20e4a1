//! Connections of HTTP/2 to one worker, which requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use sgl_upstream::{Http2Connection, UpstreamConnection};

/// Those that are open. One is enough until it has as many requests as the worker allows.
///
/// # Concurrency
///
/// The lock is taken by requests to workers that speak HTTP/2, and for as long as it takes to go through
/// the few connections there are.
#[derive(Debug, Default)]
pub(crate) struct SharedConnections {
    /// False where the worker speaks HTTP/1.1: then nobody takes the lock.
    is_used: AtomicBool,
    open: Mutex<Vec<OpenShared>>,
    /// Who opens one: the others wait for it, rather than that each opens its own.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct OpenShared {
    connection: Http2Connection,
    /// How many requests had been begun on it when it was looked at last, and since when it is so.
    begun: u64,
    since: Instant,
}

impl SharedConnections {
    /// Room for a request on one of them.
    pub(crate) fn take(&self) -> Option<Box<UpstreamConnection>> {
        // Relaxed: who misses the first connection opens a second one.
        if !self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        let open = self.open.lock();
        open.iter().find_map(|shared| UpstreamConnection::over(&shared.connection))
    }

    /// One more, which others may use from now on.
    pub(crate) fn add(&self, connection: Http2Connection) {
        self.is_used.store(true, Ordering::Relaxed);
        let begun = connection.begun();
        self.open.lock().push(OpenShared { connection, begun, since: Instant::now() });
    }

    /// The right to open one; not waited for longer than that.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn turn(&self, limit: Duration) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        tokio::time::timeout(limit, self.opening.lock()).await.ok()
    }

    /// Drops those that the worker has closed, and those without a request for so long.
    pub(crate) fn prune(&self, idle: Duration) {
        let now = Instant::now();
        self.open.lock().retain_mut(|shared| {
            let begun = shared.connection.begun();
            if shared.connection.in_flight() > 0 || begun != shared.begun {
                (shared.begun, shared.since) = (begun, now);
            }
            !shared.connection.is_closed() && now - shared.since < idle
        });
    }

    /// Drops all of them. Requests in flight go on.
    pub(crate) fn clear(&self) {
        self.open.lock().clear();
    }
}
