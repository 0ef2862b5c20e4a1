//! Valid pairs, the cheapest of them, and single legs.

use std::collections::BTreeMap;

use pd_pair::PdPair;
use sgl_policy_sdk::prelude::{Leg, Value, WorkerRole};
use sgl_policy_sdk::testing::{Harness, Request, TestWorker};

fn worker(role: WorkerRole, zone: &str) -> TestWorker {
    TestWorker::new(&format!("http://{role:?}-{zone}")).role(role).label("zone", zone)
}

fn started(fleet: Vec<TestWorker>) -> Harness<PdPair> {
    Harness::new([], fleet).expect("starts")
}

/// Two prefill workers, then two decode workers, in zones a and b.
fn two_zones() -> Harness<PdPair> {
    let roles = [
        (WorkerRole::Prefill, "a"),
        (WorkerRole::Prefill, "b"),
        (WorkerRole::Decode, "a"),
        (WorkerRole::Decode, "b"),
    ];
    started(roles.into_iter().map(|(role, zone)| worker(role, zone)).collect())
}

fn request() -> Request {
    // 400 bytes are 100 tokens, 12.5 ms at the default rate.
    Request::new().text(&"x".repeat(400))
}

#[test]
fn idle_fleet_pairs_within_a_zone_and_shares_both_zones() {
    let mut harness = two_zones();
    let mut counts = BTreeMap::new();
    for _ in 0..2_000 {
        let pair = harness.select_pair(&request()).pair.expect("a pair");
        *counts.entry(pair).or_insert(0u32) += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [(0, 2), (1, 3)]);
    // 1000 expected each, standard deviation 22; the seed is fixed.
    assert!(counts.values().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn best_halves_are_not_taken_if_their_transfer_costs_more() {
    let mut harness = two_zones();
    // Prefill is cheaper in a by 15 ms, decode in b by 16 ms; the transfer costs 20 ms.
    harness.workers[0].queued_tokens = 0;
    harness.workers[1].queued_tokens = 120;
    harness.workers[2].running = 8;
    harness.workers[3].running = 0;
    assert_eq!(harness.select_pair(&request()).pair, Some((1, 3)));
    // At 15 against 14 ms the other zone is better.
    harness.workers[2].running = 7;
    assert_eq!(harness.select_pair(&request()).pair, Some((0, 2)));
}

#[test]
fn zones_are_crossed_when_that_is_worth_it() {
    let mut harness = two_zones();
    harness.workers[0].queued_tokens = 0;
    harness.workers[1].queued_tokens = 8_000;
    harness.workers[2].running = 11;
    // Decode in a costs 22 ms, in b 0 and the transfer of 20 ms.
    assert_eq!(harness.select_pair(&request()).pair, Some((0, 3)));
    harness.workers[2].running = 9;
    assert_eq!(harness.select_pair(&request()).pair, Some((0, 2)));
}

#[test]
fn every_pair_is_the_cheapest_of_all_pairs() {
    let zones = ["a", "b", "c"];
    let mut state = 9u64;
    let mut next = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        i32::try_from((state >> 33) % bound).expect("small")
    };
    for _ in 0..300 {
        let fleet: Vec<TestWorker> = (0..12)
            .map(|_| {
                let role = [WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Regular]
                    [usize::try_from(next(3)).expect("small")];
                let mut worker = worker(role, zones[usize::try_from(next(3)).expect("small")]);
                worker.healthy = next(5) > 0;
                worker.queued_tokens = 40 * next(20);
                worker.running = next(40);
                worker
            })
            .collect();
        let of =
            |role: WorkerRole| fleet.iter().enumerate().filter(move |(_, w)| w.role == role && w.healthy);
        let cost = |p: &TestWorker, d: &TestWorker| {
            let transfer = if p.labels == d.labels { 0.0 } else { 20.0 };
            (f64::from(p.queued_tokens) + 100.0) / 8.0 + f64::from(d.running) * 2.0 + transfer
        };
        let costs =
            of(WorkerRole::Prefill).flat_map(|(_, p)| of(WorkerRole::Decode).map(move |(_, d)| cost(p, d)));
        let lowest = costs.min_by(f64::total_cmp);
        let pair = started(fleet.clone()).select_pair(&request()).pair;
        if let Some((p, d)) = pair {
            assert_eq!((fleet[p].role, fleet[d].role), (WorkerRole::Prefill, WorkerRole::Decode));
            assert!(fleet[p].healthy && fleet[d].healthy);
        }
        assert_eq!(pair.map(|(p, d)| cost(&fleet[p], &fleet[d])), lowest);
    }
}

#[test]
fn pair_without_one_of_its_roles_is_nobody() {
    let mut harness = two_zones();
    harness.workers[2].healthy = false;
    harness.workers[3].excluded = true;
    assert_eq!(harness.select_pair(&request()).pair, None);
    harness.workers[3].excluded = false;
    assert_eq!(harness.select_pair(&request()).pair, Some((1, 3)));
    harness.workers[0].healthy = false;
    harness.workers[1].healthy = false;
    assert_eq!(harness.select_pair(&request()).pair, None);
    assert_eq!(started(Vec::new()).select_pair(&request()).pair, None);
}

#[test]
fn decode_worker_with_a_tight_cache_is_avoided() {
    let mut harness = two_zones();
    harness.workers[2].kv_usage = 0.95;
    harness.workers[3].kv_usage = 0.9;
    for _ in 0..20 {
        assert_eq!(harness.select_pair(&request()).pair, Some((1, 3)));
    }
}

#[test]
fn single_leg_takes_a_worker_of_its_role() {
    let mut fleet = vec![
        worker(WorkerRole::Regular, "a"),
        worker(WorkerRole::Regular, "a"),
        worker(WorkerRole::Prefill, "a"),
    ];
    fleet.extend([
        worker(WorkerRole::Prefill, "a"),
        worker(WorkerRole::Decode, "a"),
        worker(WorkerRole::Decode, "a"),
    ]);
    for (worker, load) in fleet.iter_mut().zip([2, 1, 3, 0, 4, 5]) {
        worker.load = load;
    }
    let mut harness = started(fleet);
    let mut of = |leg| harness.select(&request().leg(leg)).worker;
    assert_eq!([of(Leg::Single), of(Leg::Prefill), of(Leg::Decode)], [Some(1), Some(3), Some(4)]);
    harness.workers.truncate(2);
    harness.send_table();
    let mut of = |leg| harness.select(&request().leg(leg)).worker;
    assert_eq!([of(Leg::Prefill), of(Leg::Decode)], [None, None]);
}

#[test]
fn signals_that_are_not_reported_are_estimated_from_the_routers_own_load() {
    let mut harness = two_zones();
    harness.workers[0].load = 3;
    harness.workers[2].load = 3;
    assert_eq!(harness.select_pair(&request()).pair, Some((1, 3)));
    harness.workers[1].load = 9;
    harness.workers[3].load = 9;
    assert_eq!(harness.select_pair(&request()).pair, Some((0, 2)));
}

#[test]
fn prefill_worker_that_holds_the_prompt_is_worth_a_longer_queue() {
    let mut harness = two_zones();
    let request = Request::new().prompt_tokens(8_000);
    harness.workers[0].prefix_match = 6_000;
    // 2000 tokens and 5000 that wait, against 8000: the router's books tell of them.
    (harness.workers[0].uncached_tokens, harness.workers[1].uncached_tokens) = (5_000, 0);
    assert_eq!(harness.select_pair(&request).pair, Some((0, 2)));
    harness.workers[0].uncached_tokens = 6_100;
    assert_eq!(harness.select_pair(&request).pair, Some((1, 3)));
    // The worker's own report counts where it is more.
    harness.workers[1].queued_tokens = 1_000;
    assert_eq!(harness.select_pair(&request).pair, Some((0, 2)));
}

#[test]
fn tokens_are_the_routers_unless_the_operator_knows_better() {
    // 400 bytes. The first prefill worker has 4000 tokens to read, the other one prompt like this one.
    let chosen = |config: Vec<(&'static str, Value)>, request: &Request| {
        let fleet = vec![
            worker(WorkerRole::Prefill, "a"),
            worker(WorkerRole::Prefill, "a").load(1),
            worker(WorkerRole::Decode, "a"),
        ];
        let mut harness = Harness::<PdPair>::new(config, fleet).expect("starts");
        harness.workers[0].queued_tokens = 4_000;
        harness.select_pair(request).pair.expect("a pair").0
    };
    let estimated = Request { prompt_tokens: 5_000, ..request() };
    let bytes = || vec![("bytes_per_token", Value::Int(4))];
    assert_eq!(chosen(Vec::new(), &request()), 1, "100 tokens by bytes");
    assert_eq!(chosen(Vec::new(), &estimated), 0);
    assert_eq!(chosen(bytes(), &estimated), 1);
    assert_eq!(chosen(bytes(), &request().prompt_tokens(5_000)), 0, "counted");
}

#[test]
fn config_changes_the_costs_and_is_checked() {
    let config = [("transfer_ms", Value::Int(0)), ("zone_label", Value::Str("rack".to_owned()))];
    let fleet = vec![
        worker(WorkerRole::Prefill, "a"),
        worker(WorkerRole::Decode, "a"),
        worker(WorkerRole::Decode, "b"),
    ];
    let mut harness = Harness::<PdPair>::new(config, fleet).expect("starts");
    harness.workers[1].running = 1;
    assert_eq!(harness.select_pair(&request()).pair, Some((0, 2)));
    let error =
        |key: &str, value: Value| Harness::<PdPair>::new([(key, value)], Vec::new()).expect_err("refused");
    assert_eq!(
        error("prefill_tokens_per_s", Value::Int(0)),
        "config key `prefill_tokens_per_s` is 0; expected a number of at least 1"
    );
    let known =
        "`transfer_ms`, `prefill_tokens_per_s`, `bytes_per_token`, `decode_ms`, `kv_full_ms`, `zone_label`";
    assert_eq!(error("transfer", Value::Int(0)), format!("unknown config key `transfer`; known: {known}"));
}
