//! `smetric` of the vLLM router: a conversation stays where its cache is, while that meets its objective.
//!
//! Work of a prompt is its tokens that are not cached. A follow-up goes to the worker with the longest match
//! if that has half of the history, and if what is pending there and its own work, at the rate that was
//! measured, takes no longer than 1 s and 62.5 ms for each thousand tokens (or nobody keeps that). All
//! others go where (pending + own work) × requests is least, in turns where that is equal. The rate is the
//! 90th percentile of the last 64 requests' work over time to first token, of 8 at least.
//!
//! The router counts characters and reads from a chat's messages what its history is; a trace says neither.
//! Here it is tokens, and a follow-up is a prompt of which more than one block was asked before. That part
//! is its history, of which somebody always has all: trees forget at a size that no trace here reaches.

use std::collections::{HashMap, VecDeque};

use crate::rivals::pending_work::PendingWork;
use crate::rivals::rival::{Rival, RivalAsk, SeenWorker};
use crate::rivals::sent_blocks::SentBlocks;

const SLO: f64 = 1.0;
const SLO_PER_TOKEN: f64 = 0.0625 / 1000.0;
const SAMPLES: usize = 64;
const LEAST_SAMPLES: usize = 8;
const QUANTILE: f64 = 0.9;

/// As documented.
#[derive(Debug, Default)]
pub(crate) struct SMetric {
    sent: SentBlocks,
    pending: PendingWork,
    rates: HashMap<usize, VecDeque<f64>>,
    turn: usize,
}

/// What it knows of one worker for a request.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    worker: usize,
    hit: u32,
    work: f64,
    keeps_slo: bool,
    score: f64,
}

impl SMetric {
    /// Work a second, as soon as enough is known.
    fn rate(&self, worker: usize) -> Option<f64> {
        let samples = self.rates.get(&worker).filter(|samples| samples.len() >= LEAST_SAMPLES)?;
        let mut sorted: Vec<f64> = samples.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "at most 64")]
        let at = ((sorted.len() - 1) as f64 * QUANTILE).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 63")]
        sorted.get(at as usize).copied()
    }

    fn candidate(&self, ask: &RivalAsk<'_>, seen: &SeenWorker) -> Candidate {
        let hit = ask.tokens_of(self.sent.matched(seen.worker, ask.blocks));
        let work = f64::from(ask.tokens - hit);
        let queued = self.pending.of(seen.worker) + work;
        let slo = SLO + SLO_PER_TOKEN * f64::from(ask.tokens);
        Candidate {
            worker: seen.worker,
            hit,
            work,
            keeps_slo: self.rate(seen.worker).is_none_or(|rate| queued / rate <= slo),
            score: queued * f64::from(seen.requests),
        }
    }
}

impl Rival for SMetric {
    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize> {
        let first = self.turn % ask.workers.len().max(1);
        self.turn += 1;
        let (after, before) = ask.workers.split_at_checked(first)?;
        let candidates: Vec<Candidate> =
            before.iter().chain(after).map(|seen| self.candidate(ask, seen)).collect();
        // The first of equal ones, as the turns have it.
        let least = candidates.iter().min_by(|one, other| one.score.total_cmp(&other.score))?;
        let kept = candidates.iter().rev().max_by_key(|one| one.hit)?;
        let anybody = candidates.iter().any(|one| one.keeps_slo);
        let stays = kept.hit > ask.block_tokens && (kept.keeps_slo || !anybody);
        let chosen = if stays { kept } else { least };
        self.sent.send(chosen.worker, ask.blocks, usize::MAX);
        self.pending.add(ask.tag, chosen.worker, chosen.work);
        Some(chosen.worker)
    }

    fn first_token(&mut self, tag: u64, after: f64) {
        let Some((worker, work)) = self.pending.remove(tag) else { return };
        if work > 0.0 && after > 0.0 {
            let samples = self.rates.entry(worker).or_default();
            samples.push_back(work / after);
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
        }
    }

    fn finished(&mut self, tag: u64) {
        self.pending.remove(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(policy: &mut SMetric, tag: u64, requests: [u32; 2], blocks: &[u64]) -> usize {
        let workers =
            [0, 1].map(|worker| SeenWorker { worker, requests: requests[worker], ..SeenWorker::default() });
        let tokens = u32::try_from(blocks.len()).unwrap() * 1000;
        policy.choose(&RivalAsk { tag, tokens, blocks, block_tokens: 1000, workers: &workers }).unwrap()
    }

    #[test]
    fn follow_up_stays_until_its_worker_is_late_and_the_other_is_not() {
        let mut policy = SMetric::default();
        // (0 + 3000) × 1 against (0 + 3000) × 2; then a follow-up goes where it was, whatever its load.
        assert_eq!(choice(&mut policy, 1, [2, 1], &[1, 2, 3]), 1);
        assert_eq!(choice(&mut policy, 2, [0, 9], &[1, 2, 3, 4]), 1);
        // One block in common is no conversation.
        assert_eq!(choice(&mut policy, 3, [1, 9], &[1, 8]), 0);
        policy.first_token(1, 1.0);
        policy.first_token(2, 1.0);
        // 1000 tokens a second are known of worker 1; 9000 are pending.
        for tag in 10..18 {
            policy.pending.add(tag, 1, 1000.0);
            policy.first_token(tag, 1.0);
        }
        policy.pending.add(20, 1, 9000.0);
        assert_eq!(policy.rate(1), Some(1000.0));
        // Of 4000 tokens 1.25 s are allowed, and 10 s expected there; of worker 0 nothing is known.
        assert_eq!(choice(&mut policy, 21, [1, 9], &[1, 2, 3, 5]), 0);
        policy.finished(20);
        assert_eq!(choice(&mut policy, 22, [1, 9], &[1, 2, 3, 4]), 1);
    }
}
