//! What a failed decision means.

use crate::engine::error::CallError;
use crate::policies::decision::FailureCause;

/// A decision that a plugin did not make.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: FailureCause,
    /// One line for the log.
    pub(crate) detail: String,
    /// Whose failure it is, if an instance was at work.
    pub(crate) generation: Option<u64>,
    /// True if the guest is to blame; a full queue says nothing about it.
    pub(crate) counts: bool,
    /// True if the generation went out of use while the caller came to it.
    pub(crate) out_of_use: bool,
}

impl Failure {
    #[cold]
    pub(crate) fn new(cause: FailureCause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), generation: None, counts: true, out_of_use: false }
    }

    /// The plugin is not there (any more).
    #[cold]
    pub(crate) fn unavailable(detail: &str) -> Self {
        Self {
            cause: FailureCause::Unavailable,
            detail: detail.to_owned(),
            generation: None,
            counts: false,
            out_of_use: false,
        }
    }

    /// The same, as the failure of a generation.
    #[cold]
    pub(crate) fn of(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }
}

impl From<CallError> for Failure {
    #[cold]
    fn from(error: CallError) -> Self {
        let cause = match &error {
            CallError::Saturated { .. } | CallError::Timeout { .. } => FailureCause::Timeout,
            CallError::QueueFull { .. } => FailureCause::QueueFull,
            CallError::Memory { .. } | CallError::MessageTooLarge { .. } => FailureCause::Memory,
            CallError::Trap { .. } => FailureCause::Trap,
            CallError::BadPointer { .. } | CallError::AnswerTooLarge { .. } => FailureCause::Decode,
            CallError::Refused { .. } => FailureCause::GuestError,
            CallError::OutOfUse | CallError::Unavailable { .. } => FailureCause::Unavailable,
        };
        Self {
            cause,
            counts: !error.is_untouched(),
            generation: None,
            out_of_use: matches!(error, CallError::OutOfUse),
            detail: error.to_string(),
        }
    }
}
