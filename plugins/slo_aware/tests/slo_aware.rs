//! Cheapest in time, soonest otherwise, and when it refuses.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use sgl_policy_sdk::prelude::{FirstToken, Leg, Value};
use sgl_policy_sdk::testing::{Harness, Request, TestDecision, TestWorker};
use slo_aware::SloAware;

/// 10,000 tokens are a second of work, and a first token is promised within 2 seconds.
fn started(more: &[(&'static str, Value)], workers: usize) -> Harness<SloAware> {
    let mut config = vec![
        ("tokens_per_s", Value::Int(10_000)),
        ("attention_tokens", Value::Int(0)),
        ("ttft_ms_per_token", Value::Int(0)),
        ("headroom", Value::Int(1)),
    ];
    config.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    config.extend(more.iter().cloned());
    let mut fleet = TestWorker::fleet(workers);
    fleet.iter_mut().for_each(|worker| worker.prefix_match = 0);
    Harness::new(config, fleet).expect("starts")
}

fn at(seconds: f64, tokens: u64) -> Request {
    let now_ns = std::time::Duration::from_secs_f64(100.0 + seconds).as_nanos();
    Request { now_ns: u64::try_from(now_ns).expect("small"), ..Request::new().prompt_tokens(tokens) }
}

/// Has this worker read so many tokens from now on.
fn busy(harness: &mut Harness<SloAware>, worker: usize, request: &Request) -> TestDecision {
    (0..harness.workers.len()).for_each(|other| harness.workers[other].excluded = other != worker);
    let decision = harness.select(request);
    harness.workers[worker].load += 1;
    harness.workers.iter_mut().for_each(|worker| worker.excluded = false);
    decision
}

#[test]
fn request_stays_with_its_cache_while_that_is_in_time() {
    let mut harness = started(&[], 2);
    busy(&mut harness, 0, &at(0.0, 15_000));
    harness.workers[0].prefix_match = 6_000;
    // 1.5 seconds and 0.4 are in time, though 1 would be sooner.
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(0));
    let mut harness = started(&[], 2);
    busy(&mut harness, 0, &at(0.0, 17_000));
    harness.workers[0].prefix_match = 6_000;
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(1), "2.1 are not");
}

#[test]
fn longer_prompts_may_take_longer() {
    let per_token = [("ttft_ms_per_token", Value::Float(0.25))];
    let mut harness = started(&per_token, 2);
    busy(&mut harness, 0, &at(0.0, 17_000));
    harness.workers[0].prefix_match = 6_000;
    // 2 seconds and 10,000 × 0.25 ms.
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(0));
}

#[test]
fn where_nobody_is_in_time_the_soonest_gets_it() {
    let mut harness = started(&[], 2);
    busy(&mut harness, 0, &at(0.0, 40_000));
    busy(&mut harness, 1, &at(0.0, 30_000));
    harness.workers[0].prefix_match = 5_000;
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(1), "4.5 against 4");
}

#[test]
fn hopeless_requests_are_refused_if_the_operator_wants_it() {
    let mut harness = started(&[("shed_above", Value::Int(3))], 1);
    busy(&mut harness, 0, &at(0.0, 40_000));
    assert_eq!(harness.select(&at(0.0, 10_000)).worker, Some(0), "5 seconds are below 6");
    let refused = harness.select(&at(0.0, 15_000));
    assert_eq!(refused.worker, None);
    let after = refused.shed.expect("it is refused").retry_after_ms;
    assert!((4_400..4_600).contains(&after), "6.5 seconds less 2: {after}");
}

#[test]
fn worker_that_is_slow_is_not_in_time() {
    let mut harness = started(&[], 2);
    for turn in 0..400_u16 {
        for (worker, ms) in [(0_u32, 500.0), (1, 3_000.0)] {
            let index = usize::try_from(worker).expect("small");
            let decision = busy(&mut harness, index, &at(f64::from(turn) * 10.0, 10_000));
            harness.first_token(&[FirstToken { worker, tag: decision.tag, ms }]);
            harness.workers[index].load -= 1;
        }
    }
    // The slow one holds most of it, and would take more than 2 seconds for the rest.
    harness.workers[1].prefix_match = 10_000;
    assert_eq!(harness.select(&at(5_000.0, 20_000)).worker, Some(0));
    harness.workers[1].prefix_match = 16_000;
    assert_eq!(harness.select(&at(5_000.0, 20_000)).worker, Some(1));
    let mut next = started(&[], 2);
    next.restore_state(&harness.save_state());
    next.workers[1].prefix_match = 10_000;
    assert_eq!(next.select(&at(5_000.0, 20_000)).worker, Some(0), "the next generation knows it");
}

#[test]
fn decode_leg_goes_to_the_least_loaded_and_nobody_is_nobody() {
    let mut harness = started(&[], 2);
    harness.workers[0].load = 1;
    assert_eq!(harness.select(&at(0.0, 10).leg(Leg::Decode)).worker, Some(1));
    harness.workers.iter_mut().for_each(|worker| worker.healthy = false);
    assert_eq!(harness.select(&at(0.0, 10)).worker, None);
}

#[test]
fn config_out_of_range_is_refused() {
    let error = Harness::<SloAware>::new([("headroom", Value::Int(0))], Vec::new()).expect_err("refused");
    assert_eq!(error, "config key `headroom` is 0; expected a number from 0.01 to 1");
}
