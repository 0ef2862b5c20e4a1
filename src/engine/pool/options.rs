//! What can be set for a pool of instances.

use std::time::Duration;

/// What can be set for a pool.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Instances to keep ready.
    pub min_warm: usize,
    /// Most instances.
    pub max_instances: usize,
    /// Callers that may wait.
    pub max_waiting: usize,
    /// True if every call gets an instance that no call has used before.
    pub fresh: bool,
    /// True if the memory of the only instance holds what nothing else does.
    pub irreplaceable: bool,
    /// Calls after which an instance is replaced, give or take a tenth; 0 = never.
    pub recycle_after_calls: u64,
    /// Age at which an instance is replaced, give or take a tenth; zero = never.
    pub recycle_after: Duration,
    /// Growth of linear memory since warm-up after which an instance is replaced; 0 = never.
    pub recycle_growth_bytes: usize,
    /// Budget of each step of making an instance.
    pub make_budget: Duration,
}

impl PoolOptions {
    /// Instances that the pool keeps.
    pub(crate) fn warm_target(&self) -> usize {
        if self.fresh { self.max_instances } else { self.min_warm }
    }
}
