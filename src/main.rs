//! The `sgl-router` binary.
fn main() {}
