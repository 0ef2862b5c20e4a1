//! Same prefix, same worker; and when not.

use prefix_affinity::PrefixAffinity;
use sgl_policy_sdk::prelude::Value;
use sgl_policy_sdk::testing::{Harness, Played, Request, TestWorker};

fn played(workers: usize) -> Played<PrefixAffinity> {
    Played::new([], workers).expect("starts")
}

/// What all chats of a service begin with.
fn system_prompt(bytes: usize) -> String {
    (0..bytes).map(|index| char::from(b'a' + u8::try_from(index * index % 26).expect("a letter"))).collect()
}

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
fn prompts_that_share_a_system_prompt_spread_while_its_cache_is_warm() {
    for bytes in [2 << 10, 8 << 10, 9 << 10] {
        let system = system_prompt(bytes);
        let mut fleet = played(8);
        let prompts = (0..1_600).map(|index| Request::new().text(&format!("{system}Question {index:0>64}")));
        let chosen = fleet.run(prompts, 32, 8);
        let mut counts = [0; 8];
        chosen.iter().for_each(|worker| counts[*worker] += 1);
        assert!(counts.iter().all(|count| (140..260).contains(count)), "{bytes}: {counts:?}");
    }
}

#[test]
fn long_prompts_that_share_only_their_beginning_do_not_queue_behind_it() {
    let system = system_prompt(2 << 10);
    let mut fleet = played(8);
    // All at once: what is held of them already saves less than the 8,000 tokens that wait there.
    let mut counts = [0; 8];
    for index in 0..16 {
        let prompt = Request::new().text(&format!("{system}{index}{}", "x".repeat(32 << 10)));
        counts[fleet.send(&prompt).expect("a worker").worker] += 1;
    }
    assert!(counts.iter().all(|count| *count <= 5), "{counts:?}");
}

#[test]
fn prompts_that_share_a_long_system_prompt_spread_without_an_index() {
    let system = system_prompt(9 << 10);
    let mut harness = started(Vec::new(), 8);
    let mut counts = [0; 8];
    for index in 0..1_600 {
        let request = Request::new().text(&format!("{system}Question {index:0>64}"));
        counts[home(&mut harness, &request)] += 1;
    }
    // The first 15 go to one worker: until then it could be one conversation.
    assert!(counts.iter().all(|count| (140..260).contains(count)), "{counts:?}");
}

#[test]
fn conversations_stay_at_their_worker_as_they_grow() {
    for bytes in [0, 2 << 10, 8 << 10] {
        let system = system_prompt(bytes);
        let turn = |conversation: usize, turn: usize| {
            let begun = format!("{conversation:_<4000}");
            let turns: String = (0..=turn).map(|turn| format!("{turn:0>400}")).collect();
            Request::new().text(&format!("{system}{begun}{turns}"))
        };
        let mut fleet = played(8);
        let turns = (0..10).flat_map(|turn| (0..64).map(move |conversation| (turn, conversation)));
        let chosen = fleet.run(turns.map(|(number, conversation)| turn(conversation, number)), 32, 4);
        let moves = chosen.iter().zip(&chosen[64..]).filter(|(before, now)| before != now).count();
        // Of 576: where several meet at one worker, another may be done sooner.
        assert!(moves <= 10, "{bytes}: {moves}");
        let mut counts = [0; 8];
        chosen.iter().for_each(|worker| counts[*worker] += 1);
        assert!(counts.iter().all(|count| (30..170).contains(count)), "{bytes}: {counts:?}");
    }
}

#[test]
fn who_holds_it_is_passed_over_when_the_home_is_done_sooner() {
    let mut harness = started(Vec::new(), 4);
    let request = Request::new().text(&"x".repeat(16_000)).prompt_tokens(4_000);
    let first = home(&mut harness, &request);
    let other = (first + 1) % 4;
    harness.workers.iter_mut().for_each(|worker| (worker.prefix_match, worker.uncached_tokens) = (0, 0));
    harness.workers[other].prefix_match = 1_024;
    assert_eq!(home(&mut harness, &request), other);
    harness.workers[other].uncached_tokens = 1_024;
    assert_eq!(home(&mut harness, &request), other, "equal: the cache counts");
    harness.workers[other].uncached_tokens = 1_025;
    assert_eq!(home(&mut harness, &request), first);
    harness.workers[first].uncached_tokens = 1;
    assert_eq!(home(&mut harness, &request), other);
}

#[test]
fn who_holds_it_takes_no_more_than_its_bound() {
    let mut harness = started(vec![("slack", Value::Int(0))], 4);
    harness.workers.iter_mut().for_each(|worker| worker.load = 8);
    let request = Request::new().text(&"x".repeat(16_000)).prompt_tokens(4_000);
    let first = home(&mut harness, &request);
    let other = (first + 1) % 4;
    harness.workers[other].prefix_match = 4_000;
    // Mean 33 / 4 with this request, limit 10.3 at a factor of 1.25; with two more 10.9.
    harness.workers[other].load = 10;
    assert_eq!(home(&mut harness, &request), other);
    harness.workers[other].load = 12;
    assert_eq!(home(&mut harness, &request), first);
}

#[test]
fn prompt_of_token_ids_goes_to_who_holds_it() {
    let mut harness = started(Vec::new(), 4);
    harness.workers.iter_mut().for_each(|worker| worker.prefix_match = 0);
    harness.workers[2].prefix_match = 512;
    assert_eq!(harness.select(&Request::new().prompt_tokens(600)).worker, Some(2));
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
    assert_eq!(
        error("prefix_bytes", Value::Int(0)),
        "config key `prefix_bytes` is 0; expected a whole number of at least 1"
    );
    assert_eq!(
        error("prefix_bytes", Value::Int(-1)),
        "config key `prefix_bytes` is -1; expected a whole number of at least 1"
    );
    assert_eq!(
        error("factor", Value::Float(0.99)),
        "config key `factor` is 0.99; expected a number of at least 1"
    );
    assert_eq!(error("slack", Value::Int(-1)), "config key `slack` is -1; expected a number of at least 0");
    assert_eq!(
        error("prefix", Value::Int(1)),
        "unknown config key `prefix`; known: `prefix_bytes`, `factor`, `slack`"
    );
}
