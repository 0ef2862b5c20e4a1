//! All flags of the other routers.

use crate::cli::foreign::flag::{FlagOwner, ForeignFlag};
use crate::cli::foreign::of_models::OF_MODELS;
use crate::cli::foreign::of_operations::OF_OPERATIONS;
use crate::cli::foreign::of_policies::OF_POLICIES;
use crate::cli::foreign::of_security::OF_SECURITY;
use crate::cli::foreign::of_workers::OF_WORKERS;

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static ForeignFlag> {
    [OF_WORKERS, OF_POLICIES, OF_OPERATIONS, OF_SECURITY, OF_MODELS].into_iter().flatten()
}

/// Flags of sglang-router that have no other form where it shares a command line with an engine.
const WITHOUT_PREFIX: [&str; 3] = ["worker-urls", "host", "port"];

/// True for a flag of sglang-router that is known with the prefix `--router-` too.
pub(crate) fn may_have_prefix(name: &str) -> bool {
    let is_sglangs = |flag: &ForeignFlag| matches!(flag.owner, FlagOwner::Both | FlagOwner::Sglang);
    find(name).is_some_and(is_sglangs) && !WITHOUT_PREFIX.contains(&name)
}

/// The flag of that name, without dashes.
pub fn find(name: &str) -> Option<&'static ForeignFlag> {
    all().find(|flag| flag.name == name)
}
