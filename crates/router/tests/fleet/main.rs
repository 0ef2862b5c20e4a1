//! Routers of a fleet, as processes, with NATS' own server.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

mod member;

mod faults;
mod loads;
mod metrics;
mod operators;
mod rollouts;
