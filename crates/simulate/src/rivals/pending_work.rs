//! Work that workers have before them.

use std::collections::HashMap;

/// What was sent to each worker and is not done, in any unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingWork {
    sums: HashMap<usize, f64>,
    parts: HashMap<u64, (usize, f64)>,
}

impl PendingWork {
    /// All that a worker has before it.
    pub(crate) fn of(&self, worker: usize) -> f64 {
        self.sums.get(&worker).copied().unwrap_or_default()
    }

    /// A request of so much work goes to a worker.
    pub(crate) fn add(&mut self, tag: u64, worker: usize, work: f64) {
        self.parts.insert(tag, (worker, work));
        *self.sums.entry(worker).or_default() += work;
    }

    /// A request's work is done; where and how much it was, unless it was done before.
    pub(crate) fn remove(&mut self, tag: u64) -> Option<(usize, f64)> {
        let (worker, work) = self.parts.remove(&tag)?;
        if let Some(sum) = self.sums.get_mut(&worker) {
            // Sums of parts with a fraction leave last digits behind.
            *sum = (*sum - work).max(0.0);
        }
        Some((worker, work))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_until_it_is_done_once() {
        let mut pending = PendingWork::default();
        pending.add(1, 0, 5.0);
        pending.add(2, 0, 7.0);
        pending.add(3, 1, 1.0);
        assert_eq!((pending.of(0), pending.of(1), pending.of(2)), (12.0, 1.0, 0.0));
        assert_eq!((pending.remove(1), pending.remove(1)), (Some((0, 5.0)), None));
        assert_eq!(pending.of(0), 7.0);
    }
}
