//! Carries a serial guest's memory from one generation to the next.
//!
//! The new generation is already the stable one, and its only instance is held: its callers queue. The
//! old instance is leased behind the old generation's last caller and parked: a late caller of the old
//! generation is turned away and asks the new one. So one of the two makes each decision, exactly once.

use std::time::Duration;

use crate::engine::deadline::Allowance;
use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::engine::lane::Lane;
use crate::engine::pool::lease::Lease;
use crate::policies::wasm::load::generation::Generation;

/// Longest wait for the old generation's callers, and the budget of each of the two calls.
const HAND_OVER_BUDGET: Duration = Duration::from_secs(1);

/// Takes the only instance of a generation that has no callers yet, or no more.
pub(crate) async fn hold(next: &Generation) -> Result<Lease, CallError> {
    match next.wake() {
        Some(parked) => Ok(parked),
        None => next.pool.acquire(HAND_OVER_BUDGET).await,
    }
}

/// Moves the old guest's state to the held instance, and then lets that instance serve.
pub(crate) async fn carry(old: &Generation, next: &Generation, mut held: Lease) -> Result<(), CallError> {
    let mut giver = old.pool.acquire(HAND_OVER_BUDGET).await?;
    old.pool.suspend();
    let allowance = Allowance::new(HAND_OVER_BUDGET, old.engine().clock());
    giver.begin(Lane::Fiber, allowance);
    let state = giver.save_state().await?.unwrap_or_default();
    giver.end();
    held.begin(Lane::Fiber, allowance);
    held.tell_message(Tell::RestoreState, &state).await?;
    // From here on the old guest's memory is out of date.
    old.park(giver);
    held.finish(Some(&next.pool));
    Ok(())
}
