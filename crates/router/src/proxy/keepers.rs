//! The tasks that look after workers.

use std::collections::HashMap;

use tokio::task::{JoinHandle, JoinSet};

use crate::proxy::worker_origin::WorkerOrigin;

/// What the owner of workers keeps of them, under its lock.
#[derive(Debug, Default)]
pub(crate) struct Keepers {
    /// By the URLs of their workers.
    pub(crate) present: HashMap<String, Keeper>,
    /// By the URLs of workers that are there until they are drained: which removal waits for that.
    pub(crate) leaving: HashMap<String, u64>,
    /// By their URLs: where workers come from, those that are leaving included.
    pub(crate) origins: HashMap<String, WorkerOrigin>,
    /// How many removals were begun.
    pub(crate) removals: u64,
    /// Looks after what the policy reads of workers.
    pub(crate) upkeep: Option<Keeper>,
    /// Of workers that were removed and may have requests in flight.
    pub(crate) removed: JoinSet<()>,
}

/// A task that ends with this value.
#[derive(Debug)]
pub(crate) struct Keeper(pub(crate) JoinHandle<()>);

impl Keeper {
    /// Ends it, and waits until it has ended: some of what it waits for tells only one.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        // It was aborted, which is no news.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
