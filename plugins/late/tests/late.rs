//! Who waits, in which order, and until when.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use late::Late;
use sgl_policy_sdk::prelude::{Leg, Value};
use sgl_policy_sdk::testing::{Harness, Request, TestDecision, TestWorker};

/// 10,000 tokens are a second of work.
fn started(more: &[(&'static str, Value)], workers: usize) -> Harness<Late> {
    let mut config = vec![("tokens_per_s", Value::Int(10_000)), ("attention_tokens", Value::Int(0))];
    config.extend(more.iter().cloned());
    let mut fleet = TestWorker::fleet(workers);
    fleet.iter_mut().for_each(|worker| worker.prefix_match = 0);
    Harness::new(config, fleet).expect("starts")
}

fn at(seconds: f64, tokens: u64) -> Request {
    let now_ns = std::time::Duration::from_secs_f64(100.0 + seconds).as_nanos();
    let request = Request::new().prompt_tokens(tokens).waiting(0, 30_000);
    Request { now_ns: u64::try_from(now_ns).expect("small"), ..request }
}

fn sent(harness: &mut Harness<Late>, request: &Request) -> TestDecision {
    let decision = harness.select(request);
    if let Some(worker) = decision.worker {
        harness.workers[worker].load += 1;
    }
    decision
}

fn key(decision: &TestDecision) -> f64 {
    decision.wait.as_ref().expect("it waits").key
}

#[test]
fn request_waits_until_its_worker_has_little_left_to_do() {
    let mut harness = started(&[], 1);
    assert_eq!(sent(&mut harness, &at(0.0, 20_000)).worker, Some(0));
    let waits = harness.select(&at(0.0, 1_000));
    assert_eq!((waits.worker, waits.wait.as_ref().and_then(|wait| wait.deadline_ms)), (None, Some(60_000)));
    assert_eq!(harness.select(&at(1.6, 1_000).waiting(1_600, 28_400)).worker, None);
    assert_eq!(harness.select(&at(1.8, 1_000).waiting(1_800, 28_200)).worker, Some(0));
}

#[test]
fn short_requests_come_first_until_the_long_ones_are_old() {
    let mut harness = started(&[], 1);
    sent(&mut harness, &at(0.0, 90_000));
    let (long, short) = (key(&harness.select(&at(0.0, 50_000))), key(&harness.select(&at(1.0, 1_000))));
    assert!(short < long, "1.1 against 5");
    assert!(key(&harness.select(&at(6.0, 1_000))) > long, "6.1 against 5");
    // The key of one that waits stays what it was.
    let again = key(&harness.select(&at(3.0, 50_000).waiting(3_000, 27_000)));
    assert!((again - long).abs() < 1e-6);
    let mut harness = started(&[("alpha", Value::Int(4))], 1);
    sent(&mut harness, &at(0.0, 90_000));
    let (long, short) = (key(&harness.select(&at(0.0, 50_000))), key(&harness.select(&at(6.0, 1_000))));
    assert!(short < long, "6.4 against 20");
}

#[test]
fn key_goes_by_what_the_best_cache_leaves_to_do() {
    let mut harness = started(&[], 2);
    (0..2).for_each(|_| drop(sent(&mut harness, &at(0.0, 90_000))));
    let cold = key(&harness.select(&at(0.0, 50_000)));
    harness.workers[1].prefix_match = 40_000;
    let warm = key(&harness.select(&at(0.0, 50_000)));
    assert!((cold - warm - 4.0).abs() < 1e-6);
}

#[test]
fn request_that_may_wait_no_longer_is_sent() {
    let mut harness = started(&[], 2);
    (0..2).for_each(|_| drop(sent(&mut harness, &at(0.0, 90_000))));
    let last = at(0.0, 1_000).waiting(30_000, 0);
    let decision = harness.select(&last);
    assert!(decision.worker.is_some() && decision.wait.is_none() && decision.tag.is_some());
}

#[test]
fn free_worker_gets_it_at_once_and_nobody_is_nobody() {
    let mut harness = started(&[], 2);
    sent(&mut harness, &at(0.0, 90_000));
    let busy = harness.workers.iter().position(|worker| worker.load == 1).expect("one");
    let decision = harness.select(&at(0.0, 1_000));
    assert_eq!(decision.worker, Some(1 - busy));
    harness.workers.iter_mut().for_each(|worker| worker.healthy = false);
    let nobody = harness.select(&at(0.0, 1_000));
    assert_eq!((nobody.worker, nobody.wait), (None, None));
    let decode = harness.select(&at(0.0, 1_000).leg(Leg::Decode));
    assert_eq!((decode.worker, decode.wait), (None, None));
}

#[test]
fn config_out_of_range_is_refused() {
    let error = Harness::<Late>::new([("ahead_ms", Value::Int(-1))], Vec::new()).expect_err("refused");
    assert_eq!(error, "config key `ahead_ms` is -1; expected a number from 0 to 60000");
}
