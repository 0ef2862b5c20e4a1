//! Where weights come from, and that draws follow them.

use std::iter;

use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};
use weighted_random::WeightedRandom;

const DRAWS: u32 = 20_000;

fn weights(weights: &[(&str, f64)]) -> (&'static str, Value) {
    let entries = weights.iter().map(|(url, weight)| ((*url).to_owned(), Value::Float(*weight)));
    ("weights", Value::Map(entries.collect()))
}

fn started(config: Vec<(&'static str, Value)>, fleet: Vec<TestWorker>) -> Harness<WeightedRandom> {
    Harness::new(config, fleet).expect("starts")
}

/// Checks the spread of many draws against weights, by Pearson's chi-squared test.
///
/// `critical` is the 99.99 % quantile for the degrees of freedom; the seed is fixed.
#[expect(clippy::indexing_slicing, reason = "an index out of range fails the test")]
fn assert_spread(harness: &mut Harness<WeightedRandom>, weights: &[f64], critical: f64) {
    let mut counts = vec![0u32; weights.len()];
    for _ in 0..DRAWS {
        counts[harness.select(&Request::new()).worker.expect("a worker")] += 1;
    }
    let total: f64 = weights.iter().sum();
    let mut statistic = 0.0;
    for (count, weight) in iter::zip(&counts, weights) {
        let expected = weight / total * f64::from(DRAWS);
        if expected == 0.0 {
            assert_eq!(*count, 0, "{counts:?}");
        } else {
            statistic += (f64::from(*count) - expected).powi(2) / expected;
        }
    }
    assert!(statistic < critical, "chi-squared {statistic}: {counts:?}");
}

#[test]
fn weights_of_the_table_count_without_any_other() {
    let fleet =
        [1.0, 2.0, 5.0].iter().enumerate().map(|(i, w)| TestWorker::new(&format!("http://{i}")).weight(*w));
    assert_spread(&mut started(Vec::new(), fleet.collect()), &[1.0, 2.0, 5.0], 18.42);
}

#[test]
fn label_beats_the_table_and_config_beats_the_label() {
    let fleet = vec![
        TestWorker::new("http://table").weight(4.0),
        TestWorker::new("http://label").weight(9.0).label("weight", "2"),
        TestWorker::new("http://config").weight(9.0).label("weight", "9"),
    ];
    let mut harness = started(vec![weights(&[("http://config", 1.5), ("http://elsewhere", 7.0)])], fleet);
    assert_spread(&mut harness, &[4.0, 2.0, 1.5], 18.42);
}

#[test]
fn label_of_another_name_is_read_when_configured() {
    let fleet = vec![
        TestWorker::new("http://a").label("share", "3").label("weight", "9"),
        TestWorker::new("http://b").label("share", "1"),
    ];
    let mut harness = started(vec![("label", Value::Str("share".to_owned()))], fleet);
    assert_spread(&mut harness, &[3.0, 1.0], 15.14);
}

#[test]
fn label_that_is_no_number_leaves_the_tables_weight() {
    let fleet =
        vec![TestWorker::new("http://a").weight(3.0).label("weight", "high"), TestWorker::new("http://b")];
    assert_spread(&mut started(Vec::new(), fleet), &[3.0, 1.0], 15.14);
}

#[test]
fn proportions_of_the_rest_hold_when_workers_are_down_or_tried() {
    // The two that are out hold 98 % of the weight, so that most decisions scan.
    let mut fleet = TestWorker::fleet(5);
    for (worker, weight) in iter::zip(&mut fleet, [1.0, 300.0, 2.0, 194.0, 3.0]) {
        worker.weight = weight;
    }
    fleet[1].healthy = false;
    fleet[3].excluded = true;
    assert_spread(&mut started(Vec::new(), fleet), &[1.0, 0.0, 2.0, 0.0, 3.0], 18.42);
}

#[test]
fn workers_of_weight_zero_are_never_chosen_even_as_the_last_ones() {
    let mut fleet = TestWorker::fleet(3);
    fleet[0].weight = 0.0;
    fleet[2].weight = 0.0;
    let mut harness = started(Vec::new(), fleet);
    assert_spread(&mut harness, &[0.0, 1.0, 0.0], 1.0);
    harness.workers[1].healthy = false;
    assert_eq!(harness.select(&Request::new()).worker, None);
}

#[test]
fn new_table_brings_new_weights() {
    let mut harness = started(Vec::new(), TestWorker::fleet(2));
    harness.workers.push(TestWorker::new("http://c").weight(2.0));
    harness.workers[0].weight = 0.0;
    harness.send_table();
    assert_spread(&mut harness, &[0.0, 1.0, 2.0], 15.14);
}

#[test]
fn decision_without_candidates_is_nobody() {
    assert_eq!(started(Vec::new(), Vec::new()).select(&Request::new()).worker, None);
    let fleet = vec![TestWorker::new("http://a").healthy(false)];
    assert_eq!(started(Vec::new(), fleet).select(&Request::new()).worker, None);
}

#[test]
fn weights_that_are_no_weights_are_refused() {
    let error = |config| Harness::<WeightedRandom>::new([config], Vec::new()).expect_err("refused");
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e10] {
        assert_eq!(
            error(weights(&[("a", 1.0), ("b", bad)])),
            "config key `weights` has a value that is no number from 0 to 1e9"
        );
    }
    let list = Value::Array(vec![Value::Int(1)]);
    assert_eq!(error(("weights", list)), "config key `weights` must be a map from worker url to number");
    assert_eq!(error(("weight", Value::Int(1))), "unknown config key `weight`; known: `weights`, `label`");
    assert_eq!(error(("label", Value::Int(1))), "config key `label` is 1; expected a text");
}
