//! A generation that gets copies of decisions, off the request path.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crossbeam::queue::ArrayQueue;
use tokio::sync::{Notify, watch};

use crate::core::candidate_workers::CandidateWorkers;
use crate::engine::error::CallError;
use crate::engine::exports::{Ask, Tell};
use crate::policies::decision::{FailureCause, Placed};
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::owned::owned;
use crate::policies::wasm::message::reply::{GuestChoice, decode_choice};
use crate::policies::wasm::message::table;
use crate::policies::wasm::rollout::canary_verdict::LOST_TIME;
use crate::policies::wasm::state::breaker::Breaker;
use crate::policies::wasm::state::stats::DecisionStats;

/// How many copies may wait for the shadow; others are skipped and counted.
const MAX_WAITING: usize = 1024;

/// Bytes of copies that wait or are being made; copies beyond that are skipped and counted too.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// A part of the memory for copies; dropping it frees it.
#[derive(Debug)]
struct CopyRoom {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl CopyRoom {
    fn take(taken: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let add = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= MAX_WAITING_BYTES);
        // Relaxed: a count that orders nothing else.
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { taken: Arc::clone(taken), bytes })
    }
}

impl Drop for CopyRoom {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

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
    _room: CopyRoom,
}

/// How far a shadow agrees with the generation that decides.
#[derive(Debug, Default)]
struct ShadowTally {
    compared: AtomicU64,
    agreed: AtomicU64,
    skipped: AtomicU64,
}

/// A snapshot of a shadow's tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowReport {
    /// Decisions that both made.
    pub compared: u64,
    /// Decisions on which they agree.
    pub agreed: u64,
    /// Copies that it never saw: it was behind, or they were too large to wait.
    pub skipped: u64,
    /// `agreed / compared`; `None` before the first.
    pub agreement_rate: Option<f64>,
}

/// A generation that shadows another.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) generation: Arc<Generation>,
    /// Kept apart from what the generation decides once it is promoted.
    stats: Arc<DecisionStats>,
    every: u64,
    seen: AtomicU64,
    told_version: AtomicU64,
    waiting: ArrayQueue<Copied>,
    /// Bytes of all copies.
    taken: Arc<AtomicUsize>,
    /// Shared, so that waiting for a copy does not hold the shadow.
    work: Arc<Notify>,
    /// True once it is out of use.
    stopped: watch::Sender<bool>,
    /// True once it works on nothing any more.
    ended: watch::Sender<bool>,
    /// Adds up the time that it loses; no call passes through it.
    lost: Breaker,
    tally: ShadowTally,
}

impl Shadow {
    pub(crate) fn new(generation: Arc<Generation>, stats: Arc<DecisionStats>, every: u32) -> Self {
        // It decides nothing, so its failures harm nobody; the time that it takes from others does.
        let lost = Breaker::for_lost_time(generation.options.breaker);
        Self {
            generation,
            stats,
            every: u64::from(every.max(1)),
            seen: AtomicU64::new(0),
            told_version: AtomicU64::new(0),
            waiting: ArrayQueue::new(MAX_WAITING),
            taken: Arc::default(),
            work: Arc::default(),
            stopped: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            lost,
            tally: ShadowTally::default(),
        }
    }

    pub(crate) fn report(&self) -> ShadowReport {
        let compared = self.tally.compared.load(Ordering::Relaxed);
        let agreed = self.tally.agreed.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate; counts beyond 2^52 do not occur")]
        let agreement_rate = (compared > 0).then(|| agreed as f64 / compared as f64);
        ShadowReport { compared, agreed, skipped: self.tally.skipped.load(Ordering::Relaxed), agreement_rate }
    }

    /// Copies this decision if it is one to be shown. Both generations get the same `draw`, so that they
    /// differ only where the policies do.
    #[cold]
    pub(crate) fn copy<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Option<Copied> {
        // Relaxed: which decision is the n-th does not matter.
        if !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
            return None;
        }
        let plan = &self.generation.plan;
        let table_version = workers.version().get();
        let known = self.told_version.load(Ordering::Relaxed) == table_version;
        let (bound, names) = (plan.bound(workers, info, &[]), plan.model_name_bytes());
        let table_bound = if known { 0 } else { table::workers_bound(workers, names) };
        let room =
            if self.waiting.is_full() { None } else { CopyRoom::take(&self.taken, bound + table_bound) };
        let Some(room) = room else {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let message = owned(bound, |buffer| plan.encode(buffer, workers, info, &[], draw))?;
        let write = |buffer: &mut [u8]| table::encode_workers(buffer, workers, names);
        let table = if known { None } else { owned(table_bound, write) };
        Some(Copied { table_version, table, message, workers: workers.len(), chosen: None, _room: room })
    }

    /// Hands over a copy with what was decided.
    pub(crate) fn show(&self, mut copied: Copied, chosen: Option<usize>) {
        if *self.stopped.borrow() {
            return;
        }
        copied.chosen = chosen;
        let tells = copied.table.is_some().then_some(copied.table_version);
        if self.waiting.push(copied).is_err() {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
        } else if let Some(version) = tells {
            // Only now, so that copies without the table come behind the one that has it.
            self.told_version.store(version, Ordering::Relaxed);
        }
        self.work.notify_one();
    }

    /// Takes it out of use: its present comparison is cut short, and waiting copies are thrown away.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        while self.waiting.pop().is_some() {}
    }

    /// Waits until it works on nothing any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn ended(&self) {
        // Cannot fail: we hold the sender.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Decides over the copies until it is stopped or everybody else has dropped it. `end` takes it out
    /// of use and gets the reason.
    pub(crate) fn start(self: &Arc<Self>, end: impl FnOnce(&str) + Send + 'static) {
        let work = look_on(Arc::downgrade(self), Arc::clone(&self.work));
        let (mut stopped, ended) = (self.stopped.subscribe(), self.ended.clone());
        self.generation.engine().background.handle().spawn(async move {
            tokio::select! {
                biased;
                // Cutting a comparison short discards its instance. On an error the shadow is gone.
                _ = stopped.wait_for(|stopped| *stopped) => {}
                has_lost = work => if has_lost {
                    end(LOST_TIME);
                }
            }
            ended.send_replace(true);
        });
    }

    /// Shows it one copy; true if it has lost more time than it may.
    async fn compare(&self, copied: &Copied, table: &(u64, Vec<u8>)) -> bool {
        if table.0 != copied.table_version {
            self.tally.skipped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let timer = self.stats.begin();
        let choice = self.decide(copied, &table.1).await;
        self.stats.end(timer);
        let choice = match choice {
            Ok(choice) => choice,
            Err(error) => {
                self.stats.fail(FailureCause::of_call(&error));
                return matches!(error, CallError::Timeout { .. })
                    && self.lost.lose(self.generation.budget());
            }
        };
        let chosen = match choice {
            GuestChoice::Chosen(placed) if placed.index < copied.workers => Some(placed.index),
            GuestChoice::Nobody => None,
            GuestChoice::Wait(_) | GuestChoice::Shed(_) => return self.put_off(&choice),
            other => {
                self.stats.fail(other.cause());
                return false;
            }
        };
        if chosen.is_none() && copied.chosen.is_some() {
            self.stats.fail(FailureCause::NoChoice);
        }
        // `agreed` is counted first: a reader never sees more agreement than comparisons.
        self.tally.compared.fetch_add(1, Ordering::Relaxed);
        if chosen == copied.chosen {
            self.tally.agreed.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// It has the request wait, or refuses it, where the other generation chose: no failure, but they
    /// disagree. What that one puts off is not shown.
    fn put_off(&self, choice: &GuestChoice<Placed>) -> bool {
        match choice {
            GuestChoice::Shed(_) => self.stats.shed(),
            _ => self.stats.wait(),
        };
        self.tally.compared.fetch_add(1, Ordering::Relaxed);
        false
    }

    async fn decide(&self, copied: &Copied, table: &[u8]) -> Result<GuestChoice<Placed>, CallError> {
        let mut lease = self.generation.begin_call().await?;
        if lease.instance().told_version != copied.table_version {
            if lease.instance().can_tell(Tell::Workers) {
                lease.tell_message(Tell::Workers, table).await?;
            }
            lease.instance().told_version = copied.table_version;
        }
        let reply = lease.ask_message(Ask::Select, &copied.message, decode_choice).await?;
        lease.finish(Some(&self.generation.pool));
        Ok(reply.choice)
    }
}

/// Works off the copies; ends when the shadow is gone (false), or has lost too much time (true).
async fn look_on(shadow: Weak<Shadow>, work: Arc<Notify>) -> bool {
    // The table outlives the copies that came with it.
    let mut table: (u64, Vec<u8>) = (0, Vec::new());
    loop {
        let Some(shadow) = shadow.upgrade() else { return false };
        while let Some(mut copied) = shadow.waiting.pop() {
            if let Some(message) = copied.table.take() {
                table = (copied.table_version, message);
            }
            if shadow.compare(&copied, &table).await {
                return true;
            }
        }
        // Does not hold the shadow while it waits: one that all others have dropped then ends this loop.
        drop(shadow);
        work.notified().await;
    }
}
