//! A request's turn, where only so many are served at a time.

use std::pin::pin;
use std::time::Instant;

use crate::proxy::clients::Client;
use crate::proxy::inbound::Inbound;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::queue::limit::TurnLimit;
use crate::proxy::queue::{GivenTurn, NoMore, WaitEnd, WaitTicket};
use sgl_api::WaitsFor;

/// Waits until the request may be served, in the order in which requests came. It waits with its body
/// read: a client that hangs up is noticed at once, and one that is slow to send takes nobody's turn.
///
/// # Errors
///
/// What to tell the client if it is not to be.
///
/// # Cancel safety
///
/// Dropping the future leaves the line.
pub(crate) async fn admit(
    client: &Client,
    limit: &TurnLimit,
    inbound: &mut Inbound,
) -> Result<GivenTurn, ProxyError> {
    if let Some(admission) = limit.admit_now() {
        return Ok(admission);
    }
    let queue = client.proxy().queue();
    let until = Instant::now() + queue.settings().timeout;
    inbound.waits_until = Some(until);
    let ticket = WaitTicket::new(queue, WaitsFor::Limit, inbound.newcomer(None), until)?;
    let waited = client.waiting(pin!(ticket.wait(limit.admit())), || false).await;
    let (end, admitted) = match waited {
        Ok(Ok(Ok(admission))) => (WaitEnd::WentOn, Ok(admission)),
        Ok(Ok(Err(_)) | Err(NoMore::Stopped)) => (WaitEnd::Stopped, Err(ProxyError::Stopping)),
        Ok(Err(NoMore::TimedOut)) => (WaitEnd::TimedOut, Err(ProxyError::QueueTimeout)),
        Err(_) => (WaitEnd::TimedOut, Err(ProxyError::Timeout)),
    };
    inbound.waited = ticket.waited();
    ticket.end(end);
    admitted
}
