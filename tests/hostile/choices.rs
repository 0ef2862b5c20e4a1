//! Choices that must not be acted on.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sgl_policy_abi::Input;
use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::asking;
use sgl_testkit::text::answer;
use sglang_router_rs::config::BreakerOptions;
use sglang_router_rs::core::{BasicWorker, Fleet, Worker, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    Chooser, DecideError, FailureCause, LoadBalancingPolicy, PluginOptions, PolicyHandle, SelectWorkerInfo,
};
use sglang_router_rs::types::WorkerSet;

use crate::guest::{answering, guest};
use crate::stage::{BAD, Stage, WORKERS, limits, options};

#[tokio::test]
async fn worker_beyond_the_table_is_an_invalid_choice() {
    let first_beyond = u8::try_from(WORKERS).unwrap();
    Stage::new().await.fails(answering(&[first_beyond]), FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn negative_worker_is_an_invalid_choice() {
    Stage::new().await.fails(answering(&[0xff]), FailureCause::InvalidChoice).await;
    let least = [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0];
    Stage::new().await.fails(answering(&least), FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn worker_that_is_right_only_when_cut_to_32_bits_is_an_invalid_choice() {
    // 2^32 + 1.
    let index = [0xcf, 0, 0, 0, 1, 0, 0, 0, 1];
    Stage::new().await.fails(answering(&index), FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn unhealthy_worker_is_an_invalid_choice() {
    let fleet = Fleet::new();
    for index in 0..WORKERS {
        fleet.add(WorkerSpec::new(format!("http://w{index}")), index != 2).unwrap();
    }
    let stage = Stage::new().await;
    let hostile = stage.load(answering(&[2])).await;
    let table = fleet.table();
    for _ in 0..2 * WORKERS {
        let decided = stage.beside(hostile.policy.decide_async(&table, &asking(BAD))).await.unwrap();
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::InvalidChoice });
        assert_ne!(decided.index(), 2);
    }
    assert_eq!(hostile.failures(FailureCause::InvalidChoice), 2 * WORKERS as u64);
    stage.ends(hostile).await;
}

/// A worker that may not be chosen when it is looked at for these times, from 1 on.
#[derive(Debug)]
struct Flapping {
    worker: BasicWorker,
    looks: AtomicUsize,
    gone: RangeInclusive<usize>,
}

impl Worker for Flapping {
    fn url(&self) -> &str {
        self.worker.url()
    }

    fn is_healthy(&self) -> bool {
        // Relaxed: one thread looks.
        !self.gone.contains(&(self.looks.fetch_add(1, Ordering::Relaxed) + 1))
    }

    fn load(&self) -> usize {
        self.worker.load()
    }

    fn increment_load(&self) {
        self.worker.increment_load();
    }

    fn decrement_load(&self) {
        self.worker.decrement_load();
    }
}

/// What is chosen, how many invalid choices count, and whether the fallback chose, if the worker of a plugin's
/// choice is gone at these looks. The guest is not shown health, so each look checks what it chose.
async fn failures_if_gone(gone: RangeInclusive<usize>) -> (Option<usize>, u64, bool) {
    let stage = Stage::new().await;
    let watched = PluginOptions { breaker: BreakerOptions::default(), ..options() };
    let hostile = stage.load_with(limits(), watched, answering(&[1])).await;
    let PolicyHandle::Wasm(plugin) = &hostile.policy else { panic!("a plugin") };
    let flapping = Flapping { worker: basic(1), looks: AtomicUsize::new(0), gone };
    let workers: [Arc<dyn Worker>; 2] = [Arc::new(basic(0)), Arc::new(flapping)];
    let chosen = plugin.select_worker(&workers, &asking(BAD));
    let found = (chosen, hostile.failures(FailureCause::InvalidChoice), hostile.stats().fallbacks > 0);
    stage.ends(hostile).await;
    found
}

fn basic(index: usize) -> BasicWorker {
    BasicWorker::new(WorkerSpec::new(format!("http://w{index}")))
}

#[tokio::test]
async fn worker_that_goes_during_a_decision_is_no_fault_of_the_plugin() {
    assert_eq!(failures_if_gone(1..=1).await, (Some(1), 0, false));
    assert_eq!(failures_if_gone(1..=9).await, (Some(0), 1, true), "the same again");
}

#[tokio::test]
async fn excluded_worker_is_an_invalid_choice() {
    let stage = Stage::new().await;
    let hostile = stage.load(answering(&[1])).await;
    let mut tried = WorkerSet::with_capacity(WORKERS);
    tried.insert(1);
    let info = SelectWorkerInfo { excluded: Some(&tried), ..asking(BAD) };
    for _ in 0..2 * WORKERS {
        let decided = stage.beside(hostile.policy.decide_async(&stage.table, &info)).await.unwrap();
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::InvalidChoice });
        assert_ne!(decided.index(), 1);
    }
    stage.ends(hostile).await;
}

#[tokio::test]
async fn pairs_that_are_none_are_invalid_choices() {
    // Twice the same, the wrong way round, and one that does not exist.
    for pair in ["\\92\\00\\00", "\\92\\01\\00", "\\92\\00\\03"] {
        let fields = format!(
            r#"(data (i32.const 1024) "{pair}")
            (func (export "select_worker_pair") (param i32 i32) (result i64) {})"#,
            answer(1024, 3)
        );
        let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
        let stage = Stage::new().await;
        let hostile = stage.load(wasm).await;
        let fleet = Fleet::new();
        for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
            fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
        }
        let (table, info) = (fleet.table(), asking(BAD));
        let found = stage.beside(hostile.policy.decide_pair_async(&table, &info)).await.expect("a pair");
        assert_eq!((found.prefill.index(), found.decode.index()), (0, 1), "{pair}");
        assert_eq!(hostile.failures(FailureCause::InvalidChoice), 1, "{pair}");
        stage.ends(hostile).await;
    }
}

#[tokio::test]
async fn choosing_nobody_of_workers_that_may_be_chosen_is_a_failure() {
    Stage::new().await.fails(guest("(return (i64.const 0))"), FailureCause::NoChoice).await;
    Stage::new().await.fails(answering(&[0xc0]), FailureCause::NoChoice).await;
    Stage::new().await.fails(answering(b"\x81\xafselected_worker\xc0"), FailureCause::NoChoice).await;
}

#[tokio::test]
async fn choosing_nobody_where_nobody_may_be_chosen_is_an_answer() {
    let stage = Stage::new().await;
    let hostile = stage.load(guest("(return (i64.const 0))")).await;
    let all: WorkerSet = (0..WORKERS).collect();
    let info = SelectWorkerInfo { excluded: Some(&all), ..asking(BAD) };
    let refused = stage.beside(hostile.policy.decide_async(&stage.table, &info)).await;
    assert_eq!(refused.unwrap_err(), DecideError::NoWorker);
    assert!(hostile.stats().failures.iter().all(|(_, count)| *count == 0));
    assert_eq!(hostile.stats().fallbacks, 0);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn plugin_that_may_refuse_refuses_only_the_request_at_hand_and_is_counted() {
    let stage = Stage::new().await;
    let shedding = PluginOptions { may_refuse: true, ..options() };
    let hostile = stage.load_with(limits(), shedding, guest("(return (i64.const 0))")).await;
    let PolicyHandle::Wasm(plugin) = &hostile.policy else { panic!("a plugin") };
    let generation = plugin.stats().generation;
    let refused = stage.beside(hostile.policy.decide_async(&stage.table, &asking(BAD))).await;
    assert_eq!(refused.unwrap_err(), DecideError::Refused { generation });
    let refused = hostile.policy.decide(&stage.table, &asking(BAD));
    assert_eq!(refused.unwrap_err(), DecideError::Refused { generation });
    assert_eq!((hostile.failures(FailureCause::NoChoice), hostile.stats().fallbacks), (2, 0));
    stage.by_plugin(&hostile, crate::stage::GOOD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn choosing_nobody_opens_no_breaker() {
    let stage = Stage::new().await;
    let watched = PluginOptions { breaker: BreakerOptions::default(), ..options() };
    let hostile = stage.load_with(limits(), watched, guest("(return (i64.const 0))")).await;
    for _ in 0..20 {
        let decided = stage.decide(&hostile, BAD).await;
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::NoChoice });
    }
    assert!(!hostile.stats().breaker_open, "one client must not take the policy from all others");
    stage.by_plugin(&hostile, crate::stage::GOOD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn module_that_always_chooses_nobody_is_refused() {
    let parts = ["fails its self-test: `select_worker` chose nobody of 4 workers", "may_refuse = true"];
    let silent = GuestText { always: "(return (i64.const 0))", ..GuestText::default() }.wasm();
    Stage::new().await.refuses(silent, &parts).await;
    // An i32 where an i64 was meant: what it returns is taken for a pointer to a length and bytes.
    let short = "(func (export \"select_worker\") (param i32 i32) (result i32) (i32.const 1))";
    let text = GuestText::default().text();
    let at = text.find("(func $select").expect("it has one");
    let short = wat::parse_str(format!("{}{short})", &text[..at])).expect("a module");
    Stage::new().await.refuses(short, &parts).await;
    let fields = r#"(func (export "select_worker_pair") (param i32 i32) (result i64) (i64.const 0))"#;
    let unpaired = GuestText { fields, ..GuestText::default() }.wasm();
    Stage::new().await.refuses(unpaired, &["`select_worker_pair` chose nobody of 4 workers"]).await;
}

#[tokio::test]
async fn always_the_same_worker_is_the_policys_right_and_is_counted_in_flight() {
    let stage = Stage::new().await;
    let hostile = stage.load(answering(&[3])).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(stage.decide(&hostile, BAD).await);
    }
    assert!(held.iter().all(|decided| decided.index() == 3));
    assert_eq!(stage.table.workers()[3].load(), 8);
    held.clear();
    let table = Arc::clone(&stage.table);
    assert_eq!(table.get(3).unwrap().load(), 0, "dropped decisions count nothing in flight");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn inputs_that_do_not_exist_are_refused() {
    let known = manifest(&[Input::Load]);
    for (from, to) in [("load", "lxad"), ("load", "l\u{1b}ad")] {
        let wrong = known.replace(
            &sgl_testkit::text::escaped(from.as_bytes()),
            &sgl_testkit::text::escaped(to.as_bytes()),
        );
        assert_ne!(wrong, known);
        let wasm = GuestText { manifest: wrong, ..GuestText::default() }.wasm();
        let parts =
            ["its manifest (custom section `sgl.policy`) is refused: unknown input", "known are healthy"];
        let error = Stage::new().await.refuses(wasm, &parts).await;
        assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
    }
}

#[tokio::test]
async fn inputs_without_number_are_refused() {
    // Each would be looked up for every request.
    let header = |index: usize| Input::Header(format!("x-{index:06}").into());
    let many: Vec<Input> = (0..100_000).map(header).collect();
    let wasm = GuestText { manifest: manifest(&many), ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["its manifest", "inputs"]).await;
}

#[tokio::test]
async fn input_that_is_named_twice_is_refused() {
    let wasm = GuestText { manifest: manifest(&[Input::Load, Input::Load]), ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["manifest lists input `load` twice"]).await;
}
