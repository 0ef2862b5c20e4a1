//! AIBrix' `prefix-cache`: the best match among those that do not have too many requests.
//!
//! If one worker has more than 2 × (mean + 1) requests, and 8 more than another: only those with the fewest
//! are looked at. Of those that were sent a part of the prompt before, the one with the largest share of it,
//! in whole percent, whose requests are at most the mean and one standard deviation; of equal shares the one
//! with fewer requests. Nobody is left: the fewest requests, by chance. Its index (200,000 blocks of 128
//! bytes) forgets later than any trace here needs.

use crate::rivals::least::least_by;
use crate::rivals::rival::{Rival, RivalAsk, SeenWorker};
use crate::rivals::sent_blocks::SentBlocks;

const IMBALANCE: f64 = 2.0;
const LEAST_GAP: u32 = 8;
const DEVIATIONS: f64 = 1.0;

/// As its defaults are.
#[derive(Debug, Default)]
pub(crate) struct PrefixShare {
    sent: SentBlocks,
}

impl PrefixShare {
    /// Whose match counts.
    fn looked_at(ask: &RivalAsk<'_>, mean: f64) -> Option<Vec<SeenWorker>> {
        let requests = || ask.workers.iter().map(|seen| seen.requests);
        let (least, most) = (requests().min()?, requests().max()?);
        let is_even = f64::from(most) <= IMBALANCE * (mean + 1.0) || most - least < LEAST_GAP;
        Some(ask.workers.iter().filter(|seen| is_even || seen.requests == least).copied().collect())
    }

    /// The share of the prompt in percent that a worker was sent.
    fn percent(&self, ask: &RivalAsk<'_>, worker: usize) -> usize {
        (self.sent.matched(worker, ask.blocks) * 100).checked_div(ask.blocks.len()).unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of workers are small")]
fn mean_of(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

impl Rival for PrefixShare {
    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let requests = || ask.workers.iter().map(|seen| f64::from(seen.requests));
        let mean = mean_of(requests());
        let deviation = mean_of(requests().map(|count| (count - mean).powi(2))).sqrt();
        let mut matches = Self::looked_at(ask, mean)?;
        // Who comes first of equal ones is left to chance.
        fastrand::shuffle(&mut matches);
        matches.retain(|seen| self.percent(ask, seen.worker) > 0);
        matches.sort_by_key(|seen| (usize::MAX - self.percent(ask, seen.worker), seen.requests));
        let most = mean + DEVIATIONS * deviation;
        let best = matches.iter().find(|seen| f64::from(seen.requests) <= most).map(|seen| seen.worker);
        let chosen = best.or_else(|| least_by(ask.workers, |seen| f64::from(seen.requests)))?;
        self.sent.send(chosen, ask.blocks, usize::MAX);
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_match_wins_within_a_deviation_and_without_imbalance() {
        let mut policy = PrefixShare::default();
        policy.sent.send(0, &[1, 2, 3], 100);
        policy.sent.send(1, &[1], 100);
        let choice = |policy: &PrefixShare, requests: [u32; 4], blocks: &[u64]| {
            let mut policy = PrefixShare { sent: policy.sent.clone() };
            let workers = [0, 1, 2, 3].map(|worker| SeenWorker {
                worker,
                requests: requests[worker],
                ..SeenWorker::default()
            });
            let tokens = u32::try_from(blocks.len()).unwrap() * 512;
            policy.choose(&RivalAsk { tag: 0, tokens, blocks, block_tokens: 512, workers: &workers }).unwrap()
        };
        assert_eq!(choice(&policy, [5, 5, 5, 5], &[1, 2, 3, 4]), 0);
        // Mean 5, deviation 1.41: 7 are too many, so the next best match.
        assert_eq!(choice(&policy, [7, 5, 5, 3], &[1, 2, 3, 4]), 1);
        assert_eq!(choice(&policy, [5, 5, 5, 3], &[9]), 3);
        // Mean 3: 9 are more than twice 4, and 8 more than 1; only workers 1 and 2 are looked at.
        assert_eq!(choice(&policy, [1, 9, 1, 1], &[1, 2]), 0);
        assert_eq!(choice(&policy, [2, 1, 1, 9], &[1, 2, 3]), 1);
    }
}
