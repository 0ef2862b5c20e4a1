//! Why the plugin chose nobody: it failed, or it did so on purpose.

use std::time::Duration;

use sgl_policy_abi::{ShedAnswer, WaitAnswer};

use crate::policies::decision::{DecideError, FailureCause};
use crate::policies::wait::{Wait, WaitKey};

/// An answer that chooses nobody on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PutOff {
    /// The request waits, and is asked again.
    Wait(WaitAnswer),
    /// The request is refused.
    Shed(ShedAnswer),
}

/// Why there is no choice of the plugin. Small: each decision has room for it.
#[derive(Debug)]
pub(crate) enum Undecided {
    /// The failure policy decides.
    Failed(FailureCause),
    /// It stands.
    PutOff(Box<DecideError>),
}

impl From<FailureCause> for Undecided {
    fn from(cause: FailureCause) -> Self {
        Self::Failed(cause)
    }
}

impl PutOff {
    /// What the caller is told.
    pub(crate) fn told(self, generation: u64, reasks: u32) -> DecideError {
        match self {
            Self::Wait(WaitAnswer { key, deadline_ms }) => {
                let at_most = deadline_ms.map_or(Duration::MAX, Duration::from_millis);
                DecideError::Wait(Wait { key: WaitKey::new(key), at_most, generation, reasks })
            }
            Self::Shed(ShedAnswer { retry_after_ms }) => {
                DecideError::Shed { retry_after: Duration::from_millis(retry_after_ms), generation }
            }
        }
    }
}
