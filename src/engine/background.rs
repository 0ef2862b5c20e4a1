//! Work that must stay off the request path: making, warming and dropping instances, timers.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::runtime::Runtime;

/// The engine's own small runtime.
///
/// Guests are made on it with the epoch yielding at every tick, so a plugin whose `init` loops
/// holds up nobody's else. It also drives timers, so callers may use any executor or none.
#[derive(Debug)]
pub(crate) struct Background {
    // An `Option` only so that `Drop` can take it.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            // Timers are looked at after every turn of a task, not after 61: a guest that loops in
            // `init` takes a whole tick each turn, and others wait on these timers.
            .event_interval(1)
            .thread_name("sgl-engine")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// Where to spawn.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// A sleep that needs no runtime of the caller's.
    pub(crate) fn sleep(&self, duration: Duration) -> tokio::time::Sleep {
        let _context = self.handle.enter();
        tokio::time::sleep(duration)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Not a plain drop: that blocks, which panics where an async caller drops the last engine.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Polls `future` inside the engine's runtime context, whoever drives it: WASI functions need
/// timers and blocking threads, and the caller may have neither.
pub(crate) async fn in_context<F: Future>(handle: &Handle, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _entered = handle.enter();
        future.as_mut().poll(context)
    })
    .await
}

/// The output of a future that never waits, such as one that runs guests on the caller's stack.
/// `None` if it did wait after all.
#[inline]
pub(crate) fn ready<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Drives a future on this thread, at most until `deadline`; `None` if it did not end by then.
pub(crate) fn block_on<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // A task of tokio's that should yield finds nothing ready, however often it asks; the caller of
    // a blocking function cannot yield.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_fires_for_a_caller_without_a_runtime() {
        let background = Background::start().unwrap();
        let sleep = background.sleep(Duration::from_millis(1));
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(block_on(sleep, deadline), Some(()));
    }

    #[test]
    fn blocking_ends_at_its_deadline() {
        let soon = Instant::now() + Duration::from_millis(2);
        assert_eq!(block_on(std::future::pending::<()>(), soon), None);
    }

    #[tokio::test]
    async fn background_can_be_dropped_by_an_async_caller() {
        drop(Background::start().unwrap());
    }
}
