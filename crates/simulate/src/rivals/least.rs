//! The least of several, with chance where they are equal.

use crate::rivals::rival::SeenWorker;

/// The worker with the least cost; of equal ones each has the same chance.
pub(crate) fn least_by(workers: &[SeenWorker], mut cost: impl FnMut(&SeenWorker) -> f64) -> Option<usize> {
    let (mut least, mut equal, mut chosen) = (f64::INFINITY, 0, None);
    for seen in workers {
        let cost = cost(seen);
        if chosen.is_none() || cost < least {
            (least, equal, chosen) = (cost, 1, Some(seen.worker));
        } else if cost.total_cmp(&least).is_eq() {
            equal += 1;
            if fastrand::u32(..equal) == 0 {
                chosen = Some(seen.worker);
            }
        }
    }
    chosen
}

/// The first of those with the fewest requests.
pub(crate) fn first_of_fewest(workers: &[SeenWorker]) -> Option<usize> {
    workers.iter().min_by_key(|seen| seen.requests).map(|seen| seen.worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_workers_share_and_dearer_ones_get_nothing() {
        let workers: Vec<SeenWorker> = [3, 1, 2, 1]
            .into_iter()
            .zip(0..)
            .map(|(requests, worker)| SeenWorker { worker, requests, ..SeenWorker::default() })
            .collect();
        let mut counts = [0_i32; 4];
        for _ in 0..1000 {
            counts[least_by(&workers, |seen| f64::from(seen.requests)).unwrap()] += 1;
        }
        assert!(counts[0] == 0 && counts[2] == 0 && counts[1].abs_diff(500) < 100, "{counts:?}");
        assert_eq!(first_of_fewest(&workers), Some(1));
        assert_eq!((least_by(&[], |_| 0.0), first_of_fewest(&[])), (None, None));
    }
}
