//! The loads that the ranks of a worker push, and what that is for the worker.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sgl_zmtp::{SocketKind, ZmtpConnection, ZmtpError, ZmtpLimits};
use tokio::time::{sleep, timeout};

use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::reading::{RankLoad, Reading};
use crate::proxy::kv_events::event_source::EventSource;
use crate::proxy::kv_events::load_stat::read_load;
use crate::proxy::report_log::ReportFailure;
use crate::proxy::roster::Roster;
use sglang_router_rs::core::Worker;

/// A push is small.
const LIMITS: ZmtpLimits = ZmtpLimits { message_bytes: 4096, frames: 4 };

/// Limit for connecting, and pause after a connection that failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each rank pushed last.
#[derive(Debug)]
pub(crate) struct LoadBoard {
    endpoint: Arc<Endpoint>,
    roster: Arc<Roster>,
    ranks: Mutex<Vec<Option<RankLoad>>>,
}

impl LoadBoard {
    /// Of a worker with so many ranks.
    pub(crate) fn new(endpoint: Arc<Endpoint>, roster: Arc<Roster>, ranks: usize) -> Arc<Self> {
        Arc::new(Self { endpoint, roster, ranks: Mutex::new(vec![None; ranks]) })
    }

    /// Listens to the rank at this place, for ever. What it said last counts until the connection ends.
    pub(crate) async fn follow(self: Arc<Self>, position: usize, source: EventSource) {
        loop {
            let Err(error) = self.session(position, &source).await;
            self.set(position, None);
            tracing::debug!(worker = %self.endpoint.url(), rank = source.rank, %error, "does not push its load");
            sleep(PATIENCE.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
        }
    }

    async fn session(&self, position: usize, source: &EventSource) -> Result<Infallible, ZmtpError> {
        let late = |_| ZmtpError::Io(std::io::ErrorKind::TimedOut.into());
        let address = (source.at.host.as_str(), source.at.port);
        let connecting = ZmtpConnection::connect(address, SocketKind::Sub, LIMITS);
        let mut socket = timeout(PATIENCE, connecting).await.map_err(late)??;
        timeout(PATIENCE, socket.subscribe(source.topic.as_bytes())).await.map_err(late)??;
        loop {
            let message = socket.recv().await?;
            match message.last().and_then(|payload| read_load(payload, source.rank)) {
                Some((load, nonsense)) => {
                    if nonsense {
                        self.endpoint.reports().failed(ReportFailure::Nonsense);
                    }
                    self.set(position, Some(load));
                }
                None => self.endpoint.reports().failed(ReportFailure::Unreadable),
            }
            tokio::task::yield_now().await;
        }
    }

    /// The worker's load is known once all of its ranks have told theirs.
    fn set(&self, position: usize, load: Option<RankLoad>) {
        let reading = {
            let mut ranks = self.ranks.lock();
            let Some(own) = ranks.get_mut(position) else { return };
            *own = load;
            let Some(ranks) = ranks.iter().cloned().collect::<Option<Vec<_>>>() else { return };
            Reading { ranks, nonsense: false }
        };
        for target in self.roster.targets(&self.endpoint.url().to_string()) {
            let worker = target.worker();
            let mut report = reading.part(target.rank_number()).report();
            // Pushes do not tell it.
            report.throughput = worker.report().throughput;
            worker.set_report(&report);
        }
        self.endpoint.reports().heard(&reading.report());
    }
}
