//! Always a least-loaded worker that may be chosen, and ties shared.

use least_connections::LeastConnections;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

fn started(fleet: Vec<TestWorker>) -> Harness<LeastConnections> {
    Harness::new([], fleet).expect("starts")
}

#[test]
fn workers_that_are_down_or_tried_are_passed_over() {
    let mut fleet = TestWorker::fleet(4);
    for (worker, load) in fleet.iter_mut().zip([0, 1, 2, 3]) {
        worker.load = load;
    }
    let mut harness = started(fleet);
    harness.workers[0].healthy = false;
    assert_eq!(harness.select(&Request::new()).worker, Some(1));
    harness.workers[1].excluded = true;
    assert_eq!(harness.select(&Request::new()).worker, Some(2));
    harness.workers.iter_mut().for_each(|worker| worker.excluded = true);
    assert_eq!(harness.select(&Request::new()).worker, None);
}

#[test]
fn worker_with_the_lowest_load_is_chosen_wherever_it_stands() {
    for len in [1, 2, 15, 16, 17, 33, 500] {
        for index in [0, len / 2, len - 1] {
            let mut fleet = TestWorker::fleet(len);
            fleet.iter_mut().for_each(|worker| worker.load = 9);
            fleet[index].load = 3;
            assert_eq!(started(fleet).select(&Request::new()).worker, Some(index), "{len} workers");
        }
    }
}

#[test]
fn burst_onto_an_idle_fleet_is_shared() {
    let mut harness = started(TestWorker::fleet(8));
    let mut counts = [0u32; 8];
    for _ in 0..8_000 {
        counts[harness.select(&Request::new()).worker.expect("a worker")] += 1;
    }
    // 1000 expected each, standard deviation 30; the seed is fixed.
    assert!(counts.iter().all(|count| (860..1140).contains(count)), "{counts:?}");
}

#[test]
fn loads_that_follow_the_choices_stay_level() {
    let mut harness = started(TestWorker::fleet(5));
    for _ in 0..500 {
        let chosen = harness.select(&Request::new()).worker.expect("a worker");
        harness.workers[chosen].load += 1;
    }
    assert!(harness.workers.iter().all(|worker| worker.load == 100));
}

#[test]
fn any_config_key_is_refused() {
    let error = Harness::<LeastConnections>::new([("load", Value::Nil)], Vec::new()).expect_err("refused");
    assert_eq!(error, "unknown config key `load`; there are none");
}
