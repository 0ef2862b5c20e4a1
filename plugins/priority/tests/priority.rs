//! Who is served, who waits in which order, and who is refused.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use priority::Priority;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestDecision, TestWorker};

/// Two workers of 8 slots with so many requests in flight each; a level may fill 2 less than the one above.
fn started(loads: [i32; 2]) -> Harness<Priority> {
    let config = [("slots", Value::Int(8)), ("header", Value::Str("X-Priority".to_owned()))];
    let mut fleet = TestWorker::fleet(2);
    (fleet[0].load, fleet[1].load) = (loads[0], loads[1]);
    Harness::new(config, fleet).expect("starts")
}

fn request(level: &str) -> Request {
    let request = Request { now_ns: 100_000_000_000, ..Request::new().waiting(0, 10_000) };
    request.header("x-priority", level)
}

fn key(decision: &TestDecision) -> f64 {
    decision.wait.as_ref().expect("it waits").key
}

#[test]
fn each_level_may_fill_less_of_the_workers() {
    for (level, slots) in [("high", 8), ("normal", 6), ("low", 4), ("3", 2), ("4", 1), ("9", 1)] {
        let taken = started([slots - 1, slots]).select(&request(level));
        assert_eq!((taken.worker, taken.wait), (Some(0), None), "{level}");
        let waits = started([slots, slots]).select(&request(level));
        assert_eq!((waits.worker, waits.shed), (None, None), "{level}");
        assert_eq!(waits.wait.and_then(|wait| wait.deadline_ms), Some(30_000), "{level}");
    }
}

#[test]
fn urgent_requests_are_asked_first_until_others_have_waited_long() {
    let mut harness = started([8, 8]);
    let [high, normal, low] = ["high", "normal", "low"].map(|level| key(&harness.select(&request(level))));
    assert!(high < normal && normal < low);
    // Ten seconds for a level.
    let old = key(&harness.select(&request("normal").waiting(10_001, 5_000)));
    assert!(old < high);
    let later = Request { now_ns: 103_000_000_000, ..request("low").waiting(3_000, 7_000) };
    assert_eq!(key(&harness.select(&later)), low, "the key of one that waits stays");
}

#[test]
fn who_may_wait_no_longer_is_served_or_refused_by_level() {
    let mut harness = started([8, 9]);
    for level in ["high", "normal"] {
        assert_eq!(harness.select(&request(level).waiting(10_000, 0)).worker, Some(0), "{level}");
    }
    let refused = harness.select(&request("low").waiting(10_000, 0));
    assert_eq!(refused.shed.map(|shed| shed.retry_after_ms), Some(1_000));
}

#[test]
fn level_comes_from_the_header_else_from_the_body_else_from_the_configuration() {
    let level = |request: Request| {
        let mut harness = started([5, 5]);
        harness.select(&Request { now_ns: 1, ..request.waiting(0, 1) }).worker.is_some()
    };
    // At 5 of 8 slots levels 0 and 1 are served.
    assert!(level(Request::new()));
    assert!(!level(Request::new().field("/priority", "2")));
    assert!(level(Request::new().field("/priority", "2").header("x-priority", "0")));
    assert!(level(Request::new().field("/priority", "-7")), "the most urgent");
    assert!(!level(Request::new().field("/priority", "700")), "the least urgent");
    assert!(level(Request::new().field("/priority", "soon")), "no level that is known");
}

#[test]
fn nobody_is_nobody_and_settings_are_checked() {
    let mut harness = started([0, 0]);
    harness.workers.iter_mut().for_each(|worker| worker.healthy = false);
    let nobody = harness.select(&request("high"));
    assert_eq!((nobody.worker, nobody.wait, nobody.shed), (None, None, None));
    let error =
        |key: &str, value: Value| Harness::<Priority>::new([(key, value)], Vec::new()).expect_err("refused");
    assert_eq!(error("reserve", Value::Int(2)), "config key `reserve` is 2; expected a number from 0 to 1");
    assert_eq!(
        error("max_wait_ms", Value::Float(1.5)),
        "config key `max_wait_ms` is 1.5; expected a whole number from 0 to 3600000"
    );
}
