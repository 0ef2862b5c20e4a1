//! One attempt: a request to one worker, up to the beginning of its answer.

use std::pin::pin;
use std::sync::Arc;

use crate::proxy::client_deadlines::GaveUp;
use crate::proxy::clients::Client;
use crate::proxy::fullness::retry_after;
use crate::proxy::head::Head;
use crate::proxy::opening::Opening;
use crate::proxy::outcome::{Answered, Outcome};
use crate::proxy::patience::{Limit, Patience};
use crate::proxy::placement::Placement;
use crate::proxy::retry::SecondRun;
use sgl_upstream::{Payload, UpstreamError};
use sglang_router_rs::core::Worker;

/// A request that is not waited for any longer, while it is open whose fault that is.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Why not.
    pub why: GaveUp,
    /// The limit that ran.
    pub limit: Limit,
    placement: Placement,
}

impl Unanswered {
    /// It is the worker's fault; unless only a client in a hurry says so.
    pub(crate) fn blamed(mut self) -> Outcome {
        if self.why != GaveUp::Silent || !self.limit.is_clients {
            self.placement.fail();
        }
        Outcome::given_up(self.why)
    }
}

/// Sends a request to the worker that it was placed at, and waits for the head of the answer, and
/// for the first event of a streamed one. `has_other` tells whether another worker could be tried.
///
/// # Errors
///
/// [`Unanswered`], if it is not waited for any longer.
///
/// # Cancel safety
///
/// Dropping the future closes the connection to the worker.
pub(crate) fn attempt(
    client: &Client,
    head: &Head,
    body: &Payload,
    mut placement: Placement,
    patience: Patience,
    second: &SecondRun,
    has_other: impl Fn() -> bool,
) -> impl Future<Output = Result<Outcome, Box<Unanswered>>> {
    let target = Arc::clone(placement.target());
    let deaths = target.deaths();
    let mut limit = patience.first_byte;
    client.wait_for(limit.after);
    // What is moved into an `async` block lies in it once, an argument of an `async fn` twice.
    async move {
        // From its first bytes on a worker speaks, be they comments.
        let heard = || {
            limit = patience.between;
            client.wait_for(limit.after);
        };
        let target = &target;
        let opened = {
            let opening = pin!(async {
                let answer = target.call(|| head.outgoing(target, body), second, has_other).await?;
                let mut opening = Opening::new(answer)?;
                opening.read_on(heard).await?;
                Ok::<_, UpstreamError>(opening)
            });
            client.waiting(opening, || target.deaths() != deaths).await
        };
        match opened {
            Ok(Ok(opening)) => {
                client.wait_for(patience.between.after);
                placement.answered(opening.status(), || retry_after(&opening.head.headers));
                Ok(Outcome::Answered(Answered::new(opening, placement, patience.between.is_clients)))
            }
            Ok(Err(error)) => {
                tracing::debug!(worker = target.worker().url(), %error, "no answer");
                // A worker may close an idle connection whenever it likes.
                if !error.is_own() && !matches!(error, UpstreamError::Stale) {
                    placement.fail();
                }
                Ok(Outcome::no_answer(&error))
            }
            Err(why) => Err(Box::new(Unanswered { why, limit, placement })),
        }
    }
}
