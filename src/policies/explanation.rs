//! What a policy says about a decision beyond its choice, for decision records.

use parking_lot::Mutex;

/// What a plugin gave with its answer, or why it gave none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    /// One number per worker, in the order of the table; empty = none were given.
    pub scores: Vec<f32>,
    /// A sentence.
    pub reason: Option<String>,
    /// Why the plugin did not decide, in one line.
    pub failure: Option<String>,
    /// The generation that failed, if one was at work.
    pub failed_generation: Option<u64>,
}

/// A place for [`Explained`]: put into [`crate::policies::SelectWorkerInfo::explanation`] before the
/// decision and read after it. Without one, none of it is kept.
#[derive(Debug, Default)]
pub struct Explanation(Mutex<Explained>);

impl Explanation {
    /// What was said so far.
    pub fn take(&self) -> Explained {
        std::mem::take(&mut *self.0.lock())
    }

    #[cold]
    pub(crate) fn give(&self, scores: Vec<f32>, reason: Option<String>) {
        let mut explained = self.0.lock();
        explained.scores = scores;
        explained.reason = reason;
    }

    #[cold]
    pub(crate) fn fail(&self, failure: &str, generation: Option<u64>) {
        let mut explained = self.0.lock();
        explained.failure = Some(failure.to_owned());
        explained.failed_generation = generation;
    }
}
