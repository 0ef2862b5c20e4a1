//! The column form: what a guest is sent for a decision, and guests that read it in place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use sgl_policy_abi::{Column, Input};
use sgl_testkit::commanded::ECHO;
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{config, loaded, loaded_with, stats};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::core::{BookEntry, Fleet, InFlight, Worker, WorkerReport, WorkerTable};
use sglang_router_rs::policies::{
    Leg, Load, LoadBalancingPolicy, PolicyFactory, PolicyHandle, PromptTokens, SelectWorkerInfo, WaitOffer,
    WasmPolicyConfig,
};
use sglang_router_rs::types::WorkerSet;

use crate::capture::{catch_logs, take_echo, take_lines};
use crate::decoder::Value;

const SESSION: Input = Input::Header(Cow::Borrowed("x-session-id"));

const TEAM: Input = Input::ConfigHeader(Cow::Borrowed("team_header"));

const USER: Input = Input::Field(Cow::Borrowed("/user"));

const KEY: Input = Input::Query(Cow::Borrowed("key"));

fn all_inputs() -> Vec<Input> {
    Input::named().chain([SESSION, TEAM, USER, KEY]).collect()
}

/// A message with the values of [`all_inputs`].
struct Everything(Value);

impl Everything {
    fn sent(name: &str) -> Self {
        let message = sent(name);
        assert_eq!(message.items().len(), 1 + all_inputs().len());
        Self(message)
    }

    fn value(&self, input: &Input) -> &Value {
        let position = all_inputs().iter().position(|known| known == input).unwrap();
        &self.0.items()[1 + position]
    }
}

/// A guest that logs every message and chooses worker 1.
async fn echoing(name: &str, inputs: &[Input]) -> (PolicyFactory, PolicyHandle) {
    catch_logs();
    let fields = format!(r#"{HOST}{}{ECHO}(data (i32.const 16) "\01")"#, manifest(inputs));
    let body = format!("(call $echo (i32.const 83) (local.get $ptr) (local.get $len)) {}", answer(16, 1));
    let loaded = loaded_with(config(name), Default::default(), guest_with(&fields, &body)).await;
    take_lines(name);
    loaded
}

/// What the guest was sent for one decision.
fn sent(name: &str) -> Value {
    Value::decode(&take_echo(name, 'S'))
}

/// Eleven workers of which 4 is unhealthy, 2 has two requests in flight 3 has reported, and others
/// have requests at 9.
fn varied_fleet() -> (Fleet, Vec<InFlight>) {
    let fleet = fleet(11);
    let table = fleet.table();
    table.workers()[4].set_healthy(false);
    let report = WorkerReport {
        running: 7,
        waiting: 2,
        queued_tokens: 70_000,
        kv_usage: 0.25,
        throughput: 812.5,
        ..WorkerReport::UNKNOWN
    };
    table.workers()[3].set_report(&report);
    table.workers()[10].observe_latency(12.5);
    table.workers()[9].set_load_elsewhere(Some(6));
    let entry = BookEntry { prompt_tokens: 900, prefill_tokens: 800, uncached_tokens: 700, cost: 1.5 };
    let mut held: Vec<_> = (0..2).map(|_| InFlight::on_fleet_with(&table.workers()[2], || entry)).collect();
    held[1].generated(5);
    held[1].begun();
    (fleet, held)
}

/// Which worker of [`varied_fleet`] is known by a column, and the bits that arrive of it. Sums that the
/// router keeps are known of all workers, and 0 of the others.
fn known_in(column: Column) -> (usize, u32) {
    match column {
        Column::Load => (2, 2),
        Column::Running => (3, 7),
        Column::Waiting => (3, 2),
        Column::QueuedTokens => (3, 70_000),
        Column::KvUsage => (3, 0.25_f32.to_bits()),
        Column::Throughput => (3, 812.5_f32.to_bits()),
        Column::LoadElsewhere => (9, 6),
        Column::LatencyEwma => (10, 12.5_f32.to_bits()),
        // Of this moment; its own test says how it grows.
        Column::ReportAgeMs => (3, 0),
        Column::PrefillLoad => (2, 1),
        Column::PrefillTokens => (2, 800),
        Column::UncachedTokens => (2, 700),
        Column::TokensInFlight => (2, 1805),
        Column::PendingCost => (2, 1.5_f32.to_bits()),
        // Nothing was sent.
        Column::OldestPendingMs | Column::TtftEwma | Column::TpotEwma => (2, column.unknown()),
    }
}

fn of_others(column: Column) -> u32 {
    let sums = [
        Column::Load,
        Column::PrefillLoad,
        Column::PrefillTokens,
        Column::UncachedTokens,
        Column::TokensInFlight,
        Column::PendingCost,
    ];
    if sums.contains(&column) { 0 } else { column.unknown() }
}

#[tokio::test]
async fn every_input_arrives_in_its_documented_encoding() {
    let (_factory, policy) = echoing("all-inputs", &all_inputs()).await;
    let (fleet, _held) = varied_fleet();
    let headers = vec![("x-session-id".to_owned(), "s-1".to_owned())];
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let (fields, query) = (pair("/user", "u"), pair("key", "k"));
    let excluded: WorkerSet = [0, 9].into_iter().collect();
    let info = SelectWorkerInfo {
        request_text: Some("héllo"),
        prompt_bytes: Some(9_000_000),
        tokens: Some(&[1, 70_000, u32::MAX]),
        headers: Some(&headers),
        model: Some("m"),
        leg: Leg::Decode,
        excluded: Some(&excluded),
        prefix_block_tokens: Some(15.5),
        prompt_tokens: Some(PromptTokens { count: 70_001, exact: true }),
        max_tokens: Some(u64::MAX),
        stream: true,
        route: Some("/generate"),
        session: Some("s-2"),
        prefix_hashes: Some(&[1, u64::MAX - 1]),
        arrival_rate: Some(2.5),
        fields: Some(&fields),
        query: Some(&query),
        wait: Some(WaitOffer {
            waited: Duration::from_micros(1999),
            left: Duration::from_micros(2001),
            held: 7,
        }),
        ..SelectWorkerInfo::default()
    };
    let table = fleet.table();
    fleet.start_prefix_index();
    table.sent(3, &[1, 5], None);
    table.sent(9, &[1, u64::MAX - 1, 5], None);
    assert_eq!(policy.decide_async(&table, &info).await.unwrap().index(), 1);
    let sent = Everything::sent("all-inputs");
    assert_eq!(sent.value(&Input::Healthy).bits(), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(sent.value(&Input::Excluded).bits(), [0, 9]);
    for column in Column::ALL {
        let (known, bits) = known_in(column);
        let expected = (0..11).map(|worker| if worker == known { bits } else { of_others(column) });
        let arrived = sent.value(&Input::Column(column)).words().map(u32::from_le_bytes);
        let whole = |bits: u32| if column == Column::ReportAgeMs && bits < 10_000 { 0 } else { bits };
        let arrived = arrived.map(whole);
        assert!(arrived.eq(expected), "{}", column.name());
    }
    let matches = (0..11).map(|worker| i32::from(worker == 3) * 15 + i32::from(worker == 9) * 31);
    assert!(sent.value(&Input::PrefixMatch).words().map(i32::from_le_bytes).eq(matches));
    assert_eq!(sent.value(&Input::RequestText), &Value::str("héllo"));
    let tokens = [1_u32, 70_000, u32::MAX].map(u32::to_le_bytes).concat();
    assert_eq!(sent.value(&Input::RequestTokens), &Value::Bin(tokens));
    assert_eq!(sent.value(&Input::PromptBytes).int(), 9_000_000, "of the whole prompt");
    assert_eq!(sent.value(&Input::PromptTokens).int(), 70_001);
    assert_eq!(sent.value(&Input::PromptTokensExact).int(), 1);
    assert_eq!(sent.value(&Input::MaxTokens).int(), i128::from(u64::MAX));
    assert_eq!(sent.value(&Input::Stream).int(), 1);
    assert_eq!(sent.value(&Input::ArrivalRate).float(), 2.5);
    let hashes = [1, u64::MAX - 1].map(u64::to_le_bytes).concat();
    assert_eq!(sent.value(&Input::PrefixHashes), &Value::Bin(hashes));
    for (input, text) in [(Input::Route, "/generate"), (Input::Session, "s-2"), (USER, "u"), (KEY, "k")] {
        assert_eq!(sent.value(&input), &Value::str(text), "{}", input.name());
    }
    assert_eq!(sent.value(&TEAM), &Value::Nil, "the configuration names no header");
    assert_eq!(sent.value(&Input::Model), &Value::str("m"));
    assert_eq!(sent.value(&SESSION), &Value::str("s-1"));
    assert_eq!(sent.value(&Input::Leg).int(), 2);
    assert_eq!(sent.value(&Input::WaitedMs).int(), 1);
    assert_eq!(sent.value(&Input::MayWaitMs).int(), 3, "as long as there is anything left it is not 0");
    assert_eq!(sent.value(&Input::Held).int(), 7);
}

#[tokio::test]
async fn age_of_a_report_grows_until_the_next_and_is_unknown_without_one() {
    let (_factory, policy) = echoing("ages", &[Input::ReportAgeMs]).await;
    let fleet = fleet(3);
    let table = fleet.table();
    let ages = || {
        policy.decide(&table, &SelectWorkerInfo::default()).unwrap();
        sent("ages").items()[1].signed()
    };
    let report = |running, report_age_ms| WorkerReport { running, report_age_ms, ..WorkerReport::UNKNOWN };
    table.workers()[0].set_report(&report(7, -1));
    table.workers()[1].set_report(&report(7, 90_000));
    let first = ages();
    assert!((0..60_000).contains(&first[0]), "{first:?}");
    // Ages in messages end with the kernel's last tick, 10 ms ago at most.
    assert!((89_990..150_000).contains(&first[1]), "{first:?}");
    assert_eq!(first[2], -1);
    std::thread::sleep(Duration::from_millis(30));
    let second = ages();
    assert!(second[1] >= first[1] + 15, "{first:?} {second:?}");
    assert_eq!(table.workers()[1].report().known().report_age_ms.map(|age| age >= second[1]), Some(true));
    table.workers()[1].set_report(&report(8, -1));
    assert!(ages()[1] < 60_000);
    table.workers()[1].set_report(&WorkerReport::UNKNOWN);
    assert_eq!(ages()[1], -1);
}

#[tokio::test]
async fn header_that_the_configuration_names_arrives() {
    catch_logs();
    let name = "named-header";
    let fields = format!(r#"{HOST}{}{ECHO}(data (i32.const 16) "\01")"#, manifest(&[TEAM, Input::Load]));
    let body = format!("(call $echo (i32.const 83) (local.get $ptr) (local.get $len)) {}", answer(16, 1));
    let named = |header: serde_json::Value| WasmPolicyConfig {
        config: HashMap::from([("team_header".to_owned(), header)]),
        ..config(name)
    };
    let module = guest_with(&fields, &body);
    let (factory, policy) = loaded_with(named("X-Team".into()), Default::default(), module.clone()).await;
    take_lines(name);
    let headers = vec![("x-team".to_owned(), "blue".to_owned())];
    let info = SelectWorkerInfo { headers: Some(&headers), ..SelectWorkerInfo::default() };
    policy.decide(&fleet(3).table(), &info).unwrap();
    assert_eq!(sent(name).items()[1], Value::str("blue"));
    for (header, code) in [("a b", "config_faults"), ("Authorization", "secret_headers_not_allowed")] {
        let error = factory.load(Load::bytes(named(header.into()), module.clone())).await.unwrap_err();
        assert_eq!(error.code(), code, "{header}: {error}");
    }
}

#[tokio::test]
async fn what_a_request_does_not_have_arrives_as_nil() {
    let (_factory, policy) = echoing("nil-inputs", &all_inputs()).await;
    let table = fleet(3).table();
    policy.decide(&table, &SelectWorkerInfo::default()).unwrap();
    let sent = Everything::sent("nil-inputs");
    assert_eq!(sent.value(&Input::Excluded), &Value::Bin(vec![0]));
    assert_eq!(sent.value(&Input::PrefixMatch), &Value::Bin(vec![0xff; 12]));
    let nils = [Input::RequestText, Input::RequestTokens, Input::Model, Input::MaxTokens, Input::Route];
    for nil in nils.into_iter().chain([Input::Session, Input::PrefixHashes, SESSION, TEAM, USER, KEY]) {
        assert_eq!(sent.value(&nil), &Value::Nil, "{}", nil.name());
    }
    for zero in [Input::PromptBytes, Input::PromptTokens, Input::PromptTokensExact, Input::Stream, Input::Leg]
    {
        assert_eq!(sent.value(&zero).int(), 0, "{}", zero.name());
    }
    assert!(sent.value(&Input::ArrivalRate).float().is_nan());
}

#[tokio::test]
async fn randomness_is_fresh_and_time_does_not_go_back() {
    let (_factory, policy) = echoing("fresh-numbers", &[Input::Random, Input::NowNs]).await;
    let table = fleet(3).table();
    let mut seen = Vec::new();
    for _ in 0..5 {
        policy.decide(&table, &SelectWorkerInfo::default()).unwrap();
        let message = sent("fresh-numbers");
        seen.push((message.items()[1].int(), message.items()[2].int()));
    }
    assert!(seen.is_sorted_by(|before, after| before.1 <= after.1), "{seen:?}");
    let mut random: Vec<i128> = seen.iter().map(|(random, _)| *random).collect();
    random.sort_unstable();
    random.dedup();
    assert_eq!(random.len(), 5, "{seen:?}");
}

#[tokio::test]
async fn eligible_workers_mask_the_healthy_ones() {
    let (_factory, policy) = echoing("masked", &[Input::Healthy]).await;
    let (fleet, _held) = varied_fleet();
    // 4 is not healthy, and 30 does not exist.
    let eligible: WorkerSet = [1, 4, 8, 30].into_iter().collect();
    let info = SelectWorkerInfo { eligible: Some(&eligible), ..SelectWorkerInfo::default() };
    policy.decide(&fleet.table(), &info).unwrap();
    assert_eq!(sent("masked").items()[1].bits(), [1, 8]);
}

#[tokio::test]
async fn slice_of_workers_is_sent_like_a_table() {
    let (_factory, policy) = echoing("slices", &all_inputs()).await;
    let workers = slice(9);
    workers[7].increment_load();
    let info = SelectWorkerInfo::default();
    assert_eq!(policy.select_worker(&workers, &info), Some(1));
    let message = Everything::sent("slices");
    assert_eq!(message.value(&Input::Healthy).bits(), (0..9).collect::<Vec<_>>());
    assert_eq!(message.value(&Input::Load).signed(), [0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(message.value(&Input::Running).signed(), [-1; 9]);
    assert!(message.value(&Input::KvUsage).floats().iter().all(|usage| usage.is_nan()));
    let load = || Everything::sent("slices").value(&Input::Load).signed();
    let held = policy.select_worker_async(&workers, &info).await.unwrap();
    assert_eq!(load(), [0, 0, 0, 0, 0, 0, 0, 1, 0], "not counted yet");
    policy.select_worker(&workers, &info);
    assert_eq!(load(), [0, 1, 0, 0, 0, 0, 0, 1, 0], "counted while held");
    drop(held);
}

/// Finds the least loaded worker that is healthy and not excluded, without copying anything.
const ARGMIN: &str = r#"
  (global $at (mut i32) (i32.const 0))
  (func $version
    (local $kind i32)
    (local.set $kind (i32.load8_u (global.get $at)))
    (global.set $at (i32.add (global.get $at) (i32.add (i32.const 1)
      (if (result i32) (i32.lt_u (local.get $kind) (i32.const 0x80)) (then (i32.const 0))
        (else (i32.shl (i32.const 1) (i32.sub (local.get $kind) (i32.const 0xcc)))))))))
  (func $bin (param $shift i32) (result i32)
    (local $width i32) (local $len i32) (local $i i32)
    (local.set $width
      (i32.shl (i32.const 1) (i32.sub (i32.load8_u (global.get $at)) (i32.const 0xc4))))
    (loop $digits
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (local.set $len (i32.or (i32.shl (local.get $len) (i32.const 8))
        (i32.load8_u (i32.add (global.get $at) (local.get $i)))))
      (br_if $digits (i32.lt_u (local.get $i) (local.get $width))))
    (global.set $at (i32.add (global.get $at) (i32.add (i32.const 1) (local.get $width))))
    (i32.store (i32.const 64) (i32.shr_u (local.get $len) (local.get $shift)))
    (global.get $at)
    (global.set $at (i32.add (global.get $at) (local.get $len))))
  (func $bit (param $bits i32) (param $i i32) (result i32)
    (i32.and (i32.const 1) (i32.shr_u
      (i32.load8_u (i32.add (local.get $bits) (i32.shr_u (local.get $i) (i32.const 3))))
      (i32.and (local.get $i) (i32.const 7)))))
"#;

fn argmin() -> Vec<u8> {
    let inputs = [Input::Healthy, Input::Excluded, Input::Load];
    let body = r#"
      (local $healthy i32) (local $excluded i32) (local $load i32)
      (local $i i32) (local $best i32) (local $least i32)
      (global.set $at (i32.add (local.get $ptr) (i32.const 1)))
      (call $version)
      (local.set $healthy (call $bin (i32.const 0)))
      (local.set $excluded (call $bin (i32.const 0)))
      (local.set $load (call $bin (i32.const 2)))
      (local.set $best (i32.const -1))
      (local.set $least (i32.const 0x7fffffff))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $i) (i32.load (i32.const 64))))
        (if (i32.and (call $bit (local.get $healthy) (local.get $i))
              (i32.and (i32.eqz (call $bit (local.get $excluded) (local.get $i)))
                (i32.lt_s (i32.load (i32.add (local.get $load) (i32.shl (local.get $i) (i32.const 2))))
                  (local.get $least))))
          (then
            (local.set $best (local.get $i))
            (local.set $least
              (i32.load (i32.add (local.get $load) (i32.shl (local.get $i) (i32.const 2)))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
      (if (i32.lt_s (local.get $best) (i32.const 0)) (then (return (i64.const 0))))
      (i32.store8 (i32.const 16) (i32.const 0xcd))
      (i32.store8 (i32.const 17) (i32.shr_u (local.get $best) (i32.const 8)))
      (i32.store8 (i32.const 18) (local.get $best))"#;
    let fields = format!("{}{ARGMIN}", manifest(&inputs));
    guest_with(&fields, &format!("{body}{}", answer(16, 3)))
}

/// What the guest must find.
fn least_loaded(table: &WorkerTable, excluded: &WorkerSet) -> Option<usize> {
    let workers = table.workers().iter().enumerate();
    let may = workers.filter(|(index, worker)| worker.is_healthy() && !excluded.contains(*index));
    may.min_by_key(|(index, worker)| (worker.load(), *index)).map(|(index, _)| index)
}

#[tokio::test]
async fn guest_that_reads_in_place_agrees_with_the_host_at_every_size() {
    let (_factory, policy) = loaded(argmin()).await;
    let random = &mut fastrand::Rng::with_seed(7);
    for count in [1, 7, 8, 9, 63, 64, 65, 200, 1000] {
        let fleet = fleet(count);
        if count > 8 {
            // Slots with a hole.
            fleet.remove("http://w3").unwrap();
        }
        let table = fleet.table();
        let mut held = Vec::new();
        for _ in 0..20 {
            for worker in table.workers() {
                worker.set_healthy(random.u8(..) > 60);
                if random.bool() {
                    held.push(InFlight::on_fleet(worker));
                }
            }
            let excluded: WorkerSet = (0..table.workers().len()).filter(|_| random.u8(..) < 60).collect();
            let info = SelectWorkerInfo { excluded: Some(&excluded), ..SelectWorkerInfo::default() };
            let expected = least_loaded(&table, &excluded);
            let decided = policy.decide_async(&table, &info).await.ok().map(|decision| decision.index());
            assert_eq!(decided, expected, "{count} workers");
        }
    }
}

#[tokio::test]
async fn loads_are_spread_when_decisions_are_held() {
    let (_factory, policy) = loaded(argmin()).await;
    let table = fleet(10).table();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(policy.decide(&table, &SelectWorkerInfo::default()).unwrap());
    }
    assert!(table.workers().iter().all(|worker| worker.load() == 5));
    drop(held);
    assert!(table.workers().iter().all(|worker| worker.load() == 0));
}

#[tokio::test]
async fn state_in_an_answer_of_the_column_form_is_ignored() {
    // {"selected_worker": 1, "state": {"n": 7}}
    let data = r#"(data (i32.const 16) "\82\afselected_worker\01\a5state\81\a1n\07")"#;
    let fields = format!("{}{data}", manifest(&[Input::Load]));
    let (factory, policy) = loaded(guest_with(&fields, &answer(16, 28))).await;
    let table = fleet(3).table();
    let info = SelectWorkerInfo::default();
    assert_eq!(policy.decide_async(&table, &info).await.unwrap().index(), 1);
    assert_eq!(policy.decide(&table, &info).unwrap().index(), 1);
    let stats = stats(&factory);
    assert_eq!((stats.decisions, stats.fallbacks), (2, 0), "the guest is asked once for each");
}
