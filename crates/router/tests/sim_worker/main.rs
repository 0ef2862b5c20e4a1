//! The simulated worker over real HTTP on loopback.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

mod client;
mod control;
mod disconnects;
mod overload;
mod plain_answers;
mod process;
mod reports;
mod seeding;
mod shutdown;
mod streams;
