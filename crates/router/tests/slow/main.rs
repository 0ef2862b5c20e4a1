//! Runs under as many requests as the machine sustains, one after the other.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

use tokio::sync::Mutex;

mod worker;

mod spinning_crowd;
mod spinning_requests;
mod storm_crowd;
mod swap_storm;

/// Held by the run that has the machine. Another one beside it would be measured, too.
static TURN: Mutex<()> = Mutex::const_new(());
