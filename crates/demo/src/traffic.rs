//! Requests that flow, before, while and after the module is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::{Client, Form};

/// When a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before the replacement was asked for.
    Before,
    /// After that, and before it was done.
    During,
    /// After it was done.
    After,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whole answers by phase and by URL of their worker.
    pub(crate) answered: BTreeMap<(Phase, String), usize>,
    pub(crate) plain: usize,
    pub(crate) streamed: usize,
    /// Pieces in which streamed answers arrived.
    pub(crate) pieces: usize,
    /// What was wrong with the others.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Requests that were sent.
    pub(crate) fn sent(&self) -> usize {
        self.plain + self.streamed
    }

    fn add(&mut self, other: Self) {
        for (key, count) in other.answered {
            *self.answered.entry(key).or_default() += count;
        }
        self.plain += other.plain;
        self.streamed += other.streamed;
        self.pieces += other.pieces;
        self.failures.extend(other.failures);
    }
}

/// # Concurrency
///
/// `Relaxed` throughout: counts and a phase that order nothing else. A request that is sent while
/// the phase changes belongs to either.
#[derive(Debug)]
pub(crate) struct Traffic {
    client: Client,
    requests: usize,
    taken: AtomicUsize,
    ended: AtomicUsize,
    phase: AtomicU8,
    half_way: Notify,
}

impl Traffic {
    pub(crate) fn new(client: Client, requests: usize) -> Self {
        Self {
            client,
            requests,
            taken: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Before as u8),
            half_way: Notify::new(),
        }
    }

    /// Lets all requests flow, so many at a time; the future ends with the last of them.
    pub(crate) fn start(
        self: &Arc<Self>,
        at_a_time: usize,
    ) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
        let mut lanes = JoinSet::new();
        for _ in 0..at_a_time {
            let traffic = Arc::clone(self);
            lanes.spawn(async move { traffic.lane().await });
        }
        async move {
            let mut total = Tally::default();
            while let Some(tally) = lanes.join_next().await {
                total.add(tally?);
            }
            Ok(total)
        }
    }

    /// One request after the other, until all are sent.
    async fn lane(&self) -> Tally {
        let mut tally = Tally::default();
        loop {
            let number = self.taken.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return tally;
            }
            self.one(number, &mut tally).await;
            if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.requests / 2 {
                self.half_way.notify_one();
            }
        }
    }

    async fn one(&self, number: usize, tally: &mut Tally) {
        let form = if number.is_multiple_of(2) { Form::Plain } else { Form::Streamed };
        let phase = self.phase();
        match form {
            Form::Plain => tally.plain += 1,
            Form::Streamed => tally.streamed += 1,
        }
        match self.client.chat(&format!("This is request {number}. How are you?"), form).await {
            Ok(answer) => {
                *tally.answered.entry((phase, answer.worker)).or_default() += 1;
                if form == Form::Streamed {
                    tally.pieces += answer.pieces;
                }
            }
            Err(error) => tally.failures.push(format!("request {number}: {error:#}")),
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Before,
            1 => Phase::During,
            _ => Phase::After,
        }
    }

    /// Waits until half of the requests have ended.
    pub(crate) async fn half_way(&self) {
        self.half_way.notified().await;
    }

    /// The replacement is asked for now. How many requests are in flight.
    pub(crate) fn begin_swap(&self) -> usize {
        self.phase.store(Phase::During as u8, Ordering::Relaxed);
        let ended = self.ended.load(Ordering::Relaxed);
        self.taken.load(Ordering::Relaxed).min(self.requests).saturating_sub(ended)
    }

    /// The replacement is done.
    pub(crate) fn end_swap(&self) {
        self.phase.store(Phase::After as u8, Ordering::Relaxed);
    }
}
