//! Calls that end whether their caller waits for them or not.
//!
//! A caller that goes away drops its future. A call cut short leaves guest memory in an unknown state,
//! so its instance is discarded. A `serial` plugin remembers things only in that memory: one client that
//! hangs up would make it forget. Its calls therefore go on in the background, within their budget.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::engine::pool::lease::Lease;
use crate::engine::wasm_engine::Engine;
use crate::types::future::BoxFuture;

/// A call that owns all that it needs, and what to do with its outcome if nobody waits for it.
///
/// # Cancel safety
///
/// Dropping it hands the call to the engine's background.
pub(crate) struct Outliving<'a, T: Send + 'static, A: FnOnce(T) + Send + 'static> {
    engine: &'a Engine,
    /// `None` once it has ended.
    call: Option<BoxFuture<'static, T>>,
    alone: Option<A>,
}

impl<'a, T: Send + 'static, A: FnOnce(T) + Send + 'static> Outliving<'a, T, A> {
    pub(crate) fn new(engine: &'a Engine, call: BoxFuture<'static, T>, alone: A) -> Self {
        Self { engine, call: Some(call), alone: Some(alone) }
    }
}

/// Neither part is pinned in place: the call has a box of its own.
impl<T: Send + 'static, A: FnOnce(T) + Send + 'static> Unpin for Outliving<'_, T, A> {}

impl<T: Send + 'static, A: FnOnce(T) + Send + 'static> Future for Outliving<'_, T, A> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let Some(call) = &mut this.call else { return Poll::Pending };
        let outcome = ready!(call.as_mut().poll(context));
        this.call = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static, A: FnOnce(T) + Send + 'static> Drop for Outliving<'_, T, A> {
    fn drop(&mut self) {
        if let (Some(call), Some(alone)) = (self.call.take(), self.alone.take()) {
            self.engine.background.handle().spawn(async move { alone(call.await) });
        }
    }
}

/// What a guest is asked to do before its decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// To make room for a message of so many bytes.
    Reserve(usize),
    /// To learn the table of that version, which is in the buffer.
    LearnWorkers { len: u32, version: u64 },
}

/// Makes the guest take a step. If guest memory must not be lost, the step ends even if the caller goes
/// away, and the instance then goes back.
pub(crate) async fn take(engine: &Engine, lease: Lease, step: Step) -> Result<Lease, CallError> {
    let (lease, outcome) = if lease.must_end() {
        let alone = |(mut lease, outcome): (Lease, Result<(), CallError>)| {
            if outcome.is_ok() {
                lease.end();
            }
        };
        Outliving::new(engine, Box::pin(taken(lease, step)), alone).await
    } else {
        taken(lease, step).await
    };
    outcome?;
    Ok(lease)
}

async fn taken(mut lease: Lease, step: Step) -> (Lease, Result<(), CallError>) {
    let outcome = match step {
        Step::Reserve(bytes) => lease.reserve(bytes).await,
        Step::LearnWorkers { len, version } => {
            let told = lease.tell(Tell::Workers, len).await;
            if told.is_ok() {
                lease.instance().told_version = version;
            }
            told
        }
    };
    (lease, outcome)
}
