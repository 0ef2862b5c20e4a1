//! What the benches share.

pub mod decision;
