//! Listens to one rank of an engine, for ever: connects, catches up, takes what comes.
//!
//! ```text
//!  connect ─► subscribe ─► catch up (replay) ─► next batch ─► take ─┐
//!     ▲                        ▲      ▲ gap          ▲──────────────┘
//!     └── pause ◄── fault      └──────┴── numbers began anew: forget first
//! ```
//!
//! What a rank said is believed while nothing was missed. Who was away asks for the batch that it took last,
//! and the ones after it: if that one is another, or is not there, or nobody answers, all is forgotten.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sgl_zmtp::{SocketKind, ZmtpConnection, ZmtpError, ZmtpLimits};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::proxy::feed_log::BatchEnd;
use crate::proxy::kv_events::event_source::{EventSource, SocketPlace};
use crate::proxy::kv_events::rank_feed::RankFeed;
use crate::proxy::kv_events::sequence::{Sequence, SequencePlace};

/// Limit for connecting, and between two answers to a question. vLLM looks for questions every 0.1 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Pauses between connections: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A question for what was missed costs an engine time in which it publishes nothing: one a second at most.
const REPLAY_PAUSE: Duration = Duration::from_secs(1);

/// Batches of one answer.
const MAX_REPLAYED: usize = 1 << 20;

/// The number behind the last batch of an answer.
const END: u64 = u64::MAX;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedFault {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It failed.
    #[error(transparent)]
    Socket(#[from] ZmtpError),
    /// Something else than batches came.
    #[error("a message without a number")]
    Strange,
}

/// Listens to a rank.
#[derive(Debug)]
pub(crate) struct Subscriber {
    source: EventSource,
    feed: RankFeed,
    sequence: Sequence,
    replayed_at: Option<Instant>,
}

impl Subscriber {
    /// Of a rank of which nothing is known.
    pub(crate) fn new(source: EventSource, feed: RankFeed) -> Self {
        Self { source, feed, sequence: Sequence::default(), replayed_at: None }
    }

    /// Listens for ever.
    pub(crate) async fn follow(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            let Err(fault) = self.session().await;
            let worker = self.feed.worker().endpoint.url().to_string();
            tracing::debug!(worker, rank = self.source.rank, %fault, "does not publish what its cache holds");
            if began.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            // Up to half less, so that many do not come at once.
            sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn session(&mut self) -> Result<Infallible, FeedFault> {
        let mut socket = connect(&self.source.at, SocketKind::Sub).await?;
        in_time(socket.subscribe(self.source.topic.as_bytes())).await?;
        let endpoint = Arc::clone(&self.feed.worker().endpoint);
        let _connected = endpoint.feed().connected();
        self.sequence.connected();
        self.catch_up().await;
        loop {
            let message = socket.recv().await?;
            self.hear(&message).await?;
            // A rank that says much leaves time to others.
            tokio::task::yield_now().await;
        }
    }

    async fn hear(&mut self, message: &[Bytes]) -> Result<(), FeedFault> {
        let (number, payload) =
            numbered(message).filter(|(number, _)| *number != END).ok_or(FeedFault::Strange)?;
        let mut place = self.sequence.live(number);
        if let SequencePlace::Gap(_) | SequencePlace::Anew = place {
            if place == SequencePlace::Anew {
                self.forget();
            }
            self.catch_up().await;
            place = match (self.sequence.last(), place) {
                (Some(last), _) if number <= last => SequencePlace::Repeated,
                (Some(last), _) if number - last > 1 => SequencePlace::Gap(number - last - 1),
                (None, SequencePlace::Gap(missing)) => SequencePlace::Gap(missing),
                _ => SequencePlace::Next,
            };
        }
        match place {
            SequencePlace::Repeated => self.feed.worker().endpoint.feed().batch(BatchEnd::Repeated, 1),
            SequencePlace::Next => self.take(number, payload, BatchEnd::Live).await,
            SequencePlace::Gap(missing) => {
                self.feed.worker().endpoint.feed().batch(BatchEnd::Missed, missing);
                self.forget_if(self.sequence.last().is_some());
                self.take(number, payload, BatchEnd::Live).await;
            }
            // Decided above.
            SequencePlace::Anew => {}
        }
        Ok(())
    }

    async fn take(&mut self, number: u64, payload: &Bytes, end: BatchEnd) {
        self.feed.take(payload, end).await;
        self.sequence.taken(number, payload, end == BatchEnd::Replayed);
    }

    fn forget(&mut self) {
        self.sequence.forget();
        self.feed.forget();
    }

    /// Takes what was missed since the last batch, or forgets what was taken. What is sent to the worker
    /// meanwhile is newer than all that it says again.
    async fn catch_up(&mut self) {
        self.feed.replays(true);
        self.take_missed().await;
        self.feed.replays(false);
    }

    async fn take_missed(&mut self) {
        let knows = self.sequence.last().is_some();
        let caught_up = match &self.source.replay {
            Some(place) => {
                let place = place.clone();
                self.replay(&place).await
            }
            None => Ok(false),
        };
        match caught_up {
            Ok(true) => {}
            Ok(false) => self.forget_if(knows),
            Err(fault) => {
                let worker = self.feed.worker().endpoint.url().to_string();
                tracing::debug!(worker, rank = self.source.rank, %fault, "does not replay what was missed");
                self.forget_if(knows);
            }
        }
    }

    fn forget_if(&mut self, knows: bool) {
        if knows {
            self.forget();
        }
    }

    /// Asks for what was missed. True if nothing is missing now, up to the last batch that there is.
    async fn replay(&mut self, place: &SocketPlace) -> Result<bool, FeedFault> {
        if let Some(before) = self.replayed_at {
            sleep_until(before + REPLAY_PAUSE).await;
        }
        self.replayed_at = Some(Instant::now());
        let mut socket = connect(place, SocketKind::Dealer).await?;
        let Some(last) = self.sequence.last() else { return self.replay_from(&mut socket, None).await };
        if self.replay_from(&mut socket, Some(last)).await? {
            return Ok(true);
        }
        // Another sender, or one that has forgotten that much: all that there is of it.
        self.forget();
        self.replay_from(&mut socket, None).await
    }

    /// The batches behind `last`, which must be the first of the answer; or all.
    async fn replay_from(
        &mut self,
        socket: &mut ZmtpConnection,
        last: Option<u64>,
    ) -> Result<bool, FeedFault> {
        let from = Bytes::copy_from_slice(&last.unwrap_or(0).to_be_bytes());
        in_time(socket.send(&[Bytes::new(), from])).await?;
        let mut is_sure = last.is_none();
        let mut is_whole = true;
        for _ in 0..MAX_REPLAYED {
            let message = in_time(socket.recv()).await?;
            let (number, payload) = numbered(&message).ok_or(FeedFault::Strange)?;
            if number == END {
                return Ok(is_sure && is_whole);
            }
            if !is_sure {
                is_sure = self.sequence.is_last(number, payload);
                is_whole &= is_sure;
                continue;
            }
            if !is_whole {
                continue;
            }
            match self.sequence.last() {
                Some(taken) if number <= taken => {}
                Some(taken) if number != taken + 1 => is_whole = false,
                _ => {
                    self.take(number, payload, BatchEnd::Replayed).await;
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(false)
    }
}

async fn connect(place: &SocketPlace, kind: SocketKind) -> Result<ZmtpConnection, FeedFault> {
    let address = (place.host.as_str(), place.port);
    in_time(ZmtpConnection::connect(address, kind, ZmtpLimits::default())).await
}

async fn in_time<T>(work: impl Future<Output = Result<T, ZmtpError>>) -> Result<T, FeedFault> {
    timeout(ANSWER_LIMIT, work).await.map_err(|_| FeedFault::Timeout(ANSWER_LIMIT))?.map_err(FeedFault::from)
}

/// The last two frames of a message: the number of a batch, and the batch.
fn numbered(message: &[Bytes]) -> Option<(u64, &Bytes)> {
    let [_, .., number, payload] = message else { return None };
    let number = <[u8; 8]>::try_from(number.as_ref()).ok()?;
    Some((u64::from_be_bytes(number), payload))
}
