//! What `/readiness` tells of sources of workers. The data plane knows of them only what is told here.

use std::fmt;

use serde::Serialize;

/// One source, without names and reasons: anybody may ask for readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceReport {
    /// `file`, `dns` or `kubernetes`.
    pub(crate) source: String,
    /// `waiting`, `current`, `failing` or `holding`.
    pub(crate) state: String,
    /// Milliseconds since it was last answered.
    pub(crate) age_ms: Option<u64>,
    /// Workers that are missing in its last answer and serve on for now.
    pub(crate) held: usize,
}

/// Tells of all sources as they are now.
pub(crate) struct SourceReports(Box<dyn Fn() -> Vec<SourceReport> + Send + Sync>);

impl SourceReports {
    /// What tells of them so.
    pub(crate) fn new(tell: impl Fn() -> Vec<SourceReport> + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// All of them.
    pub(crate) fn now(&self) -> Vec<SourceReport> {
        (self.0)()
    }
}

impl fmt::Debug for SourceReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceReports")
    }
}
