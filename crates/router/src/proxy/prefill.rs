//! The prefill half of a pair: its answer goes to nobody, but its failure matters.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::proxy::fullness::retry_after;
use crate::proxy::opening::Opening;
use crate::proxy::placement::Placement;
use crate::proxy::retry::SecondRun;
use crate::proxy::verdict::Verdict;
use sgl_upstream::upstream_connection::Outgoing;
use sgl_upstream::upstream_error::UpstreamError;

/// The most that is read of a prefill worker's answer; it holds log probabilities at most.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How a prefill worker failed.
#[derive(Debug)]
pub enum PrefillFailure {
    /// It gave no answer.
    NoAnswer(UpstreamError),
    /// It answered, but does not serve the request: the answer is the client's.
    Refused(Box<(Opening, Placement)>),
    /// Its answer broke off.
    BrokeOff,
}

impl PrefillFailure {
    /// True if the worker cannot help it.
    fn is_own(&self) -> bool {
        matches!(self, Self::NoAnswer(error) if error.is_own())
    }
}

/// The prefill half while the decode half is answering. Dropped, it is called off; released, it
/// goes on to its end, within the time that a request has.
#[derive(Debug)]
pub struct PrefillGuard {
    task: JoinHandle<Option<PrefillFailure>>,
    /// Calls it off with the word that it failed; `None` once that was said.
    blame: Option<oneshot::Sender<()>>,
    is_over: bool,
    released: bool,
}

impl PrefillGuard {
    /// Waits for its end; `None` if all went well, or if that was told before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn ended(&mut self) -> Option<PrefillFailure> {
        if self.is_over {
            return None;
        }
        let ended = (&mut self.task).await;
        self.is_over = true;
        ended.unwrap_or(Some(PrefillFailure::BrokeOff))
    }

    /// True if its end was waited for.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Calls it off, and says that its worker failed.
    pub fn blame(&mut self) {
        if let Some(blame) = self.blame.take() {
            // One that is over has said what came of it.
            let _ = blame.send(());
        }
    }

    /// Lets it go on to its end.
    pub fn release(mut self) {
        self.released = true;
    }
}

impl Drop for PrefillGuard {
    fn drop(&mut self) {
        if !self.released && self.blame.is_some() {
            self.task.abort();
        }
    }
}

/// Sends the request to the prefill worker. The guard hears of a failure.
///
/// Runs in a task of its own, since it may outlive the client's answer.
pub fn start(
    mut placement: Placement,
    outgoing: impl Fn() -> Outgoing + Send + Sync + 'static,
    second: Arc<SecondRun>,
    limit: Duration,
) -> PrefillGuard {
    let (blame, blamed) = oneshot::channel();
    let task = tokio::spawn(async move {
        let ran = tokio::select! {
            biased;
            ran = tokio::time::timeout(limit, run(&mut placement, outgoing, &second)) => ran,
            Ok(()) = blamed => {
                placement.fail();
                return None;
            }
        };
        let failure = match ran {
            Ok(Ok(None)) => {
                placement.complete();
                return None;
            }
            Ok(Ok(Some(opening))) => {
                // Who hears of it may keep it for long.
                placement.leave();
                PrefillFailure::Refused(Box::new((opening, placement)))
            }
            Ok(Err(failure)) => {
                if !failure.is_own() {
                    placement.fail();
                }
                failure
            }
            Err(_) => {
                placement.fail();
                return None;
            }
        };
        tracing::debug!(?failure, "prefill");
        Some(failure)
    });
    PrefillGuard { task, blame: Some(blame), is_over: false, released: false }
}

/// Runs to the end; gives back an answer that is a refusal.
async fn run(
    placement: &mut Placement,
    outgoing: impl Fn() -> Outgoing,
    second: &SecondRun,
) -> Result<Option<Opening>, PrefillFailure> {
    let called = async {
        let mut opening = Opening::new(placement.target().call(outgoing, second, || false).await?)?;
        opening.read_on(|| {}).await?;
        Ok(opening)
    };
    let opening = called.await.map_err(PrefillFailure::NoAnswer)?;
    placement.answered(opening.status(), || retry_after(&opening.head.headers));
    if placement.verdict() != Verdict::Served {
        return Ok(Some(opening));
    }
    let mut body = opening.body;
    body.collect(MAX_ANSWER_BYTES).await.ok_or(PrefillFailure::BrokeOff)?;
    if let Some(connection) = body.reclaim() {
        placement.target().pool().put(connection);
    }
    Ok(None)
}
