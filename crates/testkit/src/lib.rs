//! What tests of several crates share.

pub mod repository;
pub mod modules;
