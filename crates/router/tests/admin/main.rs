//! The operations API, its command line, the watched directory and the state directory, over real
//! HTTP and with real processes.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers stop the test where something is not as it must be"
)]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod client;
#[path = "../proxy/router.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod router;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod upstream;

mod api;
mod process;

mod change_log;
mod changes;
mod command_line;
mod decisions;
mod description;
mod held;
mod pages;
mod push;
mod refusals;
mod rollouts;
mod signatures;
mod state_dir;
mod strange_files;
mod watched_dir;
