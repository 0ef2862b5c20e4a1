//! Idle connections to one worker.

use parking_lot::Mutex;

use crate::config::checked::UpstreamSettings;
use crate::proxy::shared_connections::SharedConnections;
use sgl_upstream::UpstreamConnection;

/// A connection is large, and it moves between here, requests and answers.
type BoxedConnection = Box<UpstreamConnection>;

/// Idle connections, the one that was used last on top, so that those on the bottom grow old.
#[derive(Debug)]
pub struct IdleConnections {
    idle: Mutex<Vec<BoxedConnection>>,
    /// Those of HTTP/2, idle or not.
    shared: SharedConnections,
    settings: UpstreamSettings,
}

impl IdleConnections {
    /// An empty pool.
    pub fn new(settings: UpstreamSettings) -> Self {
        Self { idle: Mutex::new(Vec::new()), shared: SharedConnections::default(), settings }
    }

    /// The settings.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// A connection that was alive a moment ago. The worker may still close it before it reads
    /// the request; the caller then tries a new one.
    pub fn take(&self) -> Option<BoxedConnection> {
        loop {
            // Looked at outside the lock: it may read from the socket.
            let mut connection = self.pop()?;
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    fn pop(&self) -> Option<BoxedConnection> {
        self.idle.lock().pop()
    }

    /// Keeps a usable connection for the next request.
    pub fn put(&self, connection: BoxedConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < self.settings.max_idle {
            idle.push(connection);
        }
    }

    /// Those that requests share.
    pub(crate) fn shared(&self) -> &SharedConnections {
        &self.shared
    }

    /// Drops all of them. Requests in flight go on.
    pub fn clear(&self) {
        self.idle.lock().clear();
        self.shared.clear();
    }

    /// Drops connections that are too old or that the worker has closed.
    pub fn prune(&self) {
        self.shared.prune(self.settings.idle_timeout);
        let connections = std::mem::take(&mut *self.idle.lock());
        let fresh = |c: &BoxedConnection| c.idle_since().elapsed() < self.settings.idle_timeout;
        let mut kept: Vec<_> = connections.into_iter().filter(fresh).collect();
        kept.retain_mut(|connection| connection.is_usable());
        let mut idle = self.idle.lock();
        // What came back meanwhile was used last.
        kept.append(&mut idle);
        kept.truncate(self.settings.max_idle);
        *idle = kept;
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.lock().len()
    }

    /// True if no connection is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
