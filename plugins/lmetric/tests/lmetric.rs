//! The lowest product.

use lmetric::LMetric;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

/// A fleet by what each worker holds of the prompt, what waits there, and its load.
fn harness(config: Vec<(&str, Value)>, workers: &[(i32, i32, i32)]) -> Harness<LMetric> {
    let mut fleet = TestWorker::fleet(workers.len());
    for (worker, (held, waiting, load)) in fleet.iter_mut().zip(workers) {
        (worker.prefix_match, worker.uncached_tokens, worker.load) = (*held, *waiting, *load);
    }
    Harness::<LMetric>::new(config, fleet).expect("starts")
}

fn request() -> Request {
    Request::new().prompt_tokens(1_000)
}

fn chosen(config: Vec<(&str, Value)>, workers: &[(i32, i32, i32)]) -> Option<usize> {
    harness(config, workers).select(&request()).worker
}

#[test]
fn both_tokens_and_requests_count() {
    // 1500 × 3 against 1000 × 5, then 1000 × 4.
    assert_eq!(chosen(Vec::new(), &[(0, 500, 2), (0, 0, 4)]), Some(0));
    assert_eq!(chosen(Vec::new(), &[(0, 500, 2), (0, 0, 3)]), Some(1));
    // 488 × 5 against 1000 × 2, then 1000 × 3.
    assert_eq!(chosen(Vec::new(), &[(512, 0, 4), (0, 0, 1)]), Some(1));
    assert_eq!(chosen(Vec::new(), &[(512, 0, 4), (0, 0, 2)]), Some(0));
}

#[test]
fn idle_workers_are_told_apart_by_what_they_hold() {
    assert_eq!(chosen(Vec::new(), &[(0, 0, 0), (512, 0, 0), (256, 0, 0)]), Some(1));
    let published = || vec![("own_request", Value::Int(0))];
    // As published an idle worker costs nothing, whatever it holds.
    let mut harness = harness(published(), &[(0, 0, 0), (512, 0, 0)]);
    let mut times = [0; 2];
    for _ in 0..200 {
        times[harness.select(&request()).worker.expect("a worker")] += 1;
    }
    // 100 each with a standard deviation of 7.
    assert!(times.iter().all(|count| *count > 50), "{times:?}");
    assert_eq!(chosen(published(), &[(0, 0, 0), (512, 0, 1)]), Some(0));
}

#[test]
fn unknown_numbers_count_as_nothing_and_nobody_is_nobody() {
    assert_eq!(chosen(Vec::new(), &[(-1, -1, 1), (-1, -1, 0)]), Some(1));
    assert_eq!(chosen(Vec::new(), &[]), None);
}

#[test]
fn config_out_of_range_is_refused() {
    let error = Harness::<LMetric>::new([("own_request", Value::Int(-1))], Vec::new()).expect_err("refused");
    assert_eq!(error, "config key `own_request` is -1; expected a number from 0 to 1000000");
}
