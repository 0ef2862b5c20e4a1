//! All flags of the other routers.

use crate::cli::foreign::flag::ForeignFlag;
use crate::cli::foreign::of_models::OF_MODELS;
use crate::cli::foreign::of_operations::OF_OPERATIONS;
use crate::cli::foreign::of_policies::OF_POLICIES;
use crate::cli::foreign::of_security::OF_SECURITY;
use crate::cli::foreign::of_workers::OF_WORKERS;

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static ForeignFlag> {
    [OF_WORKERS, OF_POLICIES, OF_OPERATIONS, OF_SECURITY, OF_MODELS].into_iter().flatten()
}

/// The flag of that name, without dashes.
pub fn find(name: &str) -> Option<&'static ForeignFlag> {
    all().find(|flag| flag.name == name)
}
