//! Most in the cache, among those that are not overloaded.

use kv_aware::KvAware;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

/// A fleet by what each worker holds of the prompt, and by its load.
fn started(workers: &[(i32, i32)]) -> Harness<KvAware> {
    let mut fleet = TestWorker::fleet(workers.len());
    for (worker, (held, load)) in fleet.iter_mut().zip(workers) {
        (worker.prefix_match, worker.load) = (*held, *load);
    }
    Harness::new([], fleet).expect("starts")
}

fn chosen(harness: &mut Harness<KvAware>) -> Option<usize> {
    harness.select(&Request::new().prompt_tokens(1_000)).worker
}

#[test]
fn most_overlap_wins_and_of_equal_ones_the_least_loaded() {
    assert_eq!(chosen(&mut started(&[(256, 0), (512, 3), (0, 0)])), Some(1));
    assert_eq!(chosen(&mut started(&[(512, 3), (512, 2), (512, 3)])), Some(1));
}

#[test]
fn overloaded_holder_is_passed_over() {
    // Mean 5, and 4 more.
    assert_eq!(chosen(&mut started(&[(512, 20), (0, 0), (0, 0), (256, 0)])), Some(3));
    // All at the mean of 10.
    let mut even = started(&[(512, 10), (0, 10), (0, 10), (256, 10)]);
    assert_eq!(chosen(&mut even), Some(0));
    // At low load a few requests are no overload.
    assert_eq!(chosen(&mut started(&[(512, 4), (0, 0), (0, 0), (256, 0)])), Some(0));
}

#[test]
fn what_all_hold_is_no_reason_to_go_to_any() {
    let mut harness = started(&[(512, 3), (512, 0), (600, 5)]);
    // 88 tokens beyond the others' are too few: the least work.
    harness.workers[2].uncached_tokens = 300;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[2].prefix_match = 640;
    assert_eq!(chosen(&mut harness), Some(2), "128 are enough");
    // Who may not be chosen does not count among all.
    harness.workers[0].healthy = false;
    harness.workers[0].prefix_match = 0;
    harness.workers[2].prefix_match = 600;
    assert_eq!(chosen(&mut harness), Some(1));
}

#[test]
fn half_a_fleet_is_overloaded_too() {
    // Mean 10, deviation 10: those who hold the prompt are no further from the mean than the idle ones.
    let mut harness = started(&[(512, 20), (512, 20), (512, 20), (512, 20), (0, 0), (0, 0), (0, 0), (0, 0)]);
    for worker in 0..4 {
        harness.workers[worker].uncached_tokens = 9_000;
    }
    let idle = chosen(&mut harness).expect("somebody is chosen");
    assert!(idle >= 4, "{idle}");
}

#[test]
fn nearly_full_cache_is_passed_over() {
    // The third holds nothing, so that nothing is what all hold.
    let mut harness = started(&[(512, 0), (256, 0), (0, 0)]);
    harness.workers[0].kv_usage = 0.96;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[0].kv_usage = 0.94;
    assert_eq!(chosen(&mut harness), Some(0));
}

#[test]
fn prompt_that_nobody_holds_goes_to_the_least_work() {
    let mut harness = started(&[(112, 0), (0, 0), (-1, 0)]);
    (harness.workers[0].uncached_tokens, harness.workers[1].uncached_tokens) = (500, 500);
    harness.workers[2].uncached_tokens = 300;
    assert_eq!(chosen(&mut harness), Some(2));
    harness.workers[0].uncached_tokens = 400;
    assert_eq!(chosen(&mut harness), Some(0), "what is held counts for its tokens");
}

#[test]
fn somebody_is_chosen_while_somebody_may_be() {
    let mut harness = started(&[(512, 100), (0, 100)]);
    (harness.workers[0].kv_usage, harness.workers[1].kv_usage) = (1.0, 1.0);
    assert_eq!(chosen(&mut harness), Some(0));
    harness.workers[0].healthy = false;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[1].excluded = true;
    assert_eq!(chosen(&mut harness), None);
}

#[test]
fn config_out_of_range_is_refused() {
    let error =
        Harness::<KvAware>::new([("kv_usage_limit", Value::Int(95))], Vec::new()).expect_err("refused");
    assert_eq!(error, "config key `kv_usage_limit` is 95; expected a number from 0 to 1");
}
