//! Runs a guest: its store, one call on its stack, and the meaning of a failed call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::{Store, TypedFunc, WasmParams, WasmResults};

use crate::engine::background::in_context;
use crate::engine::clock::CallMark;
use crate::engine::compiled::Compiled;
use crate::engine::deadline::Stack;
use crate::engine::error::CallError;
use crate::engine::sandbox::{HostServices, StoreData};
use crate::engine::wasm_engine::Engine;

/// One guest call, on the stack and under the budget that it began with.
///
/// Takes the parts separately, so that no export is cloned: a clone writes reference counts that all
/// instances share.
#[inline]
pub(crate) async fn run<P, R>(
    store: &mut Store<StoreData>,
    compiled: &Compiled,
    mark: &CallMark,
    func: &TypedFunc<P, R>,
    params: P,
) -> Result<R, CallError>
where
    P: WasmParams + Sync,
    R: WasmResults + Sync,
{
    let result = match store.data().deadline.stack() {
        Stack::Caller | Stack::Polled => func.call(&mut *store, params),
        Stack::Fiber if !compiled.host_futures => func.call_async(&mut *store, params).await,
        Stack::Fiber => {
            let deadline = &mut store.data_mut().deadline;
            let left = deadline.left(&compiled.engine.clock, mark).unwrap_or(deadline.total());
            let call = func.call_async(&mut *store, params);
            timed(&compiled.engine, mark, left, call).await
        }
    };
    result.map_err(|error| explain(store, &error))
}

/// A store for one guest, whose deadline the epoch checks.
pub(crate) fn new_store(
    compiled: &Compiled,
    mark: &Arc<CallMark>,
    services: Arc<dyn HostServices>,
) -> Result<Store<StoreData>, CallError> {
    let guest = compiled
        .sandbox
        .guest(services)
        .map_err(|error| CallError::Unavailable { reason: error.to_string() })?;
    let mut store = Store::new(&compiled.engine.wasm, guest);
    store.limiter(|guest| &mut guest.limits);
    let (clock, mark) = (Arc::clone(&compiled.engine.clock), Arc::clone(mark));
    store.epoch_deadline_callback(move |mut context| Ok(context.data_mut().deadline.look(&clock, &mark)));
    Ok(store)
}

/// Runs a guest that may wait for the host. The epoch does not reach it while it waits, so a timer ends
/// it. The timer does not end a guest that waits for its executor: such a guest has not run for that
/// long, and the epoch checks it when it does.
pub(crate) async fn timed<R>(
    engine: &Engine,
    mark: &CallMark,
    total: Duration,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> wasmtime::Result<R> {
    let mut limit = pin!(engine.background.sleep(total));
    let mut call = pin!(in_context(engine.background.handle(), call));
    poll_fn(|context| {
        if let Poll::Ready(result) = call.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        let over = limit.is_elapsed() || limit.as_mut().poll(context).is_ready();
        if over && !mark.gave_way() {
            Poll::Ready(Err(wasmtime::Trap::Interrupt.into()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// The meaning of a failed call: tells timeouts and memory failures from other traps.
#[cold]
pub(crate) fn explain(store: &Store<StoreData>, error: &wasmtime::Error) -> CallError {
    let guest = store.data();
    let trap = error.downcast_ref::<wasmtime::Trap>();
    if guest.deadline.expired || trap == Some(&wasmtime::Trap::Interrupt) {
        return CallError::Timeout { budget: guest.deadline.total() };
    }
    if guest.limits.refused {
        return CallError::Memory { limit_bytes: guest.limits.max_bytes() };
    }
    let reason = trap.map_or_else(|| format!("{:#}", error), ToString::to_string);
    CallError::Trap { reason: guest.words.lock().before(reason) }
}
