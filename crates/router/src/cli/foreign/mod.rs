//! The flags of sglang-router 0.3.2 and vllm-router 0.1.17: what becomes of each, in one list from which
//! the parser and the table of `docs/migration.md` are made.

mod flag;
mod of_workers;
mod of_policies;
mod of_operations;
mod of_security;
mod of_models;
mod list;
mod given;
mod effects;
mod page;

pub use crate::cli::foreign::flag::{FlagFate, FlagOwner, FlagValues, ForeignFlag};
pub use crate::cli::foreign::given::ForeignArgs;
pub use crate::cli::foreign::list::{all, find};
pub use crate::cli::foreign::page::{changed_defaults, flag_table, policy_table};

pub(crate) use crate::cli::foreign::effects::{
    check_halves, lay_over, policy_of_halves, policy_settings, warnings,
};
pub(crate) use crate::cli::foreign::list::may_have_prefix;
