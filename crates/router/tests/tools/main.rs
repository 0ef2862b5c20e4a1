//! The tools for tests of routers: the load generator and the simulated worker.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic in a helper is a failed test"
)]

mod load;
mod replay;
mod simulate;
mod sim_worker;
mod calibrate;
