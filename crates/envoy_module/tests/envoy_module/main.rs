//! The module in the real Envoy.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

mod rig;
mod choices;
mod hosts;
mod swaps;
mod registry;
mod failures;
mod refusals;
