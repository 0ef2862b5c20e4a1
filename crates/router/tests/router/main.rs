//! The router: what it does for clients and operators, as a library and as a process, and what its
//! documents say of it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic in a helper is a failed test"
)]

mod admin;
mod authors;
mod command_line;
mod compiler_process;
mod docs;
mod held_heads;
mod picker;
mod plugins_over_http;
mod proxy;
mod registries;
mod sources;
mod tls;
mod start_check;
