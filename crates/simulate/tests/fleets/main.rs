//! Fleets in which something is special: sessions, pairs and ranks, workers that something befalls.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

mod sweeps;

mod parts;
mod repeats;
mod sessions;
mod traits;
mod upsets;
