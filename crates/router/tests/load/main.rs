//! The load generator: as a library against workers in this process, and as a command.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers stop the test where something is not as it must be"
)]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod client;
#[path = "../admin/process.rs"]
#[expect(dead_code, reason = "shared with the tests of the operations API, which use all of it")]
mod process;
#[path = "../proxy/router.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod router;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod upstream;

mod plans;

mod command;
mod comparison;
mod counts;
mod endings;
mod failures;
mod omission;
mod reports;
mod streams;
mod swaps;
