//! Work that must stay off the request path: making, warming and dropping instances, timers.

use std::future::Future;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

/// How long a thread that gave up its work sleeps, so that another takes it over. Starting a thread
/// takes a tenth of that.
const TAKING_OVER: Duration = Duration::from_micros(500);

/// The engine's own small runtime.
///
/// Guests that are made on it yield at every tick, so a plugin whose `init` loops does not hold up other
/// plugins. It also drives timers, so callers may use any executor or none.
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
            // Checks timers after every turn of a task, not after 61: a guest that loops in `init` takes
            // a whole tick each turn, and others wait on these timers.
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

/// Lets another thread take over this thread's other work: a call on the stack of a runtime's thread
/// blocks all tasks there, and perhaps all sockets, for as long as it takes. Needs a multi-threaded
/// runtime of tokio; elsewhere it does nothing.
#[cold]
pub(crate) fn give_thread_up() {
    // A `LocalSet` refuses by a panic, and nothing tells beforehand. One refusal is enough to know.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let several = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    let in_task = tokio::task::try_id().is_some() && Handle::try_current().is_ok_and(several);
    // Relaxed: one refusal more does no harm.
    if !in_task || REFUSED.load(Ordering::Relaxed) {
        return;
    }
    // The runtime gives the work back to this thread if no other has taken it by the end of this.
    let given = catch_unwind(|| tokio::task::block_in_place(|| thread::sleep(TAKING_OVER)));
    if given.is_err() {
        REFUSED.store(true, Ordering::Relaxed);
    }
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
    // A task of tokio's that has used up its turn finds nothing ready until it yields, which the caller
    // of a blocking function cannot do.
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
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_beside_a_thread_that_was_given_up() {
        let (ran, runs) = std::sync::mpsc::channel();
        let caller = tokio::spawn(async move {
            tokio::spawn(async move { ran.send(()) });
            // This thread still has the task, like a guest that goes on. Offers it again and again: the
            // system may start no other thread in time.
            (0..100).any(|_| {
                give_thread_up();
                runs.recv_timeout(Duration::from_millis(100)).is_ok()
            })
        });
        assert!(caller.await.unwrap());
    }

    #[tokio::test]
    async fn runtime_with_one_thread_keeps_it() {
        tokio::spawn(async { give_thread_up() }).await.unwrap();
    }
}
