//! Keeps up what the policy reads of workers: the index of prefixes, and what feeds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::manage::Placing;
use crate::proxy::roster::Roster;
use sglang_router_rs::policies::FleetNeeds;

/// How often the policy is asked: an operation of an operator changes it, so there is no hurry.
const LOOK: Duration = Duration::from_millis(250);

/// Follows the needs of policies for as long as it is polled; what is `recorded` is needed all the time.
///
/// # Cancel safety
///
/// Dropping the future ends the following.
pub(crate) async fn keep(policies: Arc<Placing>, recorded: FleetNeeds, roster: Arc<Roster>) {
    loop {
        let needs = policies.fleet_needs().and(recorded);
        if let Some(index) = roster.serve(needs) {
            tracing::info!("nobody wants to know what workers hold: the index is given up");
            // A large one takes long to give back. It fails at the end of the runtime only.
            let _ = tokio::task::spawn_blocking(move || drop(index)).await;
        }
        sleep(LOOK).await;
    }
}
