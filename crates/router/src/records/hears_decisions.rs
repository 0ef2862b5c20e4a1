//! Who else hears of the decisions about a request.

use std::fmt;
use std::time::Instant;

use sgl_api::DecisionRecord;

/// Hears of each decision about one request.
pub(crate) trait HearsDecisions: fmt::Debug + Send + Sync {
    /// This policy decided so; it was asked at `began`.
    fn decided(&self, policy: &str, decision: &DecisionRecord, began: Instant);
}
