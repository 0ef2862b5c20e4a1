//! Who holds enough of it, unless load is out of balance.

use cache_aware::CacheAware;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Played, Request, TestWorker};

/// A fleet by what each worker holds of the prompt, and by its load.
fn started(workers: &[(i32, i32)]) -> Harness<CacheAware> {
    let mut fleet = TestWorker::fleet(workers.len());
    for (worker, (held, load)) in fleet.iter_mut().zip(workers) {
        (worker.prefix_match, worker.load) = (*held, *load);
    }
    Harness::new([], fleet).expect("starts")
}

fn chosen(workers: &[(i32, i32)]) -> Option<usize> {
    started(workers).select(&Request::new().prompt_tokens(1_000)).worker
}

#[test]
fn prompt_goes_to_who_holds_most_of_it() {
    assert_eq!(chosen(&[(512, 0), (768, 9), (0, 0)]), Some(1));
}

#[test]
fn of_equal_holders_the_least_loaded_is_chosen() {
    assert_eq!(chosen(&[(768, 3), (768, 2), (512, 0)]), Some(1));
}

#[test]
fn prompt_that_nobody_holds_enough_of_goes_to_the_least_loaded() {
    assert_eq!(chosen(&[(501, 5), (0, 1), (0, 2)]), Some(0));
    assert_eq!(chosen(&[(500, 5), (0, 1), (0, 2)]), Some(1));
    assert_eq!(chosen(&[(-1, 5), (-1, 1), (-1, 2)]), Some(1));
}

#[test]
fn load_out_of_balance_goes_before_the_cache() {
    // More than 32 apart, and more than 1.1 times the least.
    assert_eq!(chosen(&[(900, 40), (0, 8)]), Some(0));
    assert_eq!(chosen(&[(900, 41), (0, 8)]), Some(1));
    assert_eq!(chosen(&[(900, 433), (0, 400)]), Some(0), "33 more are below a tenth");
    assert_eq!(chosen(&[(900, 441), (0, 400)]), Some(1));
}

#[test]
fn workers_that_are_down_or_tried_are_passed_over() {
    let mut harness = started(&[(900, 0), (800, 0), (0, 0)]);
    let request = Request::new().prompt_tokens(1_000);
    harness.workers[0].healthy = false;
    assert_eq!(harness.select(&request).worker, Some(1));
    harness.workers[1].excluded = true;
    assert_eq!(harness.select(&request).worker, Some(2));
    harness.workers[2].healthy = false;
    assert_eq!(harness.select(&request).worker, None);
}

#[test]
fn conversations_stay_and_share_the_fleet() {
    let mut fleet = Played::<CacheAware>::new([], 4).expect("starts");
    let prompt = |conversation: usize, turn: usize| {
        Request::new().text(&format!("{conversation:_<4000}{}", "x".repeat(400 * turn)))
    };
    // Each turn in another order, so that taking turns is not enough.
    let order = |turn: usize| (0..32).map(move |place| (place * (2 * turn + 1) + turn) % 32);
    let asked: Vec<(usize, usize)> =
        (0..5).flat_map(|turn| order(turn).map(move |conversation| (conversation, turn))).collect();
    let chosen = fleet.run(asked.iter().map(|(conversation, turn)| prompt(*conversation, *turn)), 16, 4);
    let home = |conversation: usize| chosen[..32][conversation];
    assert!(asked.iter().zip(&chosen).all(|((conversation, _), chosen)| home(*conversation) == *chosen));
    assert!((0..4).all(|worker| chosen[..32].iter().filter(|chosen| **chosen == worker).count() >= 6));
}

#[test]
fn config_out_of_range_is_refused() {
    let error = |key: &str, value: Value| {
        Harness::<CacheAware>::new([(key, value)], Vec::new()).expect_err("refused")
    };
    assert_eq!(
        error("cache_threshold", Value::Float(1.5)),
        "config key `cache_threshold` is 1.5; expected a number from 0 to 1"
    );
    assert_eq!(
        error("balance_rel_threshold", Value::Int(0)),
        "config key `balance_rel_threshold` is 0; expected a number of at least 1"
    );
    assert_eq!(
        error("threshold", Value::Int(1)),
        "unknown config key `threshold`; known: `cache_threshold`, `balance_abs_threshold`, `balance_rel_threshold`"
    );
}
