//! Which pool, and when another.

use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};
use token_pools::TokenPools;

/// Two short workers, then two long ones.
fn started(config: Vec<(&str, Value)>) -> Harness<TokenPools> {
    let mut fleet: Vec<TestWorker> = TestWorker::fleet(4)
        .into_iter()
        .enumerate()
        .map(|(index, worker)| worker.label("pool", if index < 2 { "short" } else { "long" }))
        .collect();
    fleet.iter_mut().for_each(|worker| worker.tokens_in_flight = 0);
    Harness::new(config, fleet).expect("starts")
}

fn request(prompt: u64, answer: Option<u64>) -> Request {
    Request { max_tokens: answer, ..Request::new().prompt_tokens(prompt) }
}

fn chosen(harness: &mut Harness<TokenPools>, prompt: u64, answer: Option<u64>) -> usize {
    harness.select(&request(prompt, answer)).worker.expect("a worker")
}

#[test]
fn prompt_and_longest_answer_make_a_request_long() {
    let mut harness = started(Vec::new());
    (harness.workers[1].load, harness.workers[3].load) = (1, 1);
    assert_eq!(chosen(&mut harness, 7_000, Some(1_191)), 0);
    assert_eq!(chosen(&mut harness, 7_000, Some(1_192)), 2);
    // 1,024 where it does not say.
    assert_eq!(chosen(&mut harness, 7_167, None), 0);
    assert_eq!(chosen(&mut harness, 7_168, None), 2);
    assert_eq!(chosen(&mut harness, 1, Some(u64::MAX)), 2);
}

#[test]
fn pool_shares_by_tokens_in_flight() {
    let mut harness = started(Vec::new());
    (harness.workers[0].tokens_in_flight, harness.workers[1].tokens_in_flight) = (900, 800);
    assert_eq!(chosen(&mut harness, 100, None), 1);
    harness.workers[1].tokens_in_flight = 900;
    harness.workers[0].load = 1;
    assert_eq!(chosen(&mut harness, 100, None), 1);
}

#[test]
fn short_request_goes_to_the_long_pool_when_its_own_is_far_fuller() {
    let mut harness = started(Vec::new());
    (harness.workers[0].tokens_in_flight, harness.workers[1].tokens_in_flight) = (9_000, 9_000);
    (harness.workers[2].tokens_in_flight, harness.workers[3].tokens_in_flight) = (1_000, 5_000);
    // 4 × (1000 + 1124) are 8,496.
    assert_eq!(chosen(&mut harness, 100, None), 2);
    let mut never = started(vec![("spill", Value::Int(0))]);
    (never.workers[0].tokens_in_flight, never.workers[1].tokens_in_flight) = (9_000, 90_000);
    assert_eq!(chosen(&mut never, 100, None), 0);
}

#[test]
fn long_request_goes_to_the_short_pool_only_if_its_own_has_nobody() {
    let mut harness = started(Vec::new());
    (harness.workers[2].tokens_in_flight, harness.workers[3].tokens_in_flight) = (1_000_000, 2_000_000);
    assert_eq!(chosen(&mut harness, 50_000, None), 2);
    (harness.workers[2].healthy, harness.workers[3].excluded) = (false, true);
    assert!(chosen(&mut harness, 50_000, None) < 2);
    (harness.workers[0].healthy, harness.workers[1].healthy) = (false, false);
    assert_eq!(harness.select(&request(50_000, None)).worker, None);
}

#[test]
fn worker_without_a_label_is_for_both_and_one_with_another_for_want_of_others() {
    let fleet = vec![TestWorker::new("http://any"), TestWorker::new("http://odd").label("pool", "huge")];
    let mut harness = Harness::<TokenPools>::new([], fleet).expect("starts");
    assert_eq!([chosen(&mut harness, 10, None), chosen(&mut harness, 90_000, None)], [0, 0]);
    harness.workers[0].healthy = false;
    assert_eq!(chosen(&mut harness, 10, None), 1);
}

#[test]
fn names_of_label_and_pools_can_be_set() {
    let text = |text: &str| Value::Str(text.to_owned());
    let config = [("label", text("tier")), ("short", text("s")), ("long", text("l"))];
    let fleet =
        vec![TestWorker::new("http://a").label("tier", "l"), TestWorker::new("http://b").label("tier", "s")];
    let mut harness = Harness::<TokenPools>::new(config, fleet).expect("starts");
    assert_eq!([chosen(&mut harness, 10, None), chosen(&mut harness, 90_000, None)], [1, 0]);
    let error =
        Harness::<TokenPools>::new([("long_from_tokens", text("8k"))], Vec::new()).expect_err("refused");
    assert_eq!(error, "config key `long_from_tokens` is `8k`; expected a whole number from 0 to 1073741824");
}
