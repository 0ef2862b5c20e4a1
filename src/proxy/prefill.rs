//! The prefill half of a pair: its answer goes to nobody, but its failure matters.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::core::Worker;
use crate::proxy::target::Placement;
use crate::proxy::upstream::AnswerBody;
use crate::proxy::upstream::Outgoing;

/// The most that is read of a prefill worker's answer; it holds log probabilities at most.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How a prefill worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefillFailure {
    /// It could not be reached.
    Connect,
    /// It gave no answer.
    Broken,
    /// It answered with 502 or 503.
    Unavailable,
    /// It answered with another status of 500 and above.
    Failed,
}

/// The prefill half while the decode half is answering. Dropped, it is called off; released, it
/// goes on to its end, within the time that a request has.
#[derive(Debug)]
pub struct PrefillGuard {
    task: AbortHandle,
    released: bool,
}

impl PrefillGuard {
    /// Lets it go on to its end.
    pub fn release(mut self) {
        self.released = true;
    }
}

impl Drop for PrefillGuard {
    fn drop(&mut self) {
        if !self.released {
            self.task.abort();
        }
    }
}

/// Sends the request to the prefill worker. The receiver hears of a failure; it hears nothing if
/// all goes well.
///
/// Runs in a task of its own, since it may outlive the client's answer.
pub fn start(
    mut placement: Placement,
    outgoing: impl Fn() -> Outgoing + Send + 'static,
    limit: Duration,
) -> (PrefillGuard, oneshot::Receiver<PrefillFailure>) {
    let (tell, hear) = oneshot::channel();
    let task = tokio::spawn(async move {
        let Ok(result) = tokio::time::timeout(limit, run(&mut placement, outgoing)).await else {
            placement.fail();
            return;
        };
        if let Err(failure) = result {
            placement.fail();
            tracing::debug!(worker = placement.target().worker().url(), ?failure, "prefill");
            // Nobody listens once the decode worker has answered.
            let _ = tell.send(failure);
        }
    });
    (PrefillGuard { task: task.abort_handle(), released: false }, hear)
}

async fn run(placement: &mut Placement, outgoing: impl Fn() -> Outgoing) -> Result<(), PrefillFailure> {
    let answer =
        placement.target().call(outgoing).await.map_err(|error| {
            if error.is_connect() { PrefillFailure::Connect } else { PrefillFailure::Broken }
        })?;
    let (head, mut body) = answer.into_parts();
    match head.status.as_u16() {
        502 | 503 => return Err(PrefillFailure::Unavailable),
        500.. => return Err(PrefillFailure::Failed),
        // A request that is not valid is refused by the decode worker too, in its own words.
        _ => placement.succeed(),
    }
    read_to_end(&mut body, placement).await
}

async fn read_to_end(body: &mut AnswerBody, placement: &Placement) -> Result<(), PrefillFailure> {
    body.collect(MAX_ANSWER_BYTES).await.ok_or(PrefillFailure::Broken)?;
    if let Some(connection) = body.reclaim() {
        placement.target().pool().put(connection);
    }
    Ok(())
}
