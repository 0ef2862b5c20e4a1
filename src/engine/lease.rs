//! An instance that was taken out of its pool.

use std::time::Duration;

use crate::engine::error::CallError;
use crate::engine::instance::Ask;
use crate::engine::instance::Budget;
use crate::engine::instance::Instance;
use crate::engine::instance::Lane;
use crate::engine::instance::Tell;
use crate::engine::pool::Pool;
use crate::engine::pool::Pooled;

/// Exclusive use of an instance.
///
/// Dropped outside a call, it puts the instance back. Dropped inside one (the caller's future was
/// cancelled, or the call failed), it discards the instance, whose memory is in an unknown state.
#[derive(Debug)]
pub struct Lease {
    pooled: Option<Box<Pooled>>,
    in_call: bool,
}

impl Lease {
    #[inline]
    pub(crate) fn new(pooled: Box<Pooled>) -> Self {
        Self { pooled: Some(pooled), in_call: false }
    }

    /// Begins a decision: from here to [`finish`](Self::finish) everything runs under `budget`,
    /// and leaving early discards the instance.
    #[inline]
    pub fn begin(&mut self, lane: Lane, budget: Budget) -> LeasedCall<'_> {
        self.in_call = true;
        #[expect(clippy::expect_used, reason = "taken only by `finish` and `drop`, which consume the lease")]
        let instance = &mut self.pooled.as_mut().expect("a lease holds its instance").instance;
        instance.begin(lane, budget);
        LeasedCall { instance, lane, total: budget.total }
    }

    /// The instance itself.
    #[inline]
    pub fn instance(&self) -> Option<&Instance> {
        self.pooled.as_ref().map(|pooled| &pooled.instance)
    }

    /// Ends a complete call and puts the instance back. `pool` is where the caller believes it
    /// came from: if that is right, putting it back touches no reference count.
    #[inline]
    pub fn finish(mut self, pool: &Pool) {
        let Some(mut pooled) = self.pooled.take() else { return };
        pooled.instance.end();
        if std::ptr::eq(&raw const *pooled.home, pool) {
            pool.release(pooled);
        } else {
            let home = pooled.home.clone();
            home.release(pooled);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(pooled) = self.pooled.take() else { return };
        let home = pooled.home.clone();
        if self.in_call {
            home.discard(pooled);
        } else {
            home.put(pooled);
        }
    }
}

/// A decision in progress on a leased instance.
#[derive(Debug)]
pub struct LeasedCall<'a> {
    instance: &'a mut Instance,
    lane: Lane,
    total: Duration,
}

impl LeasedCall<'_> {
    /// The instance.
    #[inline]
    pub fn instance(&mut self) -> &mut Instance {
        self.instance
    }

    /// Makes the input buffer hold `bytes`.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the guest has no memory for it, or misbehaves.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, of this method and of the others, discards the instance.
    pub async fn reserve(&mut self, bytes: usize) -> Result<(), CallError> {
        self.instance.reserve_input(self.lane, self.total, bytes).await
    }

    /// Lets `write` fill the input buffer and returns the bytes it used.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLarge`] if `write` says that its message did not fit.
    #[inline]
    pub fn write(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<u32, CallError> {
        self.instance.write_input(write)
    }

    /// Sends the first `len` bytes of the input buffer and lets `read` look at the answer.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no answer.
    #[inline]
    pub async fn ask<R>(
        &mut self,
        ask: Ask,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        self.instance.ask(self.lane, self.total, ask, len, read).await
    }

    /// Sends the first `len` bytes of the input buffer to an export without an answer.
    ///
    /// # Errors
    ///
    /// [`CallError`] says what went wrong.
    pub async fn tell(&mut self, tell: Tell, len: u32) -> Result<(), CallError> {
        self.instance.tell(self.lane, self.total, tell, len).await
    }

    /// The guest's saved state; `None` if it keeps none.
    ///
    /// # Errors
    ///
    /// [`CallError`] says what went wrong.
    pub async fn save_state(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        self.instance.save_state(self.lane, self.total).await
    }
}
