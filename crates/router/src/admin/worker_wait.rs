//! Waits for a worker that was added.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::proxy::Backends;
use crate::proxy::target::Target;
use sgl_api::Problem;
use sglang_router_rs::core::Worker;

/// How often the worker is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// How long is waited, as a query has it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct WaitLimit {
    wait_secs: Option<u64>,
}

impl WaitLimit {
    /// The limit, which is zero if none is given.
    ///
    /// # Errors
    ///
    /// 400 if it is too long.
    pub(crate) fn checked(self) -> Result<Duration, Problem> {
        let limit = Duration::from_secs(self.wait_secs.unwrap_or_default());
        if limit > MAX_WAIT {
            let detail =
                format!("wait_secs: found {}; allowed: 0 to {}", limit.as_secs(), MAX_WAIT.as_secs());
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Ok(limit)
    }
}

/// Waits until the worker may be chosen, is gone, or the time is over.
///
/// # Cancel safety
///
/// Dropping the future only ends the wait.
pub(crate) async fn healthy_or_over(backends: &Backends, target: &Arc<Target>, limit: Duration) {
    let url = target.endpoint().url().to_string();
    let deadline = Instant::now() + limit;
    loop {
        // It may have become several candidates since: its data-parallel ranks.
        let targets = backends.targets(&url);
        let is_settled = targets.is_empty() || targets.iter().any(|target| target.worker().is_healthy());
        let now = Instant::now();
        if is_settled || now >= deadline {
            return;
        }
        tokio::time::sleep(LOOK.min(deadline - now)).await;
    }
}
