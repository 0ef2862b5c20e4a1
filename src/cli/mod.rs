//! The subcommands of `sgl-router`, one file each.

pub mod flags;
pub mod assembly;
pub mod serve;
