//! A request that the policy has wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::proxy::queue::register::NoPlace;
use crate::proxy::queue::request_queue::{Newcomer, RequestQueue};
use crate::proxy::queue::ticket::{NoMore, WaitTicket};
use crate::proxy::queue::wait_end::WaitEnd;
use sgl_api::WaitsFor;
use sglang_router_rs::policies::{Wait, WaitOffer};

/// A request that the policy has wait, and its place among those who are asked again. Dropped, it passes
/// on its turn to be asked.
#[derive(Debug)]
pub(crate) struct Hold {
    queue: Arc<RequestQueue>,
    ticket: Option<WaitTicket>,
    number: u64,
    call: Arc<Notify>,
    since: Instant,
    /// Until when the policy has it wait, or the router lets it.
    until: Instant,
    /// Until when the router lets it wait.
    latest: Instant,
    is_due: bool,
}

impl Hold {
    /// From now on, `latest` until then.
    ///
    /// # Errors
    ///
    /// [`NoPlace`] if too many wait.
    pub(crate) fn begin(
        queue: &Arc<RequestQueue>,
        newcomer: Newcomer<'_>,
        latest: Instant,
        wait: &Wait,
    ) -> Result<Self, NoPlace> {
        let since = Instant::now();
        let until = deadline(since, latest, wait);
        let ticket = WaitTicket::new(queue, WaitsFor::Plugin, newcomer, until)?;
        let (number, call) = (ticket.number(), Arc::default());
        queue.hold(number, wait, &call);
        let (queue, ticket) = (Arc::clone(queue), Some(ticket));
        Ok(Self { queue, ticket, number, call, since, until, latest, is_due: false })
    }

    /// It was asked again, and still waits.
    pub(crate) fn still_waits(&mut self, wait: &Wait) {
        self.until = deadline(self.since, self.latest, wait);
        self.queue.still_waits(self.number, wait, self.until);
    }

    /// What the policy is told of its waiting.
    pub(crate) fn offer(&self) -> WaitOffer {
        let now = Instant::now();
        let left = if self.is_due { Duration::ZERO } else { self.latest.saturating_duration_since(now) };
        WaitOffer { waited: now - self.since, left, held: self.queue.held() }
    }

    /// Waits for its turn to be asked, which comes when its time is over at the latest.
    ///
    /// # Errors
    ///
    /// [`NoMore::Stopped`].
    ///
    /// # Cancel safety
    ///
    /// A turn that was given is kept until this is dropped.
    pub(crate) async fn called(&mut self) -> Result<(), NoMore> {
        let called = self.call.notified();
        tokio::pin!(called);
        tokio::select! {
            biased;
            () = &mut called => {}
            () = self.queue.closed() => return Err(NoMore::Stopped),
            () = tokio::time::sleep_until(self.until.into()) => {
                self.queue.is_due(self.number);
                called.await;
            }
        }
        self.is_due = Instant::now() >= self.until;
        Ok(())
    }

    /// True if its time is over.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    /// How long it has waited.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// It waits no longer: it was placed, or not.
    pub(crate) fn end(mut self, placed: bool, how: WaitEnd) {
        self.queue.release(self.number, placed);
        let how = if placed && self.is_due { WaitEnd::TimedOut } else { how };
        self.ticket.take().into_iter().for_each(|ticket| ticket.end(how));
    }
}

/// When its time is over. Later than all times if they overflow.
fn deadline(since: Instant, latest: Instant, wait: &Wait) -> Instant {
    since.checked_add(wait.at_most).map_or(latest, |until| until.min(latest))
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Nothing if it was ended before.
        self.queue.release(self.number, false);
    }
}
