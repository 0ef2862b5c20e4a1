//! One call for a decision: take an instance, write the message, run the guest, check the answer.

use std::sync::Arc;
use std::time::Instant;

use crate::core::candidate_workers::CandidateWorkers;
use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::engine::lane::Lane;
use crate::engine::pool::Pool;
use crate::engine::pool::lease::Lease;
use crate::policies::decision::{DecideError, FailureCause};
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::outliving;
use crate::policies::wasm::decide::outliving::Step;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::decide::undecided::PutOff;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::owned::owned;
use crate::policies::wasm::message::reply::{GuestChoice, Reply};
use crate::policies::wasm::message::table;
use crate::policies::wasm::state::row_state::StateGuard;
use crate::types::shown;
use sgl_policy_abi::WaitAnswer;

/// How the caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It blocks its thread.
    Blocking,
    /// It is a future.
    Async,
}

/// Which generation is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedGeneration {
    /// The one that the request belongs to.
    Own,
    /// The stable one, because the canary failed.
    Stable,
}

/// A valid choice, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chosen<T> {
    /// `None` if the plugin chose no worker.
    pub(crate) answer: Option<T>,
    /// Who decided.
    pub(crate) generation: u64,
}

/// The outcome of one attempt.
pub(crate) enum Attempt<T> {
    Chosen(Chosen<T>),
    /// The question must be asked again, of this generation.
    Again(AskedGeneration),
    /// The choice may have gone meanwhile: the question must be asked again, and fails like this if the
    /// answer is the same.
    Gone(Box<Failure>),
    Failed(Box<Failure>),
    /// There is no choice, on purpose: what its caller is told.
    PutOff(Box<DecideError>),
}

/// How far an attempt came without waiting.
pub(crate) enum Begun<T> {
    /// Not at all.
    Not,
    /// To its end.
    Over(Attempt<T>),
    /// To the guest.
    Ready(GuestCall),
    /// To a wait: for an instance, for the state, or for a guest that must learn a new table first.
    Waits(Box<WaitingCall>),
}

/// What a waiting call holds already.
#[derive(Debug)]
pub(crate) struct WaitingCall {
    generation: Arc<Generation>,
    lease: Option<Lease>,
    since: Instant,
    draw: Draw,
}

/// A call whose message is written: only the guest has to run.
#[derive(Debug)]
pub(crate) struct GuestCall {
    lease: Lease,
    message_len: u32,
    pub(crate) generation: u64,
    /// When the decision began, if it is timed.
    pub(crate) timer: Option<Instant>,
    /// The lock on the state, held until the guest has answered; only for plugins that return state.
    state: Option<StateGuard>,
    /// True if the host keeps a state that comes with the answer: only the row form has one.
    is_rows: bool,
}

/// Begins a call without waiting, if nothing stands in the way.
///
/// Runs under the guard of the generation pointer, which must not live across an await.
#[inline(always)]
pub(crate) fn begin<T, C: CandidateWorkers>(
    generation: &Arc<Generation>,
    lane: Lane,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    draw: Draw,
) -> Begun<T> {
    let waits = |lease| {
        let generation = Arc::clone(generation);
        Begun::Waits(Box::new(WaitingCall { generation, lease, since: Instant::now(), draw }))
    };
    if serializes(generation) {
        return waits(None);
    }
    let Some(mut lease) = generation.pool.try_acquire() else { return waits(None) };
    let bound = generation.plan.bound(workers, info, &[]);
    let instance = lease.instance();
    if instance.told_version != workers.version().get() || !instance.has_room(bound) {
        return waits(Some(lease));
    }
    let timer = generation.stats.begin();
    lease.begin(lane, generation.allowance);
    match lease.write(|buffer| generation.plan.encode(buffer, workers, info, &[], draw)) {
        Ok(message_len) => Begun::Ready(GuestCall::new(generation, lease, message_len, timer, None)),
        Err(error) => Begun::Over(Attempt::Failed(Failure::of_call(error, generation.id))),
    }
}

/// True if calls of this generation must not overlap, because it is sent and returns state.
#[inline]
fn serializes(generation: &Generation) -> bool {
    generation.plan.is_rows() && generation.kept.returns_rows()
}

/// The lane of a call.
#[inline]
pub(crate) fn lane(generation: &Generation, mode: Mode) -> Lane {
    if mode == Mode::Blocking { Lane::Caller } else { generation.lane.lane() }
}

impl WaitingCall {
    /// Waits for what the call needs, then begins it. The budget starts when the guest may run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while the guest learns something discards the instance.
    #[cold]
    pub(crate) async fn begin<C: CandidateWorkers>(
        mut self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<GuestCall, Box<Failure>> {
        let began = self.begun(mode, workers, info).await;
        // A generation that went out of use was not asked: the one that is asked instead counts it.
        let counts = !matches!(began, Err(CallError::OutOfUse));
        let timer = if counts { self.generation.stats.begin().map(|_| self.since) } else { None };
        match began {
            Ok(call) => Ok(GuestCall { timer, ..call }),
            Err(error) => Err(Failure::of_call(error, self.generation.id)),
        }
    }

    async fn begun<C: CandidateWorkers>(
        &mut self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<GuestCall, CallError> {
        let generation = &self.generation;
        let began = Instant::now();
        let state = if serializes(generation) { Some(state(generation, mode).await?) } else { None };
        let left = generation.wait.saturating_sub(began.elapsed());
        let mut lease = match (self.lease.take(), mode) {
            (Some(lease), _) => lease,
            (None, Mode::Blocking) => generation.pool.acquire_blocking(left)?,
            (None, Mode::Async) => generation.pool.acquire(left).await?,
        };
        lease.begin(lane(generation, mode), generation.allowance);
        if lease.instance().told_version != workers.version().get() {
            lease = tell_workers(generation, lease, workers).await?;
        }
        let kept = state.as_ref().map_or(&[][..], |state| state.as_slice());
        let bound = generation.plan.bound(workers, info, kept);
        lease = outliving::take(generation.engine(), lease, Step::Reserve(bound)).await?;
        let (plan, draw) = (&generation.plan, self.draw);
        let message_len = lease.write(|buffer| plan.encode(buffer, workers, info, kept, draw))?;
        Ok(GuestCall::new(generation, lease, message_len, None, state))
    }
}

async fn state(generation: &Generation, mode: Mode) -> Result<StateGuard, CallError> {
    let (limit, wait) = (generation.options.max_waiting, generation.wait);
    generation.kept.rows().lock_within(generation.engine(), limit, wait, mode == Mode::Blocking).await
}

async fn tell_workers<C: CandidateWorkers>(
    generation: &Generation,
    mut lease: Lease,
    workers: &C,
) -> Result<Lease, CallError> {
    let version = workers.version().get();
    let (learns, names) = (lease.instance().can_tell(Tell::Workers), generation.plan.model_name_bytes());
    if generation.facts.has_on_complete || generation.facts.has_on_first_token {
        // Before the guest learns the table: a caller that goes away meanwhile would never get here.
        let write = |buffer: &mut [u8]| table::encode_workers(buffer, workers, names);
        let message = || learns.then(|| owned(table::workers_bound(workers, names), write)).flatten();
        generation.kept.outcomes.remember(workers, message);
    }
    if learns {
        let (engine, bound) = (generation.engine(), table::workers_bound(workers, names));
        lease = outliving::take(engine, lease, Step::Reserve(bound)).await?;
        let len = lease.write(|buffer| table::encode_workers(buffer, workers, names))?;
        lease = outliving::take(engine, lease, Step::LearnWorkers { len, version }).await?;
    }
    lease.instance().told_version = version;
    Ok(lease)
}

impl GuestCall {
    #[inline(always)]
    fn new(
        generation: &Generation,
        lease: Lease,
        message_len: u32,
        timer: Option<Instant>,
        state: Option<StateGuard>,
    ) -> Self {
        let is_rows = generation.plan.is_rows();
        Self { lease, message_len, generation: generation.id, timer, state, is_rows }
    }

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

    /// True if the call must end even if its caller goes away.
    #[inline]
    pub(crate) fn must_end(&self) -> bool {
        self.lease.must_end()
    }

    /// Runs the guest on the caller's stack, if its lane is there.
    #[inline(always)]
    pub(crate) fn run_now<Q: Question>(&mut self) -> Result<Reply<Q::Answer>, CallError> {
        self.lease.ask_now(Q::ASK, self.message_len, Q::decode)
    }

    /// True if the guest took more than a tick on a thread that other tasks need.
    #[inline]
    pub(crate) fn overran(&mut self, lane: Lane) -> bool {
        lane == Lane::Adaptive && self.lease.instance().overran()
    }

    /// The lane on which it runs.
    #[inline]
    pub(crate) fn lane(&self) -> Lane {
        self.lease.lane()
    }

    /// Keeps the state in the answer for the next call. True if the state was lost because calls of this
    /// generation were not serialised yet: the question must be asked again.
    #[inline(always)]
    pub(crate) fn loses_state<T>(&mut self, reply: &mut Reply<T>) -> bool {
        let held = self.state.take();
        let Some(new) = reply.more.as_mut().and_then(|more| more.state.take()) else { return false };
        match held {
            Some(mut state) => {
                *state = new;
                false
            }
            None => self.is_rows,
        }
    }

    /// Puts the instance back; `pool` as with [`Lease::finish`].
    #[inline(always)]
    pub(crate) fn finish(self, pool: Option<&Pool>) {
        self.lease.finish(pool);
    }

    /// Discards the instance: its guest failed.
    #[cold]
    pub(crate) fn fail(self, error: CallError) -> Box<Failure> {
        Failure::of_call(error, self.generation)
    }
}

/// The host's check: it lets through only a choice that exists and is allowed.
#[inline(always)]
pub(crate) fn check<Q: Question, C: CandidateWorkers>(
    choice: GuestChoice<Q::Answer>,
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<Chosen<Q::Answer>, Box<Failure>> {
    match choice {
        GuestChoice::Chosen(answer) if Q::is_valid(answer, workers, info) => {
            Ok(Chosen { answer: Some(answer), generation })
        }
        GuestChoice::Nobody => check_nobody::<Q, C>(generation, workers, info),
        GuestChoice::Wait(wait) => check_wait::<Q, C>(wait, generation, workers, info),
        GuestChoice::Shed(shed) => Err(Failure::put_off(PutOff::Shed(shed), generation)),
        GuestChoice::Chosen(answer) => {
            let detail = format!(
                "it chose {answer:?} of {} workers, which does not exist or may not be chosen",
                workers.len()
            );
            let may_be_gone = Q::may_be_gone(answer, workers, info);
            let failure = Failure::new(FailureCause::InvalidChoice, detail, generation);
            Err(Box::new(Failure { may_be_gone, ..*failure }))
        }
        GuestChoice::Error(error) => {
            let detail = format!("it answered \"{}\"", shown(&error));
            Err(Failure::new(FailureCause::GuestError, detail, generation))
        }
        GuestChoice::Malformed(error) => {
            let detail = format!("its answer is malformed: {error}");
            Err(Failure::new(FailureCause::Decode, detail, generation))
        }
    }
}

/// Choosing nobody is valid only if nobody may be chosen. Checked for such answers only, so that a
/// decision that chooses pays nothing for it.
#[cold]
fn check_nobody<Q: Question, C: CandidateWorkers>(
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<Chosen<Q::Answer>, Box<Failure>> {
    if Q::has_answer(workers, info) {
        return Err(Failure::no_choice(generation));
    }
    Ok(Chosen { answer: None, generation })
}

/// A request waits only where that is offered; elsewhere it is as if nobody was chosen, but for the name
/// of the failure.
#[cold]
fn check_wait<Q: Question, C: CandidateWorkers>(
    wait: WaitAnswer,
    generation: u64,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
) -> Result<Chosen<Q::Answer>, Box<Failure>> {
    if info.wait.is_some_and(|offer| !offer.left.is_zero()) {
        return Err(Failure::put_off(PutOff::Wait(wait), generation));
    }
    if Q::has_answer(workers, info) {
        return Err(Failure::wait_over(generation));
    }
    Ok(Chosen { answer: None, generation })
}
