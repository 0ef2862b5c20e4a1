//! The prefill half of a pair: its answer goes to nobody, but its failure matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::proxy::client_deadlines::look_interval;
use crate::proxy::fullness::retry_after;
use crate::proxy::opening::Opening;
use crate::proxy::patience::{Limit, Patience};
use crate::proxy::placement::Placement;
use crate::proxy::retry::SecondRun;
use crate::proxy::target::Target;
use crate::proxy::verdict::Verdict;
use sgl_upstream::{AnswerBody, Outgoing, UpstreamError};

/// The most that is read of a prefill worker's answer; it holds log probabilities at most.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How a prefill worker failed.
#[derive(Debug)]
pub(crate) enum PrefillFailure {
    /// It gave no answer.
    NoAnswer(UpstreamError),
    /// It answered, but does not serve the request: the answer is the client's.
    Refused(Box<(Opening, Placement)>),
    /// Its answer broke off.
    BrokeOff,
}

impl PrefillFailure {
    /// True if the worker is not to blame; it may close an idle connection whenever it likes.
    fn is_blameless(&self) -> bool {
        matches!(self, Self::NoAnswer(error) if error.is_own() || matches!(error, UpstreamError::Stale))
    }
}

/// Where a prefill half may run again, if an idle connection ends under it.
#[derive(Debug)]
pub(crate) struct Runs<F> {
    /// Shared with the decode half.
    pub second: Arc<SecondRun>,
    /// Tells whether another worker could be tried.
    pub has_other: F,
}

/// How long a prefill half may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefillLimits {
    /// In all.
    pub request: Duration,
    /// Without a word, once it is released. Before that the request waits for both halves, and decides.
    pub silence: Patience,
    /// Without a word after its worker was found dead.
    pub after_death: Duration,
}

/// The prefill half while the decode half is answering. Dropped, it is called off; released, it
/// goes on to its end, within the time that a request has and its worker may be silent.
#[derive(Debug)]
pub(crate) struct PrefillGuard {
    task: JoinHandle<Option<PrefillFailure>>,
    /// Calls it off with the word that it failed; `None` once that was said.
    ///
    /// Dropped without a word, it says that the half was released.
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
    pub(crate) async fn ended(&mut self) -> Option<PrefillFailure> {
        if self.is_over {
            return None;
        }
        let ended = (&mut self.task).await;
        self.is_over = true;
        ended.unwrap_or(Some(PrefillFailure::BrokeOff))
    }

    /// True if its end was waited for.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Calls it off, and says that its worker failed.
    pub(crate) fn blame(&mut self) {
        if let Some(blame) = self.blame.take() {
            // One that is over has said what came of it.
            let _ = blame.send(());
        }
    }

    /// Lets it go on to its end.
    pub(crate) fn release(mut self) {
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
pub(crate) fn start(
    mut placement: Placement,
    outgoing: impl Fn() -> Outgoing + Send + Sync + 'static,
    runs: Runs<impl Fn() -> bool + Send + Sync + 'static>,
    limits: PrefillLimits,
) -> PrefillGuard {
    let (blame, blamed) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (target, deaths) = (Arc::clone(placement.target()), placement.deaths());
        let pieces = AtomicU64::new(0);
        let given_up = async {
            match blamed.await {
                Ok(()) => true,
                Err(_) => fell_silent(&target, deaths, &pieces, &limits).await,
            }
        };
        let running = run(&mut placement, outgoing, &runs, &pieces);
        let ran = tokio::select! {
            biased;
            ran = tokio::time::timeout(limits.request, running) => ran,
            is_its_fault = given_up => {
                if is_its_fault {
                    placement.fail();
                }
                return None;
            }
        };
        // Out of time it has failed, and nobody waits for it.
        let Ok(ran) = ran else {
            placement.fail();
            return None;
        };
        ended(placement, ran).inspect(|failure| tracing::debug!(?failure, "prefill"))
    });
    PrefillGuard { task, blame: Some(blame), is_over: false, released: false }
}

/// Tells the placement what came of it; `None` if all went well.
fn ended(mut placement: Placement, ran: Result<Option<Opening>, PrefillFailure>) -> Option<PrefillFailure> {
    match ran {
        Ok(None) => {
            placement.complete();
            None
        }
        Ok(Some(opening)) => {
            // Who hears of it may keep it for long.
            placement.leave();
            Some(PrefillFailure::Refused(Box::new((opening, placement))))
        }
        Err(failure) => {
            if !failure.is_blameless() {
                placement.fail();
            }
            Some(failure)
        }
    }
}

/// Runs to the end, and counts the `pieces` that come; gives back an answer that is a refusal.
async fn run(
    placement: &mut Placement,
    outgoing: impl Fn() -> Outgoing,
    runs: &Runs<impl Fn() -> bool>,
    pieces: &AtomicU64,
) -> Result<Option<Opening>, PrefillFailure> {
    // Relaxed: one task counts and reads.
    let heard = || {
        pieces.fetch_add(1, Ordering::Relaxed);
    };
    let called = async {
        let answer = placement.target().call(outgoing, &runs.second, &runs.has_other).await?;
        let mut opening = Opening::new(answer)?;
        opening.read_on(heard).await?;
        Ok(opening)
    };
    let opening = called.await.map_err(PrefillFailure::NoAnswer)?;
    heard();
    placement.answered(opening.status(), || retry_after(&opening.head.headers));
    if placement.verdict() != Verdict::Served {
        return Ok(Some(opening));
    }
    let mut body = opening.body;
    read_out(&mut body, heard).await.ok_or(PrefillFailure::BrokeOff)?;
    if let Some(connection) = body.reclaim() {
        placement.target().pool().put(connection);
    }
    Ok(None)
}

/// Reads to the end and keeps nothing; `None` if it breaks off or is too long.
async fn read_out(body: &mut AnswerBody, heard: impl Fn()) -> Option<()> {
    let mut read = 0;
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        heard();
        read += frame.ok()?.data_ref().map_or(0, |piece| piece.len());
        if read > MAX_ANSWER_BYTES {
            return None;
        }
    }
    Some(())
}

/// Waits until a half that was just released has been silent for too long; true if that is its worker's
/// fault. The client has its answer, so nobody's connection looks at the deadlines of this half.
async fn fell_silent(target: &Target, deaths: u64, pieces: &AtomicU64, limits: &PrefillLimits) -> bool {
    let Patience { first_byte, between } = limits.silence;
    let shortest = [first_byte.after, between.after].into_iter().flatten().min();
    let interval = look_interval(shortest.unwrap_or(Duration::MAX).min(limits.after_death));
    let dead = |own: Limit| Limit {
        after: own.after.into_iter().chain([limits.after_death]).min(),
        is_clients: false,
    };
    let (mut seen, mut since) = (pieces.load(Ordering::Relaxed), Instant::now());
    loop {
        tokio::time::sleep(interval).await;
        // Relaxed: see `run`.
        let come = pieces.load(Ordering::Relaxed);
        if std::mem::replace(&mut seen, come) != come {
            since = Instant::now();
        }
        let own = if come == 0 { first_byte } else { between };
        let limit = if target.deaths() == deaths { own } else { dead(own) };
        if limit.after.is_some_and(|after| since.elapsed() > after) {
            return !limit.is_clients;
        }
    }
}
