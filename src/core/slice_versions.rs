//! Recognises an embedder's slice of workers, so that static facts are sent only once.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::core::candidate_workers::TableVersion;
use crate::core::worker::Worker;

/// How many slices are remembered. An embedder alternates between a few (one for each model and role);
/// beyond that the oldest is forgotten, which costs a message and no correctness.
const REMEMBERED: usize = 16;

/// Gives equal slices of workers equal versions.
///
/// Compares slices by the identity of their workers, not by their text: a pointer per worker. A `Weak`
/// keeps a worker's address from being reused, but does not keep the worker alive.
#[derive(Debug, Default)]
pub(crate) struct SliceVersions {
    known: ArcSwap<Vec<Arc<KnownSlice>>>,
}

#[derive(Debug)]
struct KnownSlice {
    version: TableVersion,
    workers: Vec<Weak<dyn Worker>>,
    /// For a pair of slices, the length of the first.
    prefills: Option<usize>,
}

impl KnownSlice {
    fn is(&self, workers: &[Arc<dyn Worker>], prefills: Option<usize>) -> bool {
        // Thin addresses: two vtables of one type may differ between codegen units.
        let same = |(known, worker): (&Weak<dyn Worker>, &Arc<dyn Worker>)| {
            std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(worker))
        };
        self.prefills == prefills
            && self.workers.len() == workers.len()
            && self.workers.iter().zip(workers).all(same)
    }
}

impl SliceVersions {
    /// The version of this slice: the same as last time if it holds the same workers in the same
    /// order.
    pub(crate) fn version(&self, workers: &[Arc<dyn Worker>]) -> TableVersion {
        self.version_of(workers, None)
    }

    /// The version of two slices, one after the other. The first `prefills` are offered for prefill, so
    /// the same workers divided elsewhere are another list.
    pub(crate) fn pair_version(&self, workers: &[Arc<dyn Worker>], prefills: usize) -> TableVersion {
        self.version_of(workers, Some(prefills))
    }

    fn version_of(&self, workers: &[Arc<dyn Worker>], prefills: Option<usize>) -> TableVersion {
        if let Some(known) = self.known.load().iter().find(|known| known.is(workers, prefills)) {
            return known.version;
        }
        let made = Arc::new(KnownSlice {
            version: TableVersion::next(),
            workers: workers.iter().map(Arc::downgrade).collect(),
            prefills,
        });
        // Two threads may learn the same slice at once; both versions are right, and later look-ups find
        // the newer entry first.
        self.known.rcu(|known| {
            let kept = known.iter().take(REMEMBERED - 1);
            std::iter::once(&made).chain(kept).cloned().collect::<Vec<_>>()
        });
        made.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::worker::{BasicWorker, WorkerSpec};

    fn worker(url: &str) -> Arc<dyn Worker> {
        Arc::new(BasicWorker::new(WorkerSpec::new(url)))
    }

    #[test]
    fn same_workers_have_the_same_version_in_any_slice() {
        let versions = SliceVersions::default();
        let one = vec![worker("http://a"), worker("http://b")];
        let copy = one.clone();
        assert_eq!(versions.version(&one), versions.version(&copy));
    }

    #[test]
    fn other_workers_and_another_order_have_other_versions() {
        let versions = SliceVersions::default();
        let one = vec![worker("http://a"), worker("http://b")];
        let twin = vec![worker("http://a"), worker("http://b")];
        let turned = vec![Arc::clone(&one[1]), Arc::clone(&one[0])];
        let first = versions.version(&one);
        assert_ne!(first, versions.version(&twin), "equal text is not the same worker");
        assert_ne!(first, versions.version(&turned));
        assert_ne!(first, versions.version(&one[..1]));
        assert_eq!(first, versions.version(&one), "still remembered");
    }

    #[test]
    fn pair_divided_elsewhere_has_another_version() {
        let versions = SliceVersions::default();
        let both = vec![worker("http://a"), worker("http://b"), worker("http://c")];
        let first = versions.pair_version(&both, 1);
        assert_ne!(first, versions.pair_version(&both, 2));
        assert_ne!(first, versions.version(&both));
        assert_eq!(first, versions.pair_version(&both, 1));
    }

    #[test]
    fn dropped_workers_are_not_kept_alive() {
        let versions = SliceVersions::default();
        let one = vec![worker("http://a")];
        versions.version(&one);
        let watch = Arc::downgrade(&one[0]);
        drop(one);
        assert!(watch.upgrade().is_none());
    }
}
