//! Each scorer, their sum, filters, and picks.

use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};
use weighted_scorers::WeightedScorers;

/// Makes a worker better in some way.
type Better = fn(&mut TestWorker);

fn scorers(weights: &[(&str, f64)]) -> (&'static str, Value) {
    let entries = weights.iter().map(|(name, weight)| ((*name).to_owned(), Value::Float(*weight)));
    ("scorers", Value::Map(entries.collect()))
}

fn started(config: Vec<(&str, Value)>, workers: usize) -> Harness<WeightedScorers> {
    Harness::new(config, TestWorker::fleet(workers)).expect("starts")
}

fn chosen(harness: &mut Harness<WeightedScorers>) -> Option<usize> {
    harness.select(&Request::new().prompt_tokens(1_000)).worker
}

#[test]
fn each_scorer_prefers_what_it_says() {
    let better: [(&str, Better); 7] = [
        ("queue", |worker| worker.waiting = 1),
        ("load", |worker| worker.load = 1),
        ("kv", |worker| worker.kv_usage = 0.2),
        ("prefix", |worker| worker.prefix_match = 512),
        ("work", |worker| worker.uncached_tokens = 100),
        ("tokens", |worker| worker.tokens_in_flight = 100),
        ("ttft", |worker| worker.ttft_ewma = 10.0),
    ];
    for (name, better) in better {
        let mut harness = started(vec![scorers(&[(name, 1.0)])], 3);
        for worker in &mut harness.workers {
            (worker.waiting, worker.load, worker.kv_usage, worker.prefix_match) = (2, 2, 0.3, 256);
            (worker.uncached_tokens, worker.tokens_in_flight, worker.ttft_ewma) = (200, 200, 20.0);
        }
        better(&mut harness.workers[1]);
        assert_eq!(chosen(&mut harness), Some(1), "{name}");
    }
}

#[test]
fn default_is_that_of_llm_d() {
    // Half of the prompt is worth 1.5, and the longest queue of 2 costs 2.
    let mut harness = started(Vec::new(), 2);
    (harness.workers[0].prefix_match, harness.workers[1].prefix_match) = (500, 0);
    harness.workers[0].load = 2;
    assert_eq!(chosen(&mut harness), Some(1));
    (harness.workers[0].prefix_match, harness.workers[1].prefix_match) = (700, 0);
    assert_eq!(chosen(&mut harness), Some(0));
    harness.workers[0].kv_usage = 0.2;
    assert_eq!(chosen(&mut harness), Some(1), "2.1 against 2.4");
}

#[test]
fn workers_beyond_a_filter_are_passed_over_unless_all_are() {
    let config = || {
        vec![("max_load", Value::Int(10)), ("max_kv_usage", Value::Float(0.9)), scorers(&[("prefix", 1.0)])]
    };
    let mut harness = started(config(), 3);
    (harness.workers[0].prefix_match, harness.workers[1].prefix_match) = (900, 800);
    harness.workers[0].load = 11;
    assert_eq!(chosen(&mut harness), Some(1));
    harness.workers[1].kv_usage = 0.91;
    assert_eq!(chosen(&mut harness), Some(2));
    harness.workers[2].load = 11;
    assert_eq!(chosen(&mut harness), Some(0));
    harness.workers.iter_mut().for_each(|worker| worker.healthy = false);
    assert_eq!(chosen(&mut harness), None);
}

#[test]
fn weighted_pick_shares_in_proportion_to_scores() {
    let config = vec![("pick", Value::Str("weighted".to_owned())), scorers(&[("prefix", 1.0)])];
    let mut harness = started(config, 3);
    (harness.workers[0].prefix_match, harness.workers[1].prefix_match) = (750, 250);
    let mut counts = [0_u32; 3];
    (0..4_000).for_each(|_| counts[chosen(&mut harness).expect("a worker")] += 1);
    // 3000 and 1000 expected, standard deviation 27; the seed is fixed.
    assert!((2_880..3_120).contains(&counts[0]) && counts[2] < 5, "{counts:?}");
}

#[test]
fn config_that_names_no_scorer_is_refused() {
    let error =
        |config: (&str, Value)| Harness::<WeightedScorers>::new([config], Vec::new()).expect_err("refused");
    let expected =
        "expected weights from 0 to 1000000 of `queue`, `load`, `kv`, `prefix`, `work`, `tokens`, `ttft`";
    assert_eq!(error(scorers(&[("cache", 1.0)])), format!("config key `scorers` has `cache`; {expected}"));
    assert_eq!(error(scorers(&[("kv", -1.0)])), format!("config key `scorers` has `kv`; {expected}"));
    assert_eq!(
        error(("pick", Value::Str("worst".to_owned()))),
        "config key `pick` is `worst`; expected `best`, `weighted`"
    );
}
