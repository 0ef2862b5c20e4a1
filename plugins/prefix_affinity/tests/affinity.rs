//! Same prefix, same worker; and when not.

use prefix_affinity::PrefixAffinity;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

fn started(config: Vec<(&str, Value)>, workers: usize) -> Harness<PrefixAffinity> {
    Harness::new(config, TestWorker::fleet(workers)).expect("starts")
}

fn prompt(index: usize) -> Request {
    Request::new().text(&format!("You are assistant number {index}. Be brief."))
}

fn home(harness: &mut Harness<PrefixAffinity>, request: &Request) -> usize {
    harness.select(request).worker.expect("a worker")
}

#[test]
fn same_prefix_goes_to_the_same_worker_whatever_follows_it() {
    let mut harness = started(vec![("prefix_bytes", Value::Int(16))], 8);
    let first = home(&mut harness, &Request::new().text("0123456789abcdef and one"));
    for rest in ["", " and two", " and more that is much longer than the prefix"] {
        let request = Request::new().text(&format!("0123456789abcdef{rest}"));
        assert_eq!(home(&mut harness, &request), first);
    }
    let others: Vec<usize> =
        (0..32).map(|i| home(&mut harness, &Request::new().text(&format!("{i:016}")))).collect();
    assert!(others.iter().any(|worker| *worker != first), "the prefix itself counts");
}

#[test]
fn prompts_that_share_a_system_prompt_of_kilobytes_spread_by_default() {
    let mut harness = started(Vec::new(), 8);
    let system = "You are a helpful assistant. ".repeat(200);
    let mut counts = [0u32; 8];
    for index in 0..800 {
        let request = Request::new().text(&format!("{system}Question {index}"));
        counts[home(&mut harness, &request)] += 1;
    }
    // 100 expected each, standard deviation 9; hashing has no seed.
    assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
}

#[test]
fn prefixes_spread_evenly_over_workers() {
    let mut harness = started(Vec::new(), 8);
    let mut counts = [0u32; 8];
    for index in 0..8_000 {
        counts[home(&mut harness, &prompt(index))] += 1;
    }
    // 1000 expected each, standard deviation 30; hashing has no seed.
    assert!(counts.iter().all(|count| (860..1140).contains(count)), "{counts:?}");
}

#[test]
fn worker_that_goes_moves_only_its_own_prefixes_and_they_return_with_it() {
    let mut harness = started(Vec::new(), 8);
    let before: Vec<usize> = (0..1_000).map(|index| home(&mut harness, &prompt(index))).collect();
    harness.workers[3].healthy = false;
    let without: Vec<usize> = (0..1_000).map(|index| home(&mut harness, &prompt(index))).collect();
    for (before, without) in before.iter().zip(&without) {
        assert!(if *before == 3 { *without != 3 } else { before == without });
    }
    harness.workers[3].healthy = true;
    let after: Vec<usize> = (0..1_000).map(|index| home(&mut harness, &prompt(index))).collect();
    assert_eq!(before, after);
}

#[test]
fn place_in_the_table_does_not_matter_only_the_url_does() {
    let mut harness = started(Vec::new(), 8);
    let urls = |harness: &mut Harness<PrefixAffinity>| -> Vec<String> {
        let homes = (0..200).map(|index| home(harness, &prompt(index))).collect::<Vec<_>>();
        homes.into_iter().map(|worker| harness.workers[worker].url.clone()).collect()
    };
    let before = urls(&mut harness);
    harness.workers.reverse();
    harness.send_table();
    assert_eq!(urls(&mut harness), before);
}

#[test]
fn overloaded_worker_spills_to_one_place_and_gets_its_prefix_back() {
    let mut harness = started(vec![("factor", Value::Float(1.5)), ("slack", Value::Int(2))], 4);
    harness.workers.iter_mut().for_each(|worker| worker.load = 10);
    let request = prompt(1);
    let first = home(&mut harness, &request);
    // Mean (30 + load + 1) / 4, limit 1.5 × mean + 2: at 21 it is 21.5, at 22 it is 21.875.
    harness.workers[first].load = 21;
    assert_eq!(home(&mut harness, &request), first);
    harness.workers[first].load = 22;
    let second = home(&mut harness, &request);
    assert_ne!(second, first);
    for _ in 0..20 {
        assert_eq!(home(&mut harness, &request), second);
    }
    harness.workers[first].load = 10;
    assert_eq!(home(&mut harness, &request), first);
}

#[test]
fn spilled_prefixes_of_one_worker_go_to_different_workers() {
    let mut harness = started(Vec::new(), 6);
    let mut at_home: Vec<usize> = (0..600).filter(|index| home(&mut harness, &prompt(*index)) == 2).collect();
    harness.workers[2].load = 1_000;
    let mut places: Vec<usize> = at_home.drain(..).map(|index| home(&mut harness, &prompt(index))).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places, [0, 1, 3, 4, 5]);
}

#[test]
fn no_worker_goes_over_the_bound_under_one_hot_prefix() {
    let config = vec![("factor", Value::Float(1.25)), ("slack", Value::Int(0))];
    let mut harness = started(config, 5);
    for sent in 1..=500i32 {
        let chosen = home(&mut harness, &prompt(7));
        harness.workers[chosen].load += 1;
        let bound = 1.25 * f64::from(sent) / 5.0 + 1.0;
        assert!(f64::from(harness.workers[chosen].load) <= bound, "after {sent}");
    }
}

#[test]
fn request_without_text_goes_to_the_least_loaded() {
    let mut harness = started(Vec::new(), 5);
    harness.workers.iter_mut().for_each(|worker| worker.load = 5);
    harness.workers[4].load = 1;
    assert_eq!(harness.select(&Request::new()).worker, Some(4));
    assert_eq!(harness.select(&Request::new().text("")).worker, Some(4));
}

#[test]
fn workers_that_are_down_or_tried_are_passed_over() {
    let mut harness = started(Vec::new(), 3);
    let first = home(&mut harness, &prompt(0));
    harness.workers[first].excluded = true;
    let second = home(&mut harness, &prompt(0));
    assert_ne!(second, first);
    harness.workers[second].healthy = false;
    let third = home(&mut harness, &prompt(0));
    assert!(third != first && third != second);
    harness.workers[third].healthy = false;
    assert_eq!(harness.select(&prompt(0)).worker, None);
}

#[test]
fn config_out_of_range_is_refused() {
    let error = |key: &str, value: Value| {
        Harness::<PrefixAffinity>::new([(key, value)], Vec::new()).expect_err("refused")
    };
    assert_eq!(error("prefix_bytes", Value::Int(0)), "config key `prefix_bytes` must be at least 1");
    assert_eq!(
        error("prefix_bytes", Value::Int(-1)),
        "config key `prefix_bytes` must be a whole number, not negative"
    );
    assert_eq!(error("factor", Value::Float(0.99)), "config key `factor` is out of range");
    assert_eq!(error("slack", Value::Int(-1)), "config key `slack` is out of range");
    assert_eq!(error("prefix", Value::Int(1)), "unknown config key `prefix`");
}
