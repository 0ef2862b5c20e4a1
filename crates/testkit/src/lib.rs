//! What tests of several crates share.
#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a panic in a helper is a failed test"
)]

mod repository;
pub mod modules;

mod fetched_program;
pub mod nats_server;
pub mod nats_cluster;

pub mod waits;
pub mod fleets;
pub mod plugins;

pub mod text;
pub mod manifest;
pub mod guest;
pub mod small_guests;
pub mod commanded;

#[cfg(feature = "router")]
pub mod client;
#[cfg(feature = "router")]
pub mod upstream;
#[cfg(feature = "router")]
pub mod raw;
#[cfg(feature = "router")]
pub mod router;
#[cfg(feature = "router")]
pub mod process;
#[cfg(feature = "router")]
pub mod envoy;
