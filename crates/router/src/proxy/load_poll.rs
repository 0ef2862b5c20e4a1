//! Asks one worker for its load, and forgets what it said once that is too old.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::checked::HealthSettings;
use crate::proxy::target::Target;
use crate::proxy::{load_report, own_questions};
use sglang_router_rs::core::WorkerReport;

/// Where SGLang tells of its load: since 0.5, and before.
const PATHS: [&str; 2] = ["/v1/loads?include=core", "/get_load"];

/// After so many intervals without a report, a worker's load is unknown.
const STALE_INTERVALS: u32 = 3;

/// The longest time between two questions to a worker that has no such path.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What became of a question.
enum Heard {
    /// A report, at this path.
    Report(&'static str, WorkerReport),
    /// No answer, or none that can be read.
    Nothing,
    /// The worker does not know the paths.
    NotOffered,
}

/// Asks in every interval while the worker passes its checks, and at once when it comes up. One that
/// does not know the paths is asked more and more rarely, but for ever: another engine may come up at
/// its URL.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn keep(target: &Target, settings: &HealthSettings, interval: Duration, came_up: &Notify) {
    let mut age = Age { target, limit: interval * STALE_INTERVALS, stale_at: None };
    let (mut known, mut pause) = (None, interval);
    loop {
        if !target.is_passing() {
            age.watched(came_up.notified()).await;
            pause = interval;
        }
        match age.watched(hear(target, known, settings.timeout)).await {
            Heard::Report(path, report) => {
                age.renew(&report);
                (known, pause) = (Some(path), interval);
            }
            Heard::Nothing => pause = interval,
            Heard::NotOffered => (known, pause) = (None, (pause * 2).min(MAX_PAUSE.max(interval))),
        }
        let waited = async {
            tokio::select! {
                () = came_up.notified() => true,
                () = tokio::time::sleep(own_questions::jittered(pause)) => false,
            }
        };
        if age.watched(waited).await {
            pause = interval;
        }
    }
}

/// Asks at the path that is known, then at the others.
async fn hear(target: &Target, known: Option<&'static str>, limit: Duration) -> Heard {
    let mut is_offered = false;
    for path in known.into_iter().chain(PATHS.into_iter().filter(|path| known != Some(*path))) {
        let Some((status, body)) = own_questions::get(target, path, limit).await else {
            return Heard::Nothing;
        };
        if let Some(report) = load_report::read(&body).filter(|_| status.is_success()) {
            return Heard::Report(path, report);
        }
        is_offered |= !own_questions::is_absent(status);
    }
    if is_offered { Heard::Nothing } else { Heard::NotOffered }
}

/// When the last report of a worker is too old.
struct Age<'a> {
    target: &'a Target,
    limit: Duration,
    stale_at: Option<Instant>,
}

impl Age<'_> {
    fn renew(&mut self, report: &WorkerReport) {
        self.target.worker().set_report(report);
        self.stale_at = Some(Instant::now() + self.limit);
    }

    /// Waits for `event`; what was reported is forgotten in time meanwhile.
    async fn watched<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        if let Some(stale_at) = self.stale_at {
            tokio::select! {
                biased;
                happened = &mut event => return happened,
                () = tokio::time::sleep_until(stale_at) => {}
            }
            self.target.worker().set_report(&WorkerReport::UNKNOWN);
            self.stale_at = None;
        }
        event.await
    }
}
