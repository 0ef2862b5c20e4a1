//! The inputs that differ from message to message by themselves: `random` and `now_ns`.

use crate::types::virtual_time;

/// The inputs that differ from decision to decision by themselves.
#[derive(Clone, Copy, Debug)]
pub enum Draw {
    /// New for this message.
    Fresh,
    /// The same for two messages that are to be compared.
    Same {
        /// The `random` input.
        random: u64,
        /// The `now_ns` input.
        now_ns: u64,
    },
}

impl Draw {
    /// A draw that can be used twice.
    pub(crate) fn shared() -> Self {
        Self::Same { random: fastrand::u64(..), now_ns: now_ns() }
    }

    #[inline]
    pub(crate) fn random(self) -> u64 {
        match self {
            Self::Fresh => fastrand::u64(..),
            Self::Same { random, .. } => random,
        }
    }

    #[inline]
    pub(crate) fn now_ns(self) -> u64 {
        match self {
            Self::Fresh => now_ns(),
            Self::Same { now_ns, .. } => now_ns,
        }
    }
}

fn now_ns() -> u64 {
    let since = virtual_time::now().saturating_duration_since(virtual_time::start());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
