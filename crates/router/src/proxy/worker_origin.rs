//! What is kept of a worker beside what requests need.

use crate::config::worker_entry::WorkerEntry;
use crate::config::worker_source::WorkerSource;

/// Where a worker comes from, what was said of it, and who has it drained.
#[derive(Clone, Debug)]
pub(crate) struct WorkerOrigin {
    /// Who added it.
    pub(crate) source: WorkerSource,
    /// As it was added, or changed since.
    pub(crate) entry: WorkerEntry,
    /// An operator has it drained.
    pub(crate) by_operator: bool,
    /// Its source says that it is not ready.
    pub(crate) by_source: bool,
    /// It is being removed.
    pub(crate) is_leaving: bool,
}

impl WorkerOrigin {
    /// One that nobody has drained.
    pub(crate) fn new(source: WorkerSource, entry: &WorkerEntry) -> Self {
        Self { source, entry: entry.clone(), by_operator: false, by_source: false, is_leaving: false }
    }

    /// Who has it drained, for programs.
    pub(crate) fn drained_by(&self) -> Vec<String> {
        let all = [("operator", self.by_operator), ("source", self.by_source), ("removal", self.is_leaving)];
        all.into_iter().filter(|(_, is_so)| *is_so).map(|(by, _)| by.to_owned()).collect()
    }
}
