//! The clock, the price, what is learnt, and what the next generation gets.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use sgl_policy_sdk::prelude::{Completion, FirstToken, Leg, Value};
use sgl_policy_sdk::testing::{Harness, Request, TestDecision, TestWorker};
use toll::Toll;

/// 10,000 tokens are a second of work.
fn started(workers: usize) -> Harness<Toll> {
    let config = [("tokens_per_s", Value::Int(10_000)), ("attention_tokens", Value::Int(0))];
    let mut fleet = TestWorker::fleet(workers);
    fleet.iter_mut().for_each(|worker| worker.prefix_match = 0);
    Harness::new(config, fleet).expect("starts")
}

fn at(seconds: f64, tokens: u64) -> Request {
    let now_ns = std::time::Duration::from_secs_f64(100.0 + seconds).as_nanos();
    Request { now_ns: u64::try_from(now_ns).expect("small"), ..Request::new().prompt_tokens(tokens) }
}

/// Decides and counts it in flight.
fn sent(harness: &mut Harness<Toll>, request: &Request) -> (usize, TestDecision) {
    let decision = harness.select(request);
    let worker = decision.worker.expect("a worker");
    harness.workers[worker].load += 1;
    (worker, decision)
}

/// Has this worker read so many tokens from now on.
fn busy(harness: &mut Harness<Toll>, worker: usize, request: &Request) -> TestDecision {
    (0..harness.workers.len()).for_each(|other| harness.workers[other].excluded = other != worker);
    let (_, decision) = sent(harness, request);
    harness.workers.iter_mut().for_each(|worker| worker.excluded = false);
    decision
}

fn first_token(worker: usize, decision: &TestDecision, ms: f32) -> FirstToken {
    FirstToken { worker: u32::try_from(worker).expect("small"), tag: decision.tag, ms }
}

#[test]
fn answer_has_a_tag_of_its_own_and_the_seconds_that_it_costs() {
    let mut harness = started(2);
    let (first, second) = (harness.select(&at(0.0, 10_000)), harness.select(&at(0.0, 5_000)));
    assert_eq!((first.cost, second.cost), (1.0, 0.5));
    assert!(first.tag.is_some() && first.tag != second.tag);
}

#[test]
fn prompt_goes_where_its_first_token_comes_soonest() {
    let mut harness = started(2);
    busy(&mut harness, 0, &at(0.0, 20_000));
    harness.workers[0].prefix_match = 8_000;
    // 2 seconds and 0.2 there, 1 elsewhere.
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(1));
    harness.workers[1].load = 1;
    // The other has a second to do by now; at 1.5 the first has half of one.
    assert_eq!(harness.select(&at(1.5, 10_000)).worker, Some(0));
}

#[test]
fn recomputation_costs_more_the_more_requests_wait() {
    let mut harness = started(2);
    busy(&mut harness, 0, &at(0.0, 20_000));
    harness.workers[0].prefix_match = 8_000;
    let rate = |rate| Request { arrival_rate: Some(rate), ..at(0.0, 10_000) };
    // A mean wait of a second: 5 requests wait for each worker. 2.2 + 2 × 5 × 0.2 against 1 + 2 × 5 × 1.
    assert_eq!(harness.select(&rate(10.0)).worker, Some(0));
    let mut harness = started(2);
    busy(&mut harness, 0, &at(0.0, 20_000));
    harness.workers[0].prefix_match = 8_000;
    assert_eq!(harness.select(&rate(0.1)).worker, Some(1));
}

#[test]
fn first_token_sets_the_clock_right() {
    let mut harness = started(2);
    let long = busy(&mut harness, 0, &at(0.0, 20_000));
    harness.workers[0].prefix_match = 8_000;
    // It was done after half a second instead of two.
    harness.first_token(&[first_token(0, &long, 500.0)]);
    assert_eq!(harness.select(&at(0.6, 10_000)).worker, Some(0));
}

#[test]
fn what_was_sent_after_a_request_is_still_to_be_done_when_it_begins() {
    let mut harness = started(2);
    let first = busy(&mut harness, 0, &at(0.0, 1_000));
    busy(&mut harness, 0, &at(0.0, 30_000));
    harness.first_token(&[first_token(0, &first, 100.0)]);
    busy(&mut harness, 1, &at(0.0, 20_000));
    // 3 seconds are left there, 2 here.
    assert_eq!(harness.select(&at(0.1, 10)).worker, Some(1));
}

#[test]
fn idle_worker_has_no_wait_whatever_its_clock_says() {
    let mut harness = started(2);
    busy(&mut harness, 0, &at(0.0, 90_000));
    harness.workers[0].load = 0;
    harness.workers[1].load = 1;
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(0));
}

#[test]
fn request_that_ends_without_a_first_token_takes_its_work_with_it() {
    let end = |ok, status, total_ms, tag| Completion { ok, status, total_ms, tag, ..Completion::default() };
    let mut harness = started(2);
    let (short, long) = (busy(&mut harness, 0, &at(0.0, 5_000)), busy(&mut harness, 0, &at(0.0, 50_000)));
    busy(&mut harness, 1, &at(0.0, 10_000));
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(1), "5.5 seconds against 1");
    // The client hung up: half a second is left.
    harness.complete(&[end(false, None, Some(10.0), long.tag)]);
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(0));
    // An answer in one piece: by its end the prompt was done.
    let long = busy(&mut harness, 0, &at(0.0, 50_000));
    harness.complete(&[
        end(true, Some(200), Some(300.0), short.tag),
        end(true, Some(200), Some(300.0), long.tag),
    ]);
    assert_eq!(harness.select(&at(0.4, 10)).worker, Some(0));
}

#[test]
fn queue_that_the_engine_tells_of_counts_where_it_is_longer() {
    let mut harness = started(2);
    (harness.workers[0].load, harness.workers[1].load) = (1, 1);
    (harness.workers[0].queued_tokens, harness.workers[0].report_age_ms) = (20_000, 100);
    (harness.workers[1].queued_tokens, harness.workers[1].report_age_ms) = (0, 100);
    busy(&mut harness, 1, &at(0.0, 15_000));
    // 2.2 seconds as of a tenth of one ago, against 1.5.
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(1));
    // Later the same report stands for less.
    harness.workers[0].report_age_ms = 1_100;
    harness.workers[1].report_age_ms = 1_100;
    busy(&mut harness, 1, &at(1.0, 10_000));
    assert_eq!(harness.select(&at(1.0, 10)).worker, Some(0));
}

/// Has two workers read a second of work each, over and over; the second takes three.
fn taught() -> Harness<Toll> {
    let mut harness = started(2);
    for turn in 0..400_u16 {
        for (worker, ms) in [(0, 1_000.0), (1, 3_000.0)] {
            let decision = busy(&mut harness, worker, &at(f64::from(turn) * 10.0, 10_000));
            harness.first_token(&[first_token(worker, &decision, ms)]);
            harness.workers[worker].load -= 1;
        }
    }
    harness
}

/// How many of 40 requests at once go to each of the two.
fn shares(harness: &mut Harness<Toll>) -> [usize; 2] {
    let mut counts = [0; 2];
    (0..40).for_each(|_| counts[sent(harness, &at(5_000.0, 10_000)).0] += 1);
    counts
}

#[test]
fn slow_worker_gets_less() {
    let counts = shares(&mut taught());
    assert!((6..15).contains(&counts[1]), "{counts:?}");
    assert_eq!(shares(&mut started(2)), [20, 20]);
}

#[test]
fn next_generation_knows_what_this_one_has_learnt() {
    let saved = taught().save_state();
    let mut next = started(2);
    next.restore_state(&saved);
    let counts = shares(&mut next);
    assert!((6..15).contains(&counts[1]), "{counts:?}");
    for damaged in [&saved[..saved.len() - 1], &saved[8..], &[], &[1; 24]] {
        let mut next = started(2);
        next.restore_state(damaged);
        assert_eq!(shares(&mut next), [20, 20]);
    }
}

#[test]
fn clock_stays_with_its_worker_when_the_table_changes() {
    let mut harness = started(3);
    busy(&mut harness, 2, &at(0.0, 90_000));
    harness.workers.remove(0);
    harness.workers.reverse();
    harness.send_table();
    // It is the first now; what is in flight at the other takes no time.
    harness.workers[1].load = 5;
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(1));
}

#[test]
fn decode_leg_goes_to_the_least_loaded_without_a_tag() {
    let mut harness = started(2);
    harness.workers[0].load = 1;
    let decision = harness.select(&at(0.0, 10_000).leg(Leg::Decode));
    assert_eq!((decision.worker, decision.tag), (Some(1), None));
}

#[test]
fn workers_that_are_down_or_tried_are_passed_over() {
    let mut harness = started(2);
    harness.workers[0].healthy = false;
    assert_eq!(harness.select(&at(0.0, 10)).worker, Some(1));
    harness.workers[1].excluded = true;
    assert_eq!(harness.select(&at(0.0, 10)).worker, None);
}

#[test]
fn somebody_is_chosen_whatever_the_numbers_are() {
    let mut harness = started(3);
    for rate in [f32::INFINITY, f32::NAN, f32::MAX, -1.0] {
        for tokens in [0, u64::from(u32::MAX), u64::MAX] {
            let request = Request { arrival_rate: Some(rate), ..at(0.0, tokens) };
            assert!(sent(&mut harness, &request).1.worker.is_some(), "{rate}, {tokens}");
        }
    }
}

#[test]
fn config_out_of_range_is_refused() {
    let error =
        |key: &str, value: Value| Harness::<Toll>::new([(key, value)], Vec::new()).expect_err("refused");
    assert_eq!(error("kappa", Value::Int(-1)), "config key `kappa` is -1; expected a number from 0 to 100");
    assert_eq!(
        error("tokens_per_s", Value::Int(0)),
        "config key `tokens_per_s` is 0; expected a number from 1 to 1000000000"
    );
    assert_eq!(
        error("rate", Value::Int(1)),
        "unknown config key `rate`; known: `kappa`, `tokens_per_s`, `attention_tokens`"
    );
}
