//! `consistent_hash`: the same key goes to the same worker.
//!
//! Karger et al., "Consistent Hashing and Random Trees", 1997: each worker owns many points on a
//! ring, a key belongs to the next point, and a change of workers moves few keys.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::candidate_workers::{CandidateWorkers, TableVersion};
use crate::policies::native::sampling::{may_choose, random_worker};
use crate::policies::select_worker_info::{SelectWorkerInfo, key_of};
use crate::types::hash::stable_hash;

/// Points of one worker on the ring. With 128, the shares of equal workers differ by about a tenth.
const POINTS: u64 = 128;

/// How many rings are kept: an embedder may alternate between a few slices, one for each model.
const RINGS: usize = 8;

/// The worker that owns the request's key on a hash ring.
///
/// The key is the first of: the request key that the router gives; header `x-routing-key`,
/// `x-smg-routing-key`, `x-session-id`, `x-user-id`; the token ids; the request text. A request without any gets a random
/// worker.
#[derive(Debug, Default)]
pub(super) struct ConsistentHash {
    rings: ArcSwap<Vec<Arc<Ring>>>,
}

#[derive(Debug)]
struct Ring {
    version: TableVersion,
    /// Sorted by point.
    points: Vec<(u64, usize)>,
}

impl ConsistentHash {
    pub(crate) fn choose<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<usize> {
        let Some(key) = request_key(info) else { return random_worker(workers, info) };
        let ring = self.ring(workers);
        let start = ring.points.partition_point(|(point, _)| *point < key);
        let around = ring.points.iter().skip(start).chain(ring.points.iter().take(start));
        around.map(|(_, index)| *index).find(|index| may_choose(workers, info, *index))
    }

    fn ring<C: CandidateWorkers>(&self, workers: &C) -> Arc<Ring> {
        let version = workers.version();
        if let Some(known) = self.rings.load().iter().find(|ring| ring.version == version) {
            return Arc::clone(known);
        }
        let made = Arc::new(Ring::new(workers));
        // Two threads may make the same ring at once; the second copy is dropped with its update.
        self.rings.rcu(|rings| {
            let kept = rings.iter().filter(|ring| ring.version != version).take(RINGS - 1);
            std::iter::once(&made).chain(kept).cloned().collect::<Vec<_>>()
        });
        made
    }
}

impl Ring {
    fn new<C: CandidateWorkers>(workers: &C) -> Self {
        let mut points = Vec::new();
        for index in 0..workers.len() {
            let url = workers.worker(index).map_or("", |worker| worker.url());
            points.extend((0..POINTS).map(|point| (stable_hash(point + 1, url.as_bytes()), index)));
        }
        points.sort_unstable();
        Self { version: workers.version(), points }
    }
}

fn request_key(info: &SelectWorkerInfo<'_>) -> Option<u64> {
    let key = info.request_key.or_else(|| info.headers.and_then(|headers| key_of(headers)));
    if let Some(text) = key {
        return Some(stable_hash(0, text.as_bytes()));
    }
    if let Some(tokens) = info.tokens {
        return Some(tokens.iter().fold(0, |hash, token| stable_hash(hash, &token.to_le_bytes())));
    }
    info.request_text.map(|text| stable_hash(0, text.as_bytes()))
}
