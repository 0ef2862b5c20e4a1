//! Waiting for workers, instead of telling a client that none is there.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::proxy::clients::Client;
use crate::proxy::inbound::Inbound;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::queue::register::NoPlace;
use crate::proxy::queue::{NoMore, WaitEnd, WaitTicket};
use crate::proxy::shortage::Shortage;
use sgl_api::WaitsFor;

/// A request that waits for workers, and asks the policy again whenever they change.
#[derive(Debug)]
pub(crate) struct WorkerWait {
    ticket: WaitTicket,
    changes: watch::Receiver<()>,
}

impl WorkerWait {
    /// From now on it hears of changes.
    ///
    /// # Errors
    ///
    /// [`NoPlace`] if too many wait.
    pub(crate) fn begin(client: &Client, inbound: &Inbound, model: Option<&str>) -> Result<Self, NoPlace> {
        let queue = client.proxy().queue();
        let until = inbound.waits_until.unwrap_or_else(|| Instant::now() + queue.settings().timeout);
        let changes = queue.hear_of_workers();
        let ticket = WaitTicket::new(queue, WaitsFor::Workers, inbound.newcomer(model), until)?;
        Ok(Self { ticket, changes })
    }

    /// Waits until workers have changed since the last time.
    ///
    /// # Errors
    ///
    /// What to tell the client if it is not waited for any longer; `shortage` is why it is.
    ///
    /// # Cancel safety
    ///
    /// The place is kept.
    pub(crate) async fn changed(&mut self, client: &Client, shortage: Shortage) -> Result<(), ProxyError> {
        // The queue lives at least as long as the client.
        let changed = self.ticket.wait(async { self.changes.changed().await.is_ok() });
        match client.waiting(pin!(changed), || false).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(NoMore::TimedOut)) => Err(ProxyError::NoWorker(shortage)),
            Ok(Err(NoMore::Stopped)) => Err(ProxyError::Stopping),
            Err(_) => Err(ProxyError::Timeout),
        }
    }

    /// The waiting has ended, with this error if it was in vain. How long it took.
    pub(crate) fn end(self, error: Option<&ProxyError>) -> Duration {
        let waited = self.ticket.waited();
        self.ticket.end(match error {
            None => WaitEnd::WentOn,
            Some(ProxyError::Stopping) => WaitEnd::Stopped,
            Some(ProxyError::NoWorker(_) | ProxyError::Timeout) => WaitEnd::TimedOut,
            Some(_) => WaitEnd::Failed,
        });
        waited
    }
}
