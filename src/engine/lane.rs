//! How a call runs its guest.

use crate::engine::deadline::Stack;

/// How a call runs its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// On the caller's stack, until the budget is spent.
    Caller,
    /// On the caller's stack; if that takes more than a tick, another thread takes over the other work
    /// of the caller's thread.
    Adaptive,
    /// On a fiber that yields after two ticks and then at every one. A guest that may wait for the host
    /// also gets a timer and the engine's runtime context.
    Fiber,
}

impl Lane {
    /// The stack that it uses, as far as a deadline cares.
    #[inline]
    pub(crate) fn stack(self) -> Stack {
        match self {
            Self::Caller => Stack::Caller,
            Self::Adaptive => Stack::Polled,
            Self::Fiber => Stack::Fiber,
        }
    }
}
