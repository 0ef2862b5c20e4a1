//! The least work, by tokens, requests and weights.

use least_work::LeastWork;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Played, Request, TestWorker};

fn started(config: Vec<(&str, Value)>, workers: usize) -> Harness<LeastWork> {
    Harness::new(config, TestWorker::fleet(workers)).expect("starts")
}

fn chosen(harness: &mut Harness<LeastWork>) -> Option<usize> {
    harness.select(&Request::new().prompt_tokens(2_000)).worker
}

#[test]
fn hit_counts_for_what_it_saves() {
    let mut harness = started(Vec::new(), 2);
    harness.workers[0].prefix_match = 1_024;
    harness.workers[0].uncached_tokens = 1_000;
    assert_eq!(chosen(&mut harness), Some(0));
    harness.workers[0].uncached_tokens = 1_100;
    assert_eq!(chosen(&mut harness), Some(1));
}

#[test]
fn queue_that_the_engine_tells_of_counts_where_it_is_longer() {
    let mut harness = started(Vec::new(), 2);
    (harness.workers[0].uncached_tokens, harness.workers[1].uncached_tokens) = (100, 200);
    harness.workers[0].queued_tokens = 5_000;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[1].queued_tokens = 6_000;
    assert_eq!(chosen(&mut harness), Some(0));
    let mut harness = started(vec![("reports", Value::Bool(false))], 2);
    harness.workers[0].queued_tokens = 5_000;
    harness.workers[1].uncached_tokens = 100;
    assert_eq!(chosen(&mut harness), Some(0));
}

#[test]
fn requests_that_are_being_answered_count_for_some_tokens() {
    let mut harness = started(Vec::new(), 2);
    harness.workers[0].load = 10;
    harness.workers[1].uncached_tokens = 159;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[1].uncached_tokens = 161;
    assert_eq!(chosen(&mut harness), Some(0));
}

#[test]
fn worker_of_twice_the_weight_takes_twice_the_work() {
    let mut fleet = TestWorker::fleet(3);
    (fleet[1].weight, fleet[2].weight) = (2.0, 0.0);
    let mut harness = Harness::<LeastWork>::new([], fleet.clone()).expect("starts");
    assert_eq!(chosen(&mut harness), Some(1), "an idle fleet");
    harness.workers[1].uncached_tokens = 1_990;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[1].uncached_tokens = 2_010;
    assert_eq!(chosen(&mut harness), Some(0));
    // Without anybody else even weight 0 is better than nobody.
    (harness.workers[0].healthy, harness.workers[1].healthy) = (false, false);
    assert_eq!(chosen(&mut harness), Some(2));
    let mut harness = Harness::<LeastWork>::new([("by_weight", Value::Bool(false))], fleet).expect("starts");
    harness.workers[0].uncached_tokens = 1;
    harness.workers[1].uncached_tokens = 1;
    assert_eq!(chosen(&mut harness), Some(2));
}

#[test]
fn long_and_short_prompts_share_the_fleet_by_their_work() {
    let mut fleet = Played::<LeastWork>::new([], 4).expect("starts");
    let long = fleet.send(&Request::new().prompt_tokens(30_000)).expect("a worker").worker;
    let others: Vec<usize> =
        (0..30).map(|_| fleet.send(&Request::new().prompt_tokens(1_000)).expect("a worker").worker).collect();
    assert!(!others.contains(&long), "{others:?}");
}

#[test]
fn config_of_the_wrong_kind_is_refused() {
    let error =
        |key: &str, value: Value| Harness::<LeastWork>::new([(key, value)], Vec::new()).expect_err("refused");
    assert_eq!(
        error("reports", Value::Str("yes".to_owned())),
        "config key `reports` is `yes`; expected true or false"
    );
    assert_eq!(
        error("request_tokens", Value::Int(-1)),
        "config key `request_tokens` is -1; expected a number from 0 to 1000000"
    );
}
