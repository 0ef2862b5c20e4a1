//! The worker that is done with this prompt first, by tokens.

use least_uncached::LeastUncached;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

/// A fleet by what each worker holds of the prompt, and by the tokens that wait there.
fn started(workers: &[(i32, i32)]) -> Harness<LeastUncached> {
    let mut fleet = TestWorker::fleet(workers.len());
    for (worker, (held, waiting)) in fleet.iter_mut().zip(workers) {
        (worker.prefix_match, worker.uncached_tokens) = (*held, *waiting);
    }
    Harness::new([], fleet).expect("starts")
}

fn chosen(harness: &mut Harness<LeastUncached>, tokens: u64) -> Option<usize> {
    harness.select(&Request::new().prompt_tokens(tokens)).worker
}

#[test]
fn prompt_goes_to_who_holds_most_of_it() {
    assert_eq!(chosen(&mut started(&[(0, 0), (512, 0), (1024, 0), (256, 0)]), 2000), Some(2));
}

#[test]
fn who_holds_it_is_passed_over_when_others_are_done_sooner() {
    // 976 tokens are missing at the first, the second has to process all 2000: 1024 more, which count twice.
    assert_eq!(chosen(&mut started(&[(1024, 2100), (0, 0)]), 2000), Some(1));
    assert_eq!(chosen(&mut started(&[(1024, 2000), (0, 0)]), 2000), Some(0));
}

#[test]
fn match_beyond_the_prompt_saves_no_more_than_all_of_it() {
    assert_eq!(chosen(&mut started(&[(9000, 10), (100, 0)]), 100), Some(1));
}

#[test]
fn unknown_numbers_count_as_nothing() {
    assert_eq!(chosen(&mut started(&[(-1, -1), (-1, 5)]), 100), Some(0));
    assert_eq!(chosen(&mut started(&[(-1, -1), (16, -1)]), 100), Some(1));
}

#[test]
fn workers_that_are_down_or_tried_are_passed_over() {
    let mut harness = started(&[(64, 0), (32, 0), (16, 0)]);
    harness.workers[0].healthy = false;
    assert_eq!(chosen(&mut harness, 64), Some(1));
    harness.workers[1].excluded = true;
    assert_eq!(chosen(&mut harness, 64), Some(2));
    harness.workers[2].excluded = true;
    assert_eq!(chosen(&mut harness, 64), None);
}

#[test]
fn equal_ones_share_by_load_and_then_by_chance() {
    let mut harness = started(&[(0, 0); 4]);
    harness.workers[0].load = 1;
    let mut counts = [0_u32; 4];
    for _ in 0..3000 {
        counts[chosen(&mut harness, 10).expect("a worker")] += 1;
    }
    assert_eq!(counts[0], 0);
    // 1000 expected each, standard deviation 26; the seed is fixed.
    assert!(counts[1..].iter().all(|count| (880..1120).contains(count)), "{counts:?}");
}

#[test]
fn any_config_key_is_refused() {
    let error = Harness::<LeastUncached>::new([("load", Value::Nil)], Vec::new()).expect_err("refused");
    assert_eq!(error, "unknown config key `load`; there are none");
}
