//! Which workers a request may go to.

use sglang_router_rs::types::WorkerSet;

/// Which workers a request may go to.
#[derive(Debug)]
pub(crate) struct OfferedWorkers {
    /// Those that were tried.
    pub(crate) excluded: Option<WorkerSet>,
    /// Those that serve its model and its leg; `None` = all.
    pub(crate) eligible: Option<WorkerSet>,
    /// True if some worker is said to hold a part of prompts.
    pub(crate) some_prefix: bool,
    /// True if a prefill and a decode worker are to be chosen.
    pub(crate) is_pair: bool,
}
