//! A generation that is shown copies of decisions, off the request path.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use crate::core::candidates::Candidates;
use crate::engine::deadline::Budget;
use crate::engine::error::CallError;
use crate::engine::exports::Ask;
use crate::engine::exports::Tell;
use crate::engine::instance::Lane;
use crate::engine::setup::Engine;
use crate::policies::decision::FailureCause;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::wasm::failure::cause_of;
use crate::policies::wasm::generation::Generation;
use crate::policies::wasm::wire;
use crate::policies::wasm::wire::Choice;
use crate::policies::wasm::wire::Draw;

/// Copies that wait for the shadow; more are skipped and counted.
const MAX_WAITING: usize = 1024;

/// A copy of one decision.
#[derive(Debug)]
pub(crate) struct Copied {
    table_version: u64,
    /// The static facts of the workers, if the shadow has not seen this table yet.
    table: Option<Vec<u8>>,
    message: Vec<u8>,
    workers: usize,
    /// What the stable generation chose; filled in after its call.
    chosen: Option<usize>,
}

/// How far a shadow agrees with the generation that decides.
#[derive(Debug, Default)]
struct Tally {
    compared: AtomicU64,
    agreed: AtomicU64,
    skipped: AtomicU64,
}

/// A snapshot of a shadow's tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "router", derive(utoipa::ToSchema))]
pub struct ShadowReport {
    /// Decisions that both made.
    pub compared: u64,
    /// Decisions on which they agree.
    pub agreed: u64,
    /// Copies that were not shown because the shadow was behind.
    pub skipped: u64,
    /// `agreed / compared`; `None` before the first.
    pub agreement_rate: Option<f64>,
}

/// A generation in the shadow of another.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) generation: Arc<Generation>,
    every: u64,
    seen: AtomicU64,
    told_version: AtomicU64,
    waiting: ArrayQueue<Copied>,
    work: Notify,
    tally: Tally,
}

impl Shadow {
    pub(crate) fn new(generation: Arc<Generation>, every: u32) -> Self {
        Self {
            generation,
            every: u64::from(every.max(1)),
            seen: AtomicU64::new(0),
            told_version: AtomicU64::new(0),
            waiting: ArrayQueue::new(MAX_WAITING),
            work: Notify::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn report(&self) -> ShadowReport {
        let compared = self.tally.compared.load(Ordering::Relaxed);
        let agreed = self.tally.agreed.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate; counts beyond 2^52 do not occur")]
        let agreement_rate = (compared > 0).then(|| agreed as f64 / compared as f64);
        ShadowReport { compared, agreed, skipped: self.tally.skipped.load(Ordering::Relaxed), agreement_rate }
    }

    /// Copies this decision, if it is one of those to be shown. Both generations get the same
    /// `draw`, so that they differ only where the policies do.
    #[cold]
    pub(crate) fn copy<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Option<Copied> {
        // Relaxed: which decision is the n-th does not matter.
        if !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
            return None;
        }
        if self.waiting.is_full() {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let plan = &self.generation.plan;
        let message =
            written(plan.bound(workers, info, &[]), |buffer| plan.encode(buffer, workers, info, &[], draw))?;
        let table_version = workers.version().get();
        let known = self.told_version.swap(table_version, Ordering::Relaxed) == table_version;
        let table = if known {
            None
        } else {
            written(wire::workers_bound(workers), |buffer| wire::encode_workers(buffer, workers))
        };
        Some(Copied { table_version, table, message, workers: workers.len(), chosen: None })
    }

    /// Hands over a copy with what was decided.
    pub(crate) fn show(&self, mut copied: Copied, chosen: Option<usize>) {
        copied.chosen = chosen;
        if self.waiting.push(copied).is_err() {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
        }
        self.work.notify_one();
    }

    /// Decides over the copies until the shadow is dropped by everybody else.
    pub(crate) fn start(self: &Arc<Self>, engine: &Arc<Engine>) {
        let shadow = Arc::downgrade(self);
        let engine = Arc::downgrade(engine);
        let Some(running) = engine.upgrade() else { return };
        running.background.handle().spawn(async move {
            // The table outlives the copies that came with it.
            let mut table: (u64, Vec<u8>) = (0, Vec::new());
            loop {
                let (Some(shadow), Some(engine)) = (shadow.upgrade(), engine.upgrade()) else { return };
                while let Some(copied) = shadow.waiting.pop() {
                    if let Some(message) = copied.table.clone() {
                        table = (copied.table_version, message);
                    }
                    shadow.compare(&engine, &copied, &table).await;
                }
                // Waits a moment at most, so that a dropped shadow is noticed.
                let pause = engine.background.sleep(std::time::Duration::from_millis(20));
                tokio::select! {
                    () = shadow.work.notified() => {}
                    () = pause => {}
                }
            }
        });
    }

    async fn compare(&self, engine: &Engine, copied: &Copied, table: &(u64, Vec<u8>)) {
        if table.0 != copied.table_version {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let timer = self.generation.stats.begin();
        let choice = self.decide(engine, copied, &table.1).await;
        self.generation.stats.end(timer);
        let choice = match choice {
            Ok(choice) => choice,
            Err(error) => {
                self.generation.stats.fail(cause_of(&error));
                return;
            }
        };
        let chosen = match choice {
            Choice::Chosen(index) if index < copied.workers => Some(index),
            Choice::Nobody => None,
            other => {
                self.generation.stats.fail(wire::cause_of(&other));
                return;
            }
        };
        if chosen.is_none() && copied.chosen.is_some() {
            self.generation.stats.fail(FailureCause::NoChoice);
        }
        // Agreed before compared: a reader never sees more agreement than comparisons.
        self.tally.compared.fetch_add(1, Ordering::Relaxed);
        if chosen == copied.chosen {
            self.tally.agreed.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn decide(
        &self,
        engine: &Engine,
        copied: &Copied,
        table: &[u8],
    ) -> Result<Choice<usize>, CallError> {
        let generation = &self.generation;
        let mut lease = generation.pool.acquire(generation.wait).await?;
        lease.begin(Lane::Fiber, Budget::start(engine.clock(), generation.budget, generation.ticks));
        if lease.instance().told_version != copied.table_version {
            if lease.instance().can_tell(Tell::Workers) {
                let len = lease.write_message(table).await?;
                lease.tell(Tell::Workers, len).await?;
            }
            lease.instance().told_version = copied.table_version;
        }
        let len = lease.write_message(&copied.message).await?;
        let reply = lease.ask(Ask::Select, len, wire::decode_choice).await?;
        lease.finish(Some(&generation.pool));
        Ok(reply.choice)
    }
}

fn written(bound: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    let mut message = vec![0; bound];
    let used = write(&mut message)?;
    message.truncate(used);
    Some(message)
}
