//! The simulated worker over real HTTP on loopback.

pub(crate) mod client;
mod control;
mod dialects;
mod disconnects;
mod ends;
mod kv_events;
mod overload;
mod plain_answers;
mod process;
mod reports;
mod seeding;
mod shutdown;
mod streams;
