//! The simulated worker over real HTTP on loopback.

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
