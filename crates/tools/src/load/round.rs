//! What the requests of one round share, and the way of one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::load::arrivals::Pace;
use crate::load::bodies::Bodies;
use crate::load::client_connection::{ClientConnection, ReadAnswer};
use crate::load::plan::RunLimits;
use crate::load::record::{ErrorKind, Sample, SampleRecorder, Success, Window};
use crate::load::run_control::RunControl;
use crate::load::target::LoadTarget;
use crate::load::trace::Trace;

/// One round of one target.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) target: LoadTarget,
    bodies: Arc<Bodies>,
    trace: Option<Arc<Trace>>,
    pub(crate) limits: RunLimits,
    pub(crate) begin: Instant,
    pub(crate) window: Window,
    pub(crate) recorder: SampleRecorder,
    pub(crate) control: RunControl,
    /// Cancelled when there is nothing more to send.
    pub(crate) exhausted: CancellationToken,
    /// Set if that is so because the next request would be due after the round's time.
    pub(crate) filled: AtomicBool,
    /// Cancelled when nothing more may be sent.
    pub(crate) over: CancellationToken,
}

impl Round {
    pub(crate) fn new(
        target: &LoadTarget,
        bodies: &Arc<Bodies>,
        pace: &Pace,
        limits: RunLimits,
        control: &RunControl,
    ) -> Self {
        let begin = Instant::now();
        let start = begin + limits.warmup;
        let window = Window { start, end: limits.duration.and_then(|time| start.checked_add(time)) };
        let trace = match pace {
            Pace::Trace { trace, .. } => Some(Arc::clone(trace)),
            _ => None,
        };
        Self {
            target: target.clone(),
            bodies: Arc::clone(bodies),
            trace,
            limits,
            begin,
            window,
            recorder: SampleRecorder::new(window),
            control: control.clone(),
            exhausted: CancellationToken::new(),
            filled: AtomicBool::new(false),
            over: CancellationToken::new(),
        }
    }

    /// True if nothing more may be sent.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.window.end.is_some_and(|end| now >= end) || self.control.is_stopped()
    }

    /// Waits until nothing more may be sent, and then for as long as requests in flight may take.
    ///
    /// # Cancel safety
    ///
    /// Safe; `over` may have been cancelled.
    pub(crate) async fn run_out(&self) {
        let deadline = async {
            match self.window.end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deadline => {}
            () = self.control.stopping().cancelled() => {}
            () = self.exhausted.cancelled() => {}
        }
        self.over.cancel();
        // Requests without a limit of the round's time still end by their own.
        tokio::time::sleep(self.limits.drain).await;
    }

    /// How long requests counted: the time that was set, or until the last one ended.
    pub(crate) fn measured(&self, last_end: Option<Instant>) -> Duration {
        let last = last_end.unwrap_or(self.window.start);
        // Acquire: pairs with the store of the pacer's thread; it also came through its channel.
        let is_short = self.exhausted.is_cancelled() && !self.filled.load(Ordering::Acquire);
        let end = match self.window.end {
            Some(end) if !self.control.is_stopped() && !is_short => end,
            Some(end) => last.min(end),
            None => last,
        };
        end.saturating_duration_since(self.window.start)
    }

    fn body(&self, number: u64) -> Bytes {
        let entries = self.trace.as_ref().map(|trace| trace.entries());
        let entry = entries.and_then(|entries| entries.get(usize::try_from(number).ok()?));
        entry.map_or_else(|| self.bodies.ready(number), |entry| self.bodies.of_trace(number, entry))
    }
}

/// Sends a request and records what comes of it.
///
/// # Cancel safety
///
/// Dropping the future closes the connection and records the request as cut off.
pub(crate) async fn perform(mut open: OpenRequest, line: &mut ClientConnection) -> Result<(), ErrorKind> {
    let (number, intended) = (open.number, open.intended);
    let round = Arc::clone(&open.round);
    let body = round.body(number);
    let started = Instant::now();
    let mut answered = ReadAnswer::default();
    let exchange = line.exchange(&round.target, body, round.bodies.stream(), &mut answered);
    let result = match tokio::time::timeout(round.limits.timeout, exchange).await {
        Ok(result) => result,
        Err(_) => Err(ErrorKind::Timeout),
    };
    let ended = Instant::now();
    open.settled = true;
    round.control.request_ended(result.is_ok());
    let ReadAnswer { worker, first_token, tokens, said } = answered;
    let success = |()| Success { first_token, gaps: line.gaps(), tokens };
    let sample = Sample { intended, started, ended, worker, result: result.map(success), said };
    round.recorder.add(number, sample);
    result
}

/// A request that was taken up. Dropped before it is settled, it is recorded as cut off.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    round: Arc<Round>,
    number: u64,
    intended: Instant,
    settled: bool,
}

impl OpenRequest {
    /// Takes up the request of this number, which was due at `intended`.
    pub(crate) fn new(round: &Arc<Round>, number: u64, intended: Instant) -> Self {
        round.control.request_started();
        Self { round: Arc::clone(round), number, intended, settled: false }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.settled {
            self.round.control.request_ended(false);
            self.round.recorder.cut(self.number, self.intended, self.round.control.is_stopped());
        }
    }
}
