//! Where sessions begin, that they stay, and when they end.

use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};
use sticky_least_loaded::StickyLeastLoaded;

fn started(config: Vec<(&str, Value)>, workers: usize) -> Harness<StickyLeastLoaded> {
    Harness::new(config, TestWorker::fleet(workers)).expect("starts")
}

fn at(seconds: u64, session: &str) -> Request {
    Request { now_ns: seconds * 1_000_000_000, ..Request::new().session(session) }
}

fn chosen(harness: &mut Harness<StickyLeastLoaded>, request: &Request) -> usize {
    harness.select(request).worker.expect("a worker")
}

/// How many of these sessions are where.
fn homes(
    harness: &mut Harness<StickyLeastLoaded>,
    seconds: u64,
    sessions: std::ops::Range<u32>,
) -> Vec<usize> {
    sessions.map(|session| chosen(harness, &at(seconds, &session.to_string()))).collect()
}

fn counts(homes: &[usize], workers: usize) -> Vec<usize> {
    (0..workers).map(|worker| homes.iter().filter(|home| **home == worker).count()).collect()
}

#[test]
fn sessions_spread_evenly_whatever_the_load_says_and_stay() {
    let mut harness = started(Vec::new(), 4);
    // Silent sessions are sessions: nothing is in flight where most of them live.
    harness.workers[0].load = 50;
    let first = homes(&mut harness, 0, 0..40);
    assert_eq!(counts(&first, 4), [10; 4]);
    harness.workers[1].load = 500;
    assert_eq!(homes(&mut harness, 1, 0..40), first);
}

#[test]
fn idle_session_ends_and_makes_room() {
    let mut harness = started(vec![("idle_secs", Value::Int(60))], 2);
    let first = homes(&mut harness, 0, 0..10);
    // Those at the first worker go on, the others are silent.
    for (session, _) in first.iter().enumerate().filter(|(_, home)| **home == 0) {
        assert_eq!(chosen(&mut harness, &at(50, &session.to_string())), 0);
    }
    assert_eq!(counts(&homes(&mut harness, 70, 100..105), 2), [0, 5], "five live at the first");
}

#[test]
fn session_that_says_so_ends_at_once() {
    let mut harness = started(vec![("end_header", Value::Str("x-session-end".to_owned()))], 2);
    let home = chosen(&mut harness, &at(0, "a"));
    let last = at(1, "a").header("x-session-end", "true");
    assert_eq!(chosen(&mut harness, &last), home);
    // Nobody lives there any more: of the next two each worker gets one.
    let next = [chosen(&mut harness, &at(2, "b")), chosen(&mut harness, &at(2, "c"))];
    assert_ne!(next[0], next[1]);
    let kept = at(3, "b").header("x-session-end", "0");
    assert_eq!([chosen(&mut harness, &kept), chosen(&mut harness, &at(4, "b"))], [next[0]; 2]);
}

#[test]
fn session_that_is_said_to_be_over_makes_room_once() {
    let mut harness = started(Vec::new(), 2);
    let first = homes(&mut harness, 0, 0..10);
    let over: Vec<String> =
        (0..10).filter(|session| first[*session] == 0).map(|session| session.to_string()).collect();
    let over: Vec<&str> = over.iter().map(String::as_str).collect();
    harness.end_sessions(&["never seen", over[0]]);
    harness.end_sessions(&over);
    assert_eq!(counts(&homes(&mut harness, 1, 100..105), 2), [5, 0], "five live at the second");
    assert_eq!(counts(&homes(&mut harness, 1, 200..202), 2), [1, 1], "and now at both");
}

#[test]
fn session_whose_worker_is_gone_moves_and_stays_where_it_went() {
    let mut harness = started(Vec::new(), 3);
    let home = chosen(&mut harness, &at(0, "a"));
    harness.workers[home].healthy = false;
    let next = chosen(&mut harness, &at(1, "a"));
    assert_ne!(next, home);
    harness.workers[home].healthy = true;
    assert_eq!(chosen(&mut harness, &at(2, "a")), next);
    // The one that it left has none.
    let others = homes(&mut harness, 3, 0..2);
    assert!(others.contains(&home) && !others.contains(&next));
}

#[test]
fn worker_of_twice_the_weight_has_twice_the_sessions() {
    let mut fleet = TestWorker::fleet(3);
    (fleet[1].weight, fleet[2].weight) = (2.0, 0.0);
    let mut harness = Harness::<StickyLeastLoaded>::new([], fleet).expect("starts");
    assert_eq!(counts(&homes(&mut harness, 0, 0..30), 3), [10, 20, 0]);
}

#[test]
fn sessions_follow_their_workers_when_the_table_changes() {
    let mut harness = started(Vec::new(), 3);
    let first = homes(&mut harness, 0, 0..12);
    let gone = harness.workers.remove(0).url;
    harness.workers.push(TestWorker::new("http://new"));
    harness.workers.reverse();
    harness.send_table();
    for (session, home) in first.iter().enumerate().filter(|(_, home)| **home != 0) {
        let now = chosen(&mut harness, &at(1, &session.to_string()));
        assert_eq!(harness.workers[now].url, format!("http://w{home}"), "{gone} has left");
    }
    // Four of the old ones, and those that are new: all go to the new worker until it has as many.
    assert_eq!(counts(&homes(&mut harness, 2, 100..104), 3), [4, 0, 0]);
}

#[test]
fn next_generation_knows_the_sessions() {
    let mut harness = started(Vec::new(), 4);
    let first = homes(&mut harness, 0, 0..41);
    let saved = harness.save_state();
    let mut next = started(Vec::new(), 4);
    next.restore_state(&saved);
    // The other way round, so that new sessions would go elsewhere.
    for (session, home) in first.iter().enumerate().rev() {
        assert_eq!(chosen(&mut next, &at(1, &session.to_string())), *home);
    }
    assert_eq!(counts(&homes(&mut next, 1, 100..103), 4).iter().max(), Some(&1), "and how many there are");
    for damaged in [&saved[..saved.len() - 1], &saved[..40], &[], &saved[8..]] {
        let mut next = started(Vec::new(), 4);
        next.restore_state(damaged);
        assert_eq!(counts(&homes(&mut next, 1, 200..204), 4), [1; 4]);
    }
}

#[test]
fn request_without_a_session_goes_to_the_least_loaded() {
    let mut harness = started(Vec::new(), 3);
    (harness.workers[0].load, harness.workers[1].load) = (2, 1);
    assert_eq!(chosen(&mut harness, &Request::new()), 2);
    harness.workers.iter_mut().for_each(|worker| worker.excluded = true);
    assert_eq!(harness.select(&at(0, "a")).worker, None);
}

#[test]
fn config_out_of_range_is_refused() {
    let error = |key: &str, value: Value| {
        Harness::<StickyLeastLoaded>::new([(key, value)], Vec::new()).expect_err("refused")
    };
    assert_eq!(
        error("max_sessions", Value::Int(0)),
        "config key `max_sessions` is 0; expected a whole number from 1 to 10000000"
    );
    assert_eq!(error("end_header", Value::Bool(true)), "config key `end_header` is true; expected a text");
}
