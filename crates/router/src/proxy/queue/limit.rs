//! How many requests are served at a time.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The requests that are served at a time. Who waits for one to end gets its turn in the order of
/// waiting.
#[derive(Debug)]
pub(crate) struct TurnLimit {
    most: usize,
    free: Arc<Semaphore>,
}

/// A request that is served. It counts until this is dropped.
#[derive(Debug)]
pub(crate) struct GivenTurn(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl TurnLimit {
    /// Nobody is served yet.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(most)) }
    }

    /// One more, if nobody waits and it is not too many.
    pub(crate) fn admit_now(&self) -> Option<GivenTurn> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(GivenTurn)
    }

    /// One more, in its turn.
    ///
    /// # Errors
    ///
    /// Never: it is not closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line.
    pub(crate) async fn admit(&self) -> Result<GivenTurn, AcquireError> {
        Arc::clone(&self.free).acquire_owned().await.map(GivenTurn)
    }

    /// True if one more would have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// How many are served now.
    pub(crate) fn served(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }
}
