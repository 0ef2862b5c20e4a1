//! How a pool's instances are made, and where they are counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::engine::error::CallError;
use crate::engine::making::InitAnswer;
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::types::future::BoxFuture;

/// What became of instances, over all pools that share it.
#[derive(Debug, Default)]
pub struct PoolTally {
    pub(crate) created: AtomicU64,
    pub(crate) recycled: AtomicU64,
    pub(crate) discarded: AtomicU64,
}

/// What the layer above adds to the making of an instance.
pub trait Recipe: Send + Sync + fmt::Debug {
    /// Where the instances of this recipe are counted, perhaps with those of other pools.
    fn tally(&self) -> Arc<PoolTally>;

    /// The message for an `init` that takes one.
    fn init_message(&self) -> Vec<u8>;

    /// What the host does for the guests.
    fn services(&self) -> Arc<dyn HostServices>;

    /// Checks `init`'s answer, and warms the instance: tells it of workers, makes decisions.
    fn warm<'a>(&'a self, trial: &'a mut Trial, answer: InitAnswer) -> BoxFuture<'a, Result<(), CallError>>;
}
