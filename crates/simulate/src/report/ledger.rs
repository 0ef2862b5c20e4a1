//! What is noted while a run goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::WorkerTotals;
use crate::report::index_sample::IndexSample;
use crate::report::quantile_set::{QuantileSet, curve};
use crate::report::request_groups::{AnsweredRequest, RequestGroups};
use crate::report::run_report::{RefusalCause, RunFacts, RunReport, WorkerRun};
use crate::report::sent_timeline::SentTimeline;
use crate::report::slo::Slo;
use crate::workload::{AskedRequest, Workload};
use sglang_router_rs::policies::FailureCause;

/// A request that was answered. Times in seconds of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndedRequest {
    /// Its number.
    pub request: u32,
    /// By which worker.
    pub worker: u32,
    /// The worker that processed its prompt, if that is another.
    pub prefill: Option<u32>,
    /// When it came to the router.
    pub came: f64,
    /// When its first token came.
    pub first_token: f64,
    /// When its last token came.
    pub ended: f64,
    /// Tokens of its prompt that the worker had in its cache.
    pub cached: u32,
}

/// What came of the requests of a run so far.
#[derive(Debug)]
pub struct RunLedger {
    requests: u32,
    ttft: Vec<f32>,
    tpot: Vec<f32>,
    e2e: Vec<f32>,
    refusals: BTreeMap<RefusalCause, u64>,
    failed: u64,
    retries: u64,
    unasked: u64,
    held: u64,
    fallbacks: BTreeMap<String, u64>,
    prompt_tokens: u64,
    output_tokens: u64,
    ttft_ok: u64,
    good: u64,
    workers: Vec<WorkerRun>,
    timeline: SentTimeline,
    groups: RequestGroups,
    index: Vec<IndexSample>,
}

impl RunLedger {
    /// Nothing has come of so many requests yet.
    pub fn new(requests: u32, workers: usize) -> Self {
        let times = || Vec::with_capacity(requests as usize);
        Self {
            requests,
            ttft: times(),
            tpot: times(),
            e2e: times(),
            refusals: BTreeMap::new(),
            failed: 0,
            retries: 0,
            unasked: 0,
            held: 0,
            fallbacks: BTreeMap::new(),
            prompt_tokens: 0,
            output_tokens: 0,
            ttft_ok: 0,
            good: 0,
            workers: vec![WorkerRun::default(); workers],
            timeline: SentTimeline::new(workers),
            groups: RequestGroups::default(),
            index: Vec::new(),
        }
    }

    /// The same for requests of which some are reported apart; headers are drawn with this seed.
    pub(crate) fn with_groups(self, workload: &Workload, seed: u64) -> Self {
        Self { groups: RequestGroups::new(workload, seed), ..self }
    }

    /// True if something came of each request.
    pub fn is_complete(&self) -> bool {
        self.ttft.len() as u64 + self.refused() + self.failed + self.unasked >= u64::from(self.requests)
    }

    /// A request is not answered.
    pub fn refuse(&mut self, cause: RefusalCause) {
        *self.refusals.entry(cause).or_default() += 1;
    }

    fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }

    /// A request is not answered, or not to its end, since a worker failed.
    pub fn fail(&mut self) {
        self.failed += 1;
    }

    /// A request is tried again.
    pub fn retry(&mut self) {
        self.retries += 1;
    }

    /// The index has so much.
    pub(crate) fn see_index(&mut self, sample: IndexSample) {
        self.index.push(sample);
    }

    /// A request goes to a worker at this second of the run.
    pub fn send(&mut self, worker: u32, at: f64) {
        self.timeline.add(worker, at);
    }

    /// So many requests are never made, since one before them in their session was not answered.
    pub fn leave_out(&mut self, requests: u64) {
        self.unasked += requests;
    }

    /// The policy has a request wait.
    pub fn hold(&mut self) {
        self.held += 1;
    }

    /// The fallback decided in the plugin's place.
    pub fn fall_back(&mut self, cause: FailureCause) {
        *self.fallbacks.entry(cause.as_str().to_owned()).or_default() += 1;
    }

    /// A request was answered.
    pub fn finish(&mut self, ended: &EndedRequest, asked: &AskedRequest, slo: &Slo) {
        let ttft = ended.first_token - ended.came;
        let more = asked.output_tokens - 1;
        let tpot = (more > 0).then(|| (ended.ended - ended.first_token) / f64::from(more));
        let e2e = narrow(ended.ended - ended.came);
        self.ttft.push(narrow(ttft));
        self.tpot.extend(tpot.map(narrow));
        self.e2e.push(e2e);
        self.prompt_tokens += u64::from(asked.prompt_tokens);
        self.output_tokens += u64::from(asked.output_tokens);
        let in_time = slo.meets_ttft(ttft, asked.prompt_tokens);
        self.ttft_ok += u64::from(in_time);
        let is_good = in_time && slo.meets_tpot(tpot);
        self.good += u64::from(is_good);
        self.groups.finish(ended.request, AnsweredRequest { ttft: narrow(ttft), e2e, in_time, is_good });
        if let Some(worker) = self.workers.get_mut(ended.worker as usize) {
            worker.requests += 1;
        }
        let prompts = ended.prefill.unwrap_or(ended.worker);
        if let Some(worker) = self.workers.get_mut(prompts as usize) {
            worker.requests += u64::from(prompts != ended.worker);
            worker.cached_tokens += u64::from(ended.cached);
        }
    }

    /// The figures of the run, which ended at this second of it.
    pub fn report(
        mut self,
        facts: RunFacts,
        totals: impl Iterator<Item = WorkerTotals>,
        duration: f64,
        wall: Duration,
    ) -> RunReport {
        let busy: Vec<f64> = totals
            .zip(&mut self.workers)
            .map(|(totals, worker)| {
                worker.busy = ratio(totals.busy, duration);
                worker.processed_tokens = totals.prompt_tokens;
                worker.preemptions = totals.preemptions;
                totals.busy
            })
            .collect();
        let most = busy.iter().copied().fold(0.0, f64::max);
        let mean = busy.iter().sum::<f64>() / as_f64(busy.len() as u64).max(1.0);
        let cached = self.workers.iter().map(|worker| worker.cached_tokens).sum();
        let share = |count| ratio(as_f64(count), self.requests.into());
        RunReport {
            facts,
            answered: self.ttft.len() as u64,
            refused: self.refused(),
            refusals: self.refusals,
            failed: self.failed,
            retries: self.retries,
            unasked: self.unasked,
            held: self.held,
            hit_rate: share_of(as_f64(cached), as_f64(self.prompt_tokens)),
            imbalance: share_of(most, mean),
            ttft_ok: share(self.ttft_ok),
            goodput: share(self.good),
            goodput_rate: ratio(as_f64(self.good), duration),
            throughput: ratio(as_f64(self.output_tokens), duration),
            fallbacks: self.fallbacks,
            ttft: QuantileSet::of(&mut self.ttft),
            ttft_curve: curve(&self.ttft),
            tpot: QuantileSet::of(&mut self.tpot),
            e2e: QuantileSet::of(&mut self.e2e),
            groups: self.groups.report(),
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            duration,
            workers: self.workers,
            sent_over_time: self.timeline,
            index_over_time: self.index,
            wall: wall.as_secs_f64(),
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    share_of(part, whole).unwrap_or(0.0)
}

fn share_of(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Seven digits of a time are enough, and half the memory.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn narrow(seconds: f64) -> f32 {
    seconds as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_requests() {
        let mut workload = Workload::new(512);
        workload.push(0.0, 1000, 5, &[]);
        workload.push(0.0, 1000, 1, &[]);
        workload.push(0.0, 10, 1, &[]);
        let (asked, slo) = (workload.requests(), Slo { ttft: 1.0, ttft_per_token: 0.001, tpot: 0.1 });
        let mut ledger = RunLedger::new(3, 2);
        let first = EndedRequest {
            request: 0,
            worker: 0,
            prefill: None,
            came: 1.0,
            first_token: 3.0,
            ended: 4.0,
            cached: 500,
        };
        ledger.finish(&first, &asked[0], &slo);
        let second = EndedRequest {
            request: 1,
            worker: 1,
            prefill: None,
            came: 1.0,
            first_token: 2.0,
            ended: 2.0,
            cached: 0,
        };
        ledger.finish(&second, &asked[1], &slo);
        assert!(!ledger.is_complete());
        ledger.refuse(RefusalCause::Shed);
        assert!(ledger.is_complete());
        let totals = |busy| WorkerTotals { busy, prompt_tokens: 500, preemptions: 0 };
        let facts = RunFacts { policy: "any".to_owned(), load: 1.0, seed: 0 };
        let report =
            ledger.report(facts, [totals(6.0), totals(2.0)].into_iter(), 10.0, Duration::from_secs(1));
        assert_eq!((report.answered, report.refused, report.hit_rate), (2, 1, Some(0.25)));
        let [ttft, tpot, e2e] = [report.ttft, report.tpot, report.e2e].map(Option::unwrap);
        assert_eq!((ttft.max, tpot.p50, e2e.max), (2.0, 0.25, 3.0));
        assert_eq!((report.ttft_ok, report.goodput), (2.0 / 3.0, 1.0 / 3.0), "its tokens came too slowly");
        assert_eq!((report.imbalance, report.workers[0].busy, report.throughput), (Some(1.5), 0.6, 0.6));
    }
}
