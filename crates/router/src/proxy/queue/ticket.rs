//! A request's place among those that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proxy::queue::register::NoPlace;
use crate::proxy::queue::request_queue::{Newcomer, RequestQueue};
use crate::proxy::queue::wait_end::WaitEnd;
use sgl_api::WaitsFor;

/// Why a request waits no longer, though what it waited for did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMore {
    /// It waited for too long.
    TimedOut,
    /// The router stops.
    Stopped,
}

/// A request's place among those that wait. If it is dropped before its [`end`](Self::end), the client
/// has hung up.
#[derive(Debug)]
pub(crate) struct WaitTicket {
    queue: Arc<RequestQueue>,
    number: u64,
    waits_for: WaitsFor,
    since: Instant,
    until: Instant,
    ended: WaitEnd,
}

impl WaitTicket {
    /// A place from now on.
    ///
    /// # Errors
    ///
    /// [`NoPlace`] if too many wait, or with too large bodies.
    pub(crate) fn new(
        queue: &Arc<RequestQueue>,
        waits_for: WaitsFor,
        newcomer: Newcomer<'_>,
        until: Instant,
    ) -> Result<Self, NoPlace> {
        let since = Instant::now();
        let number = queue.enter(waits_for, newcomer, since, until)?;
        Ok(Self { queue: Arc::clone(queue), number, waits_for, since, until, ended: WaitEnd::ClientGone })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Waits for what it waits for.
    ///
    /// # Errors
    ///
    /// [`NoMore`] if that does not happen in time.
    ///
    /// # Cancel safety
    ///
    /// That of `work`; the place is kept.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, NoMore> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.queue.closed() => Err(NoMore::Stopped),
            () = tokio::time::sleep_until(self.until.into()) => Err(NoMore::TimedOut),
        }
    }

    /// How long it has waited.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// The waiting has ended like this.
    pub(crate) fn end(mut self, how: WaitEnd) {
        self.ended = how;
    }
}

impl Drop for WaitTicket {
    fn drop(&mut self) {
        self.queue.leave(self.number);
        self.queue.counts().ended(self.waits_for, self.ended, self.since.elapsed());
    }
}
