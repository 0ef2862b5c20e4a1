//! One decision of a plugin: take an instance, write the message, run the guest, check the answer.

use std::sync::Arc;
use std::time::Instant;

use crate::core::candidates::Candidates;
use crate::engine::deadline::Budget;
use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::engine::lane::Lane;
use crate::engine::pool::lease::Lease;
use crate::engine::wasm_engine::Engine;
use crate::policies::decision::FailureCause;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::outliving;
use crate::policies::wasm::decide::outliving::Step;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::reply::Choice;
use crate::policies::wasm::message::reply::More;
use crate::policies::wasm::message::reply::Reply;
use crate::policies::wasm::message::table;
use crate::policies::wasm::state::completions::Completions;
use crate::policies::wasm::state::row_state::StateGuard;
use crate::types::shown;

/// How the caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It blocks its thread.
    Blocking,
    /// It is a future.
    Async,
}

/// A valid choice, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen<T> {
    /// `None` if the plugin chose no worker.
    pub(crate) answer: Option<T>,
    /// Who decided.
    pub(crate) generation: u64,
}

/// A call whose message is written: only the guest has to run.
#[derive(Debug)]
pub(crate) struct ReadyCall {
    lease: Lease,
    lane: Lane,
    message_len: u32,
    pub(crate) generation: u64,
    /// When the decision began, if it is one of those that are timed.
    timer: Option<Instant>,
    /// Held for the whole call of a plugin that returns state.
    state: Option<StateGuard>,
    /// True if a state in the answer means something: the other form has none, and ignores it.
    is_rows: bool,
}

/// The beginning of a call.
pub(crate) enum Start {
    /// Everything was at hand.
    Ready(ReadyCall),
    /// Something has to be waited for, or the guest must be told of a new table first.
    Slow(Box<SlowStart>),
    /// It could not begin.
    Failed(Box<Failure>),
}

/// What a slow start begins with.
#[derive(Debug)]
pub(crate) struct SlowStart {
    pub(crate) generation: Arc<Generation>,
    lease: Option<Lease>,
    timer: Option<Instant>,
    draw: Draw,
}

/// The end of a call.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    pub(crate) lease: Lease,
    pub(crate) choice: Choice<T>,
    pub(crate) generation: u64,
    pub(crate) timer: Option<Instant>,
    /// True if the guest took more than a tick on the caller's stack.
    pub(crate) overran: bool,
    /// True if it returned state, which was not kept because the calls of this generation were
    /// not serialised yet: it must be asked again.
    pub(crate) lost_state: bool,
    /// What came with the choice.
    pub(crate) more: Option<Box<More>>,
}

/// Begins a call without waiting, if nothing stands in the way.
///
/// Runs under the guard of the generation pointer, which must not live across an await.
#[inline(always)]
pub(crate) fn start<C: Candidates + ?Sized>(
    engine: &Engine,
    generation: &Arc<Generation>,
    mode: Mode,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    draw: Draw,
) -> Start {
    let timer = generation.stats.begin();
    let slow = |lease| {
        let generation = Arc::clone(generation);
        Start::Slow(Box::new(SlowStart { generation, lease, timer, draw }))
    };
    if serializes(generation) {
        return slow(None);
    }
    let Some(mut lease) = generation.pool.try_acquire() else { return slow(None) };
    let bound = generation.plan.bound(workers, info, &[]);
    let instance = lease.instance();
    if instance.told_version != workers.version().get() || !instance.has_room(bound) {
        return slow(Some(lease));
    }
    let lane = lane(generation, mode);
    lease.begin(lane, Budget::start(engine.clock(), generation.budget, generation.ticks));
    let written = lease.write(|buffer| generation.plan.encode(buffer, workers, info, &[], draw));
    match written {
        Ok(message_len) => Start::Ready(ReadyCall {
            lease,
            lane,
            message_len,
            generation: generation.id,
            timer,
            state: None,
            is_rows: generation.plan.is_rows(),
        }),
        Err(error) => Start::Failed(Failure::of_call(error, generation.id)),
    }
}

/// True if calls of this generation must not overlap, because it is sent and returns state.
#[inline]
fn serializes(generation: &Generation) -> bool {
    generation.plan.is_rows() && generation.kept.returns_rows()
}

#[inline]
fn lane(generation: &Generation, mode: Mode) -> Lane {
    if mode == Mode::Blocking { Lane::Caller } else { generation.lane.lane() }
}

/// Begins a call that has to wait for something. The budget begins when the guest may.
#[cold]
pub(crate) async fn start_slow<C: Candidates + ?Sized>(
    engine: &Engine,
    slow: Box<SlowStart>,
    mode: Mode,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<ReadyCall, CallError> {
    let SlowStart { generation, lease, timer, draw } = *slow;
    let generation = &generation;
    let began = Instant::now();
    let state = if serializes(generation) { Some(state(engine, generation, mode).await?) } else { None };
    let left = generation.wait.saturating_sub(began.elapsed());
    let mut lease = match (lease, mode) {
        (Some(lease), _) => lease,
        (None, Mode::Blocking) => generation.pool.acquire_blocking(left)?,
        (None, Mode::Async) => generation.pool.acquire(left).await?,
    };
    let lane = lane(generation, mode);
    lease.begin(lane, Budget::start(engine.clock(), generation.budget, generation.ticks));
    if lease.instance().told_version != workers.version().get() {
        lease = tell_workers(engine, lease, &generation.kept.completions, workers).await?;
    }
    let kept = state.as_ref().map_or(&[][..], |state| state.as_slice());
    let bound = generation.plan.bound(workers, info, kept);
    lease = outliving::take(engine, lease, Step::Reserve(bound)).await?;
    let message_len = lease.write(|buffer| generation.plan.encode(buffer, workers, info, kept, draw))?;
    let is_rows = generation.plan.is_rows();
    Ok(ReadyCall { lease, lane, message_len, generation: generation.id, timer, state, is_rows })
}

async fn state(engine: &Engine, generation: &Generation, mode: Mode) -> Result<StateGuard, CallError> {
    let (limit, wait) = (generation.options.max_waiting, generation.wait);
    generation.kept.rows().lock_within(engine, limit, wait, mode == Mode::Blocking).await
}

async fn tell_workers<C: Candidates + ?Sized>(
    engine: &Engine,
    mut lease: Lease,
    completions: &Completions,
    workers: &C,
) -> Result<Lease, CallError> {
    let version = workers.version().get();
    if lease.instance().can_tell(Tell::Complete) {
        // Before it is told: a caller that goes away meanwhile does not come back to this.
        completions.remember(workers);
    }
    if lease.instance().can_tell(Tell::Workers) {
        lease = outliving::take(engine, lease, Step::Reserve(table::workers_bound(workers))).await?;
        let len = lease.write(|buffer| table::encode_workers(buffer, workers))?;
        lease = outliving::take(engine, lease, Step::LearnWorkers { len, version }).await?;
    }
    lease.instance().told_version = version;
    Ok(lease)
}

impl ReadyCall {
    /// Runs the guest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future discards the instance and keeps the state as it was; where it
    /// [must end](Self::must_end), use [`Outliving`](outliving::Outliving).
    #[inline]
    pub(crate) async fn run<Q: Question>(&mut self) -> Result<Reply<Q::Answer>, CallError> {
        self.lease.ask(Q::ASK, self.message_len, Q::decode).await
    }

    /// True if the call must end although its caller goes away.
    #[inline]
    pub(crate) fn must_end(&self) -> bool {
        self.lease.must_end()
    }

    /// True if the guest runs on the caller's stack: [`run_now`](Self::run_now) does then.
    #[inline]
    pub(crate) fn is_immediate(&self) -> bool {
        self.lane != Lane::Fiber
    }

    /// Runs the guest on the caller's stack.
    #[inline(always)]
    pub(crate) fn run_now<Q: Question>(mut self) -> Result<Ended<Q::Answer>, Box<Failure>> {
        let reply = self.lease.ask_now(Q::ASK, self.message_len, Q::decode);
        self.over(reply)
    }

    /// Takes what the guest replied.
    #[inline(always)]
    pub(crate) fn over<T>(mut self, reply: Result<Reply<T>, CallError>) -> Result<Ended<T>, Box<Failure>> {
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Err(Failure::of_call(error, self.generation)),
        };
        let overran = self.lane == Lane::Adaptive && self.lease.instance().overran();
        let mut lost_state = false;
        if let Some(new) = reply.more.as_mut().and_then(|more| more.state.take()) {
            match &mut self.state {
                Some(state) => **state = new,
                None => lost_state = self.is_rows,
            }
        }
        let Self { lease, generation, timer, .. } = self;
        let Reply { choice, more } = reply;
        Ok(Ended { lease, choice, generation, timer, overran, lost_state, more })
    }
}

/// The host's check: only a choice that exists and may be made is acted on.
#[inline(always)]
pub(crate) fn check<Q: Question, C: Candidates + ?Sized>(
    choice: Choice<Q::Answer>,
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<Chosen<Q::Answer>, Box<Failure>>
where
    Q::Answer: std::fmt::Debug,
{
    match choice {
        Choice::Chosen(answer) if Q::is_valid(answer, workers, info) => {
            Ok(Chosen { answer: Some(answer), generation })
        }
        Choice::Nobody => check_nobody::<Q, C>(generation, workers, info),
        Choice::Chosen(answer) => {
            let detail = format!(
                "it chose {answer:?} of {} workers, which does not exist or may not be chosen",
                workers.len()
            );
            Err(Failure::new(FailureCause::InvalidChoice, detail, generation))
        }
        Choice::Error(error) => {
            let detail = format!("it answered \"{}\"", shown(&error));
            Err(Failure::new(FailureCause::GuestError, detail, generation))
        }
        Choice::Malformed(error) => {
            let detail = format!("its answer is malformed: {error}");
            Err(Failure::new(FailureCause::Decode, detail, generation))
        }
    }
}

/// Nobody is an answer only where nobody may be chosen. Looked for only then: a decision that chooses
/// pays nothing for it.
#[cold]
fn check_nobody<Q: Question, C: Candidates + ?Sized>(
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<Chosen<Q::Answer>, Box<Failure>> {
    if Q::has_answer(workers, info) {
        return Err(Failure::no_choice(generation));
    }
    Ok(Chosen { answer: None, generation })
}
