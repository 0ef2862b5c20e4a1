//! Compiles modules and warms first instances on few threads of low priority, so that a swap takes only
//! what request threads leave over.

use std::future::Future;
use std::{io, panic};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

/// Added to the nice value of compiling threads, each of which takes a core for up to seconds.
const COMPILER_NICE: i32 = 10;

/// Added to the nice value of the warming thread. Smaller, since guests have wall-clock budgets: on a
/// machine without an idle core it still gets a quarter of one.
const WARMER_NICE: i32 = 5;

/// Threads for the work before a swap. They start with the engine and sleep in between.
#[derive(Debug)]
pub(crate) struct Preparation {
    compilers: ThreadPool,
    // An `Option` only so that `Drop` can take it.
    runtime: Option<Runtime>,
}

impl Preparation {
    /// One compiling thread for each four cores, and one that warms.
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compilers = ThreadPoolBuilder::new()
            .num_threads(cores.div_ceil(4))
            .thread_name(|number| format!("sgl-compile-{number}"))
            .start_handler(|_| lower_priority(COMPILER_NICE))
            .build()
            .map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("sgl-prepare")
            .on_thread_start(|| lower_priority(WARMER_NICE))
            .enable_all()
            .build()?;
        Ok(Self { compilers, runtime: Some(runtime) })
    }

    /// Compiles on the compiling threads; blocks the caller until that is done.
    pub(crate) fn compile<T: Send>(&self, compile: impl FnOnce() -> T + Send) -> T {
        // The compiler's own parallelism stays in the pool that starts it.
        self.compilers.install(compile)
    }

    /// Runs a future on the warming thread; `None` if the engine is shutting down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the work at its next await.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = self.runtime.as_ref()?.spawn(work);
        let _stop = AbortOnDrop(task.abort_handle());
        match task.await {
            Ok(done) => Some(done),
            Err(stopped) => match stopped.try_into_panic() {
                Ok(cause) => panic::resume_unwind(cause),
                Err(_) => None,
            },
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        // Not a plain drop: that blocks, which panics where an async caller drops the last engine.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lowers the calling thread's priority. Does nothing where threads have no priority of their own; if
/// the system refuses, only the priority is wrong.
fn lower_priority(nice: i32) {
    #[cfg(target_os = "linux")]
    {
        // On Linux "this process" is this thread.
        let now = rustix::process::getpriority_process(None).unwrap_or(0);
        if let Err(error) = rustix::process::setpriority_process(None, now + nice) {
            tracing::debug!(%error, "the priority of a thread cannot be lowered");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_that_prepare_are_nicer_than_their_caller() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let preparation = Preparation::start().unwrap();
        let own = nice();
        let expected = |nice: i32| (own + nice).min(19);
        assert_eq!(preparation.compile(nice), expected(COMPILER_NICE));
        assert_eq!(preparation.run(async move { nice() }).await, Some(expected(WARMER_NICE)));
        assert_eq!(nice(), own);
    }

    #[tokio::test]
    async fn work_stops_when_nobody_waits_for_it() {
        struct Signal(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Signal {
            fn drop(&mut self) {
                let _ = self.0.take().map(|send| send.send(()));
            }
        }
        let preparation = Preparation::start().unwrap();
        let (send, stopped) = tokio::sync::oneshot::channel();
        let signal = Signal(Some(send));
        let (begin, begun) = tokio::sync::oneshot::channel();
        let work = preparation.run(async move {
            let _signal = signal;
            let _ = begin.send(());
            std::future::pending::<()>().await;
        });
        tokio::select! {
            _ = work => panic!("it never ends"),
            begun = begun => begun.unwrap(),
        }
        stopped.await.unwrap();
    }
}
