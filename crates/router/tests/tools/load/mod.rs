//! The load generator: as a library against workers in this process, and as a command.

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
