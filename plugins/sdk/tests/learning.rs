//! A policy that learns from what comes of its own choices, each by the tag that it gave.

use std::collections::BTreeMap;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

/// Chooses the worker that reads prompts fastest, by milliseconds per KiB until the first token.
#[derive(Debug, Default)]
struct FastReader {
    next_tag: u64,
    /// What each tag stands for, until the request is over: KiB of its prompt.
    placed: BTreeMap<u64, f32>,
    /// Per worker; 0 until something is learnt, so each is tried once.
    ms_per_kib: Vec<f32>,
}

impl FastReader {
    fn learn(&mut self, worker: u32, ms_per_kib: f32) {
        let learnt = usize::try_from(worker).ok().and_then(|worker| self.ms_per_kib.get_mut(worker));
        if let Some(learnt) = learnt {
            *learnt = if *learnt > 0.0 { 0.5 * (*learnt + ms_per_kib) } else { ms_per_kib };
        }
    }
}

impl Policy for FastReader {
    fn init(_init: &Init) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let cost = |worker: usize| self.ms_per_kib.get(worker).copied().unwrap_or_default();
        let chosen = ctx.candidates().iter().min_by(|one, other| cost(*one).total_cmp(&cost(*other)));
        let Some(chosen) = chosen else { return Choice::Nobody };
        self.next_tag += 1;
        let kib = u16::try_from(ctx.prompt_bytes() / 1024).unwrap_or(u16::MAX);
        self.placed.insert(self.next_tag, f32::from(kib.max(1)));
        Choice::Worker(chosen).with_tag(self.next_tag)
    }

    fn on_workers(&mut self, table: &Table) {
        self.ms_per_kib = vec![0.0; table.len()];
    }
}

impl FirstTokenHook for FastReader {
    fn on_first_token(&mut self, _table: &Table, first: &FirstToken) {
        if let Some(kib) = first.tag.and_then(|tag| self.placed.get(&tag)).copied() {
            self.learn(first.worker, first.ms / kib);
        }
    }
}

impl CompletionHook for FastReader {
    fn on_complete(&mut self, _table: &Table, completion: &Completion) {
        let known = completion.tag.is_some_and(|tag| self.placed.remove(&tag).is_some());
        // One that was cancelled says nothing of the worker.
        if known && !completion.ok && completion.status.is_some_and(|status| status >= 500) {
            self.learn(completion.worker, 10_000.0);
        }
    }
}

sgl_policy_sdk::export_policy! {
    policy: FastReader,
    name: "fast_reader",
    description: "the worker that reads prompts fastest",
    inputs: [Healthy, Excluded, PromptBytes],
    concurrency: Serial,
    hooks: [on_first_token, on_complete],
}

fn request(kib: usize) -> Request {
    Request::new().text(&"x".repeat(kib * 1024))
}

#[test]
fn policy_learns_from_the_first_token_of_the_request_that_the_tag_names() {
    let mut harness = Harness::<FastReader>::new([], TestWorker::fleet(2)).expect("it starts");
    let [long, short] = [40, 1].map(|kib| harness.select(&request(kib)));
    // Nothing was learnt yet: both went to the same worker, and the tags tell them apart.
    assert_eq!((long.worker, short.worker), (Some(0), Some(0)));
    assert_ne!(long.tag, short.tag);
    // 80 ms are fast for the long one.
    harness.first_token(&[FirstToken { worker: 0, tag: long.tag, ms: 80.0 }]);
    let other = harness.select(&request(1));
    assert_eq!(other.worker, Some(1), "it is still to be tried");
    harness.first_token(&[FirstToken { worker: 1, tag: other.tag, ms: 10.0 }]);
    assert_eq!(harness.select(&request(1)).worker, Some(0), "2 ms per KiB against 10");
    // An event without a tag, or of nobody's tag, teaches nothing.
    harness.first_token(&[FirstToken { worker: 0, tag: None, ms: 1e6 }]);
    harness.first_token(&[FirstToken { worker: 0, tag: Some(999), ms: 1e6 }]);
    assert_eq!(harness.select(&request(1)).worker, Some(0));
}

#[test]
fn policy_tells_requests_that_failed_from_those_that_were_cancelled() {
    let mut harness = Harness::<FastReader>::new([], TestWorker::fleet(2)).expect("it starts");
    let end = |status, tag| Completion { worker: 0, ok: false, status, tag, ..Completion::default() };
    let first = harness.select(&request(1));
    harness.complete(&[end(None, first.tag)]);
    assert_eq!(harness.select(&request(1)).worker, Some(0), "cancelled");
    let second = harness.select(&request(1));
    harness.complete(&[end(Some(502), second.tag), end(Some(502), second.tag)]);
    assert_eq!(harness.select(&request(1)).worker, Some(1), "failed");
}
