//! What a failed decision means.

use crate::engine::error::CallError;
use crate::policies::decision::FailureCause;
use crate::policies::wasm::decide::undecided::PutOff;

/// A decision that a plugin did not make.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: FailureCause,
    /// One line for the log.
    pub(crate) detail: String,
    /// The generation that failed, if an instance was at work.
    pub(crate) generation: Option<u64>,
    /// True if it counts for the breaker; a full queue says nothing about the guest.
    pub(crate) counts: bool,
    /// True if the generation went out of use before the call reached it.
    pub(crate) out_of_use: bool,
    /// True if it chose a worker that exists but may not be chosen by now, so that it must be asked again
    /// before anybody knows whose fault that is.
    pub(crate) may_be_gone: bool,
    /// What it answered instead of a choice, if that is no failure.
    pub(crate) put_off: Option<PutOff>,
}

/// Boxed from the start, so that a decision that succeeds carries no room for a failure.
impl Failure {
    /// A failure of the guest of this generation.
    #[cold]
    pub(crate) fn new(cause: FailureCause, detail: String, generation: u64) -> Box<Self> {
        let generation = Some(generation);
        Box::new(Self {
            cause,
            detail,
            generation,
            counts: true,
            out_of_use: false,
            may_be_gone: false,
            put_off: None,
        })
    }

    /// This generation chose nobody although a worker could be chosen. The breaker ignores it: it cost
    /// no more than a choice, and one client's requests must not take the policy from all others.
    #[cold]
    pub(crate) fn no_choice(generation: u64) -> Box<Self> {
        let detail = "it chose nobody although somebody could be chosen".to_owned();
        Box::new(Self { counts: false, ..*Self::new(FailureCause::NoChoice, detail, generation) })
    }

    /// This generation had a request wait that may not wait. The breaker ignores it: it cost no more than
    /// a choice, and where more is asked for than workers serve every request may come to that.
    #[cold]
    pub(crate) fn wait_over(generation: u64) -> Box<Self> {
        let detail = "it had a request wait that may not wait (any longer)".to_owned();
        Box::new(Self { counts: false, ..*Self::new(FailureCause::WaitOver, detail, generation) })
    }

    /// This generation answered, though with no choice. It is no failure unless somebody makes it one.
    #[cold]
    pub(crate) fn put_off(put_off: PutOff, generation: u64) -> Box<Self> {
        Box::new(Self { put_off: Some(put_off), ..*Self::wait_over(generation) })
    }

    /// The plugin is not there (any more).
    #[cold]
    pub(crate) fn unavailable(detail: &str) -> Box<Self> {
        Box::new(Self {
            cause: FailureCause::Unavailable,
            detail: detail.to_owned(),
            generation: None,
            counts: false,
            out_of_use: false,
            may_be_gone: false,
            put_off: None,
        })
    }

    /// A call of this generation that failed.
    #[cold]
    pub(crate) fn of_call(error: CallError, generation: u64) -> Box<Self> {
        Box::new(Self {
            cause: FailureCause::of_call(&error),
            counts: !error.is_untouched(),
            generation: Some(generation),
            out_of_use: matches!(error, CallError::OutOfUse),
            detail: error.to_string(),
            may_be_gone: false,
            put_off: None,
        })
    }
}
