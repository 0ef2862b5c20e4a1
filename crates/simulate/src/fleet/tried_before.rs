//! What was tried for a request that failed, as far as a router remembers it.

/// Why a request failed at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptFailure {
    /// There was no connection.
    Connect,
    /// The connection broke before an answer.
    Broken,
    /// The worker answered with an error.
    Error,
}

/// What became of a request for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is at a worker.
    Placed,
    /// The policy has it wait.
    Held,
    /// It is not answered.
    Over,
}

/// What was tried for a request.
#[derive(Clone, Debug)]
pub(crate) struct TriedBefore {
    /// When it came.
    pub(crate) came: f64,
    /// The candidates that are not chosen again.
    pub(crate) candidates: Vec<u32>,
    left: u32,
    /// Whether a worker may have worked on it in vain: once is enough.
    has_run: bool,
}

impl TriedBefore {
    /// Nothing was; so many retries are left.
    pub(crate) fn new(came: f64, left: u32) -> Self {
        Self { came, candidates: Vec::new(), left, has_run: false }
    }

    /// Uses up a retry, if this is a reason for one, by the router's defaults: an error that a worker
    /// answers with is none, and a connection that broke only once.
    pub(crate) fn take_retry(&mut self, failure: AttemptFailure) -> bool {
        let may = match failure {
            AttemptFailure::Connect => true,
            AttemptFailure::Broken => !std::mem::replace(&mut self.has_run, true),
            AttemptFailure::Error => false,
        };
        let left = self.left.checked_sub(1).filter(|_| may);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_that_broke_off_is_a_reason_once_and_one_that_was_not_reached_as_often_as_may_be() {
        let mut tried = TriedBefore::new(0.0, 3);
        assert!(!tried.take_retry(AttemptFailure::Error));
        assert!(tried.take_retry(AttemptFailure::Broken));
        assert!(!tried.take_retry(AttemptFailure::Broken));
        assert!(tried.take_retry(AttemptFailure::Connect));
        assert!(tried.take_retry(AttemptFailure::Connect));
        assert!(!tried.take_retry(AttemptFailure::Connect), "three are used up");
    }
}
