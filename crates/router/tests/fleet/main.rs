//! Routers of a fleet, as processes, with NATS' own server.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

mod member;

mod access;
mod cluster;
mod faults;
mod going_back;
mod loads;
mod long_away;
mod mending;
mod metrics;
mod operators;
mod prefixes;
mod rollouts;
mod traffic;
