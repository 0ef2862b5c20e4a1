//! An instance that was taken out of its pool.

use crate::engine::deadline::Allowance;
use crate::engine::error::CallError;
use crate::engine::exports::{Ask, Tell};
use crate::engine::instance::Instance;
use crate::engine::lane::Lane;
use crate::engine::pool::instance_pool::{Pool, Pooled};

/// Exclusive use of an instance.
///
/// Dropped outside a call, it puts the instance back. Dropped inside one (the caller's future was
/// cancelled, or the call failed), it discards the instance, whose memory is in an unknown state.
#[derive(Debug)]
pub struct Lease {
    /// `None` only after `finish`, or in `drop`.
    pooled: Option<Box<Pooled>>,
    lane: Lane,
    in_call: bool,
}

impl Lease {
    #[inline]
    pub(crate) fn new(pooled: Box<Pooled>) -> Self {
        Self { pooled: Some(pooled), lane: Lane::Fiber, in_call: false }
    }

    /// The instance.
    ///
    /// # Panics
    ///
    /// Never: a lease holds its instance until `finish` or `drop` consumes it.
    #[inline]
    pub fn instance(&mut self) -> &mut Instance {
        #[expect(clippy::expect_used, reason = "taken only by `finish` and `drop`, which consume the lease")]
        let pooled = self.pooled.as_mut().expect("a lease holds its instance");
        &mut pooled.instance
    }

    /// True if a call that has begun must end even if its caller goes away: its instance alone remembers
    /// something, and on a fiber the guest may stop in the middle.
    #[inline]
    pub(crate) fn must_end(&self) -> bool {
        let irreplaceable = || self.pooled.as_ref().is_some_and(|pooled| pooled.home.options.irreplaceable);
        self.lane == Lane::Fiber && irreplaceable()
    }

    /// The lane on which the call began.
    #[inline]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Begins a call: from here to [`finish`](Self::finish) everything runs under `allowance`, and
    /// leaving early discards the instance.
    #[inline]
    pub fn begin(&mut self, lane: Lane, allowance: Allowance) {
        self.lane = lane;
        self.in_call = true;
        self.instance().begin(lane, allowance);
    }

    /// Ends a complete call and keeps the instance.
    pub fn end(&mut self) {
        self.instance().end();
        self.in_call = false;
    }

    /// Ends a complete call and puts the instance back. `pool` is where the caller believes it came
    /// from: if that is right, this touches no reference count.
    ///
    /// An instance whose memory could not grow is discarded: it may have lost something.
    #[inline]
    pub fn finish(mut self, pool: Option<&Pool>) {
        let Some(mut pooled) = self.pooled.take() else { return };
        pooled.instance.end();
        match pool.filter(|pool| std::ptr::eq(&raw const *pooled.home, *pool)) {
            Some(pool) if !pooled.instance.growth_refused() => pool.release(pooled),
            _ => Self::finish_elsewhere(pooled),
        }
    }

    #[cold]
    fn finish_elsewhere(pooled: Box<Pooled>) {
        let home = pooled.home.clone();
        if pooled.instance.growth_refused() {
            home.discard(pooled);
        } else {
            home.release(pooled);
        }
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
        self.instance().reserve_input(bytes).await
    }

    /// Makes room for a message, sends it and lets `read` read the answer.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve), and what the guest fails with.
    pub(crate) async fn ask_message<R>(
        &mut self,
        ask: Ask,
        message: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        self.instance().ask_message(ask, message, read).await
    }

    /// Makes room for a message and sends it to an export without an answer.
    ///
    /// # Errors
    ///
    /// As [`ask_message`](Self::ask_message).
    pub(crate) async fn tell_message(&mut self, tell: Tell, message: &[u8]) -> Result<(), CallError> {
        self.instance().tell_message(tell, message).await
    }

    /// Lets `write` fill the input buffer; it returns the bytes it used, or `None` if they did
    /// not fit. Returns the used bytes.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLarge`] if the message did not fit.
    #[inline]
    pub fn write(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<u32, CallError> {
        self.instance().write_input(write)
    }

    /// Sends the first `len` bytes of the input buffer and lets `read` read the answer.
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
        self.instance().ask(ask, len, read).await
    }

    /// Like [`ask`](Self::ask), for a call that began on a lane of the caller's stack.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no answer.
    #[inline]
    pub(crate) fn ask_now<R>(
        &mut self,
        ask: Ask,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        self.instance().ask_now(ask, len, read)
    }

    /// Sends the first `len` bytes of the input buffer to an export without an answer.
    ///
    /// # Errors
    ///
    /// [`CallError`] says what went wrong.
    pub async fn tell(&mut self, tell: Tell, len: u32) -> Result<(), CallError> {
        self.instance().tell(tell, len).await
    }

    /// The guest's saved state; `None` if it keeps none.
    ///
    /// # Errors
    ///
    /// [`CallError`] says what went wrong.
    pub async fn save_state(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        self.instance().save_state().await
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
