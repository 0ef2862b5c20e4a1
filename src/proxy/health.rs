//! The keeper of one worker: asks for its health, lets it recover, prunes its connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::Full;

use crate::config::checked::HealthSettings;
use crate::core::Worker;
use crate::core::WorkerReport;
use crate::proxy::load_report;
use crate::proxy::second_run::SecondRun;
use crate::proxy::target::Target;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::Outgoing;

/// How often idle connections are looked at.
const PRUNE_INTERVAL: Duration = Duration::from_secs(5);

/// The most that is read of a health answer or a load report.
const MAX_ANSWER_BYTES: usize = 1 << 20;

const LOAD_PATH: &str = "/get_load";

/// Looks after a worker for as long as it is polled.
///
/// # Cancel safety
///
/// Dropping the future ends the looking after and nothing else.
pub async fn keep(target: Arc<Target>, settings: HealthSettings) {
    let checks = check_for_ever(&target, &settings);
    let pruning = async {
        loop {
            tokio::time::sleep(PRUNE_INTERVAL).await;
            target.pool().prune();
        }
    };
    tokio::join!(checks, target.recover(), pruning);
}

async fn check_for_ever(target: &Target, settings: &HealthSettings) {
    let Some(interval) = settings.interval else { return std::future::pending().await };
    let mut streak = Streak::default();
    let mut polls_load = settings.poll_load;
    loop {
        let passed = matches!(get(target, &settings.endpoint, settings.timeout).await, Some(answer) if answer.0.is_success());
        if let Some(passing) = streak.after(passed, settings) {
            tracing::info!(worker = target.worker().url(), passing, "health check");
            target.set_passing(passing);
            if !passing {
                target.worker().set_report(&WorkerReport::UNKNOWN);
            }
        }
        target.checked(passed).await;
        if passed && polls_load {
            polls_load = poll_load(target, settings.timeout).await;
        }
        tokio::time::sleep(jittered(interval)).await;
    }
}

/// Up to a tenth less, so that checks of many workers do not come in bursts.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64() / 10.0)
}

/// Checks in a row with the same result.
#[derive(Debug, Default)]
struct Streak {
    passing: Option<bool>,
    against: u32,
}

impl Streak {
    /// The new state, if this check changed it.
    fn after(&mut self, passed: bool, settings: &HealthSettings) -> Option<bool> {
        if self.passing == Some(passed) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.passing, passed) {
            // Nothing is known of a new worker, so its first check decides.
            (None, _) => 1,
            (_, true) => settings.successes,
            (_, false) => settings.failures,
        };
        if self.against < needed {
            return None;
        }
        *self = Self { passing: Some(passed), against: 0 };
        Some(passed)
    }
}

/// Asks for the load. False if the worker does not offer it, so that asking again is no use.
async fn poll_load(target: &Target, limit: Duration) -> bool {
    let Some((status, body)) = get(target, LOAD_PATH, limit).await else { return true };
    if let Some(report) = load_report::read(&body).filter(|_| status.is_success()) {
        target.worker().set_report(&report);
    }
    !matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Asks a worker for something small; `None` if there is no answer within the limit.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub async fn get(target: &Target, path: &str, limit: Duration) -> Option<(StatusCode, Vec<u8>)> {
    let uri: Uri = path.parse().ok()?;
    let asked = async {
        let answer = target.call(|| request(target, &uri), &SecondRun::default()).await;
        let answer: Answer =
            answer.inspect_err(|error| tracing::debug!(worker = target.worker().url(), %error, path)).ok()?;
        let (head, mut body) = answer.into_parts();
        let whole = body.collect(MAX_ANSWER_BYTES).await?;
        if let Some(connection) = body.reclaim() {
            target.pool().put(connection);
        }
        Some((head.status, whole))
    };
    tokio::time::timeout(limit, asked).await.ok().flatten()
}

fn request(target: &Target, uri: &Uri) -> Outgoing {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(header::HOST, target.host().clone());
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HealthSettings {
        HealthSettings {
            interval: None,
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 2,
            endpoint: "/health".to_owned(),
            poll_load: false,
        }
    }

    #[test]
    fn first_check_decides_alone_and_later_ones_need_a_row() {
        let mut streak = Streak::default();
        let mut after = |passed| streak.after(passed, &settings());
        assert_eq!(after(true), Some(true));
        assert_eq!([after(false), after(false), after(true)], [None, None, None], "the row was broken");
        assert_eq!([after(false), after(false), after(false)], [None, None, Some(false)]);
        assert_eq!([after(true), after(false), after(true), after(true)], [None, None, None, Some(true)]);
    }
}
