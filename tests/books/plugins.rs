//! Books that are kept because plugins read them.

use std::sync::Arc;

use sgl_policy_abi::{Answer, Input, PairAnswer, PairMap, Ticket, encode_to_vec};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, without_probation};
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::{answer, escaped};
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{CanaryOptions, Rollout, ShadowOptions};
use sglang_router_rs::core::{
    BasicWorker, Column, Fleet, SliceCandidates, TableVersion, Worker, WorkerBooks, WorkerRole, WorkerSpec,
};
use sglang_router_rs::policies::{
    Decision, Load, LoadBalancingPolicy, PluginOptions, PolicyFactory, PromptTokens, SelectWorkerInfo,
};

use crate::columns::{SUMS, alone, assert_zero, bits, floats, ints};

/// A guest that reads a column, and chooses worker 1 with a ticket.
fn reading(input: Input, ticket: Ticket) -> Vec<u8> {
    let bytes = encode_to_vec(|w| Answer::Ticketed { index: 1, ticket }.encode(w)).unwrap();
    let fields = format!(r#"{}(data (i32.const 16) "{}")"#, manifest(&[input]), escaped(&bytes));
    guest_with(&fields, &answer(16, u32::try_from(bytes.len()).unwrap()))
}

fn fleet() -> Fleet {
    let fleet = Fleet::new();
    for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
        fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
    }
    fleet
}

fn load(name: &str, wasm: Vec<u8>, rollout: Rollout) -> Load {
    Load::bytes(config(name), wasm).with(PluginOptions { rollout, ..without_probation() })
}

fn counted(tokens: u32) -> SelectWorkerInfo<'static> {
    let prompt_tokens = Some(PromptTokens { count: tokens, exact: true });
    SelectWorkerInfo { prompt_tokens, ..SelectWorkerInfo::NOTHING }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn decision_is_in_the_books_of_its_worker_with_its_tokens_and_its_cost() {
    let _alone = alone();
    let factory = PolicyFactory::new();
    factory
        .load(load("test", reading(Input::PendingCost, Ticket::new(Some(3), 2.5)), Rollout::Immediate))
        .await
        .unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let table = fleet().table();
    let first = policy.decide_async(&table, &counted(700)).await.unwrap();
    let second = policy.decide(&table, &asking("eight by")).unwrap();
    for (column, expected) in [
        (Column::PrefillLoad, 2),
        (Column::PrefillTokens, 702),
        (Column::UncachedTokens, 702),
        (Column::TokensInFlight, 702),
    ] {
        assert_eq!(ints(&*table, column), [0, expected], "{}", column.name());
    }
    assert_eq!(floats(&*table, Column::PendingCost), [0.0, 5.0]);
    drop(first);
    let ids = [7_u32; 11];
    let third = SelectWorkerInfo { tokens: Some(&ids), ..asking("a text of a size that does not matter") };
    let third = policy.decide(&table, &third).unwrap();
    assert_eq!(
        (ints(&*table, Column::PrefillTokens), ints(&*table, Column::PrefillLoad)),
        (vec![0, 13], vec![0, 2])
    );
    drop((second, third.into_in_flight()));
    assert_zero(&table);
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn fallback_and_pairs_are_in_the_books_too() {
    let _alone = alone();
    let factory = PolicyFactory::new();
    let map = PairMap {
        prefill: Some(0),
        decode: Some(1),
        ticket: Ticket::new(None, 4.0),
        decode_cost: 0.5,
        ..PairMap::default()
    };
    let bytes = encode_to_vec(|w| PairAnswer::Map(map).encode(w)).unwrap();
    let fields = format!(
        r#"{}(data (i32.const 16) "{}")
        (func (export "select_worker_pair") (param i32 i32) (result i64) {})"#,
        manifest(&[Input::TokensInFlight]),
        escaped(&bytes),
        answer(16, u32::try_from(bytes.len()).unwrap())
    );
    // A choice that does not exist.
    let body = answer(1024, 1);
    let wasm = guest_with(&format!(r#"{fields}(data (i32.const 1024) "\7f")"#), &body);
    let options = PluginOptions { self_test: false, ..without_probation() };
    factory.load(Load::bytes(config("test"), wasm).with(options)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let table = fleet().table();
    let pair = policy.decide_pair_async(&table, &counted(100)).await.unwrap();
    assert_eq!(ints(&*table, Column::PrefillLoad), [1, 1]);
    assert_eq!(ints(&*table, Column::PrefillTokens), [100, 0], "the decode worker gets it processed");
    assert_eq!(ints(&*table, Column::UncachedTokens), [100, 0]);
    assert_eq!(ints(&*table, Column::TokensInFlight), [100, 100]);
    assert_eq!(floats(&*table, Column::PendingCost), [4.0, 0.5]);
    drop(pair);
    assert_zero(&table);
    let fallen = policy.decide_async(&table, &counted(30)).await.unwrap();
    assert_eq!(ints(&*table, Column::TokensInFlight)[fallen.index()], 30);
    drop(fallen);
    assert_zero(&table);
}

/// The numbers of worker 1.
fn sums(table: &sglang_router_rs::core::WorkerTable) -> Vec<u32> {
    SUMS.map(|column| bits(table, column)[1]).into()
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn plugin_that_reads_the_books_finds_them_right_from_the_next_decision_on() {
    let _alone = alone();
    let factory = PolicyFactory::new();
    factory.load(load("test", guest_choosing(1), Rollout::Immediate)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let fleet = fleet();
    let table = fleet.table();
    let worker = &table.workers()[1];
    let place = || policy.decide(&table, &counted(10)).unwrap();
    let mut before: Vec<Decision> = (0..3).map(|_| place()).collect();
    assert!(worker.book_numbers().is_none(), "nobody reads them");
    assert_eq!((sums(&table), worker.load()), (vec![0; 5], 3));

    let wasm = reading(Input::PrefillTokens, Ticket::NONE);
    factory.load(load("test", wasm.clone(), Rollout::Immediate)).await.unwrap();
    assert!(policy.needs().prompt_tokens, "tokens are counted for it");
    before.pop();
    assert_eq!(sums(&table), [0; 5], "what was never added is not taken away");
    let mut during: Vec<Decision> = (0..2).map(|_| place()).collect();
    before.clear();
    assert_eq!(sums(&table)[..4], [2, 20, 20, 20]);
    assert_eq!(worker.load(), 2);

    // Another generation with the same wish, then one without.
    factory.load(load("test", wasm, Rollout::Immediate)).await.unwrap();
    during.pop();
    assert_eq!(sums(&table)[..4], [1, 10, 10, 10], "a swap changes nothing");
    factory.load(load("test", guest_choosing(1), Rollout::Immediate)).await.unwrap();
    assert!(!policy.needs().prompt_tokens);
    eventually("the books are closed", || worker.book_numbers().is_none()).await;
    drop(during);
    assert_zero(&table);
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn books_are_kept_for_a_canary_and_for_a_shadow() {
    let _alone = alone();
    let canary = CanaryOptions { percent: 1.0, min_secs: 3600, ..CanaryOptions::default() };
    for rollout in [Rollout::Canary(canary), Rollout::Shadow(ShadowOptions { every: 1 })] {
        let factory = PolicyFactory::new();
        factory.load(load("test", guest_choosing(1), Rollout::Immediate)).await.unwrap();
        let policy = factory.create_by_name("test").unwrap();
        let fleet = fleet();
        let table = fleet.table();
        assert!(table.workers()[1].book_numbers().is_none());
        let wasm = reading(Input::PrefillLoad, Ticket::NONE);
        factory.load(load("test", wasm, rollout)).await.unwrap();
        let decision = policy.decide_async(&table, &SelectWorkerInfo::NOTHING).await.unwrap();
        assert_eq!(ints(&*table, Column::PrefillLoad), [0, 1]);
        factory.roll_back_wasm_plugin("test").await.unwrap();
        eventually("the books are closed", || table.workers()[1].book_numbers().is_none()).await;
        drop(decision);
        assert_zero(&table);
        factory.unload_wasm_plugin("test");
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn embedders_worker_keeps_books_of_its_own() {
    let _alone = alone();
    let factory = PolicyFactory::new();
    let wasm = reading(Input::PrefillTokens, Ticket::new(None, 1.5));
    factory.load(load("test", wasm, Rollout::Immediate)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let worker = |url| Arc::new(BasicWorker::new(WorkerSpec::new(url))) as Arc<dyn Worker>;
    let workers = [worker("http://a"), worker("http://b")];
    let candidates = SliceCandidates::new(TableVersion::next(), &workers);
    let mut in_flight = policy.select_worker_async(&workers, &counted(40)).await.unwrap().into_in_flight();
    in_flight.sent(std::time::Instant::now());
    assert_eq!(ints(&candidates, Column::PrefillTokens), [0, 40]);
    assert_eq!(floats(&candidates, Column::PendingCost), [0.0, 1.5]);
    assert!(ints(&candidates, Column::OldestPendingMs)[1] >= 0);
    in_flight.first_token(std::time::Instant::now());
    in_flight.generated(2);
    assert_eq!(ints(&candidates, Column::PrefillLoad), [0, 0]);
    assert_eq!(ints(&candidates, Column::TokensInFlight), [0, 42]);
    let numbers = workers[1].book_numbers().unwrap();
    assert_eq!((numbers.tokens_in_flight, numbers.oldest_pending_ms), (42, None));
    assert!(numbers.ttft_ms.is_some());
    drop(in_flight);
    assert_eq!((ints(&candidates, Column::TokensInFlight), workers[1].load()), (vec![0, 0], 0));
}

/// An embedder's worker that keeps an index of its own, and holds 24 tokens of whatever is asked for.
#[derive(Debug)]
struct Holder(BasicWorker);

impl Worker for Holder {
    fn url(&self) -> &str {
        self.0.url()
    }

    fn is_healthy(&self) -> bool {
        self.0.is_healthy()
    }

    fn load(&self) -> usize {
        self.0.load()
    }

    fn increment_load(&self) {
        self.0.increment_load();
    }

    fn decrement_load(&self) {
        self.0.decrement_load();
    }

    fn books(&self) -> Option<&WorkerBooks> {
        self.0.books()
    }

    fn prefix_match(&self, _prefix_hashes: &[u64], _block_tokens: f32) -> Option<i32> {
        Some(24)
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is there to keep other tests out")]
async fn what_an_embedders_worker_holds_of_a_prompt_is_not_uncached() {
    let _alone = alone();
    let factory = PolicyFactory::new();
    let wasm = reading(Input::UncachedTokens, Ticket::NONE);
    factory.load(load("test", wasm, Rollout::Immediate)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let worker = |url| Arc::new(Holder(BasicWorker::new(WorkerSpec::new(url)))) as Arc<dyn Worker>;
    let workers = [worker("http://a"), worker("http://b")];
    let candidates = SliceCandidates::new(TableVersion::next(), &workers);
    let hashes = [7, 8];
    let hashed = SelectWorkerInfo { prefix_hashes: Some(&hashes), ..counted(40) };
    let held = policy.select_worker_async(&workers, &hashed).await.unwrap().into_in_flight();
    let uncached =
        || (ints(&candidates, Column::PrefillTokens)[1], ints(&candidates, Column::UncachedTokens)[1]);
    assert_eq!(uncached(), (40, 16));
    // Without hashes nobody asks it.
    let unknown = policy.select_worker_async(&workers, &counted(40)).await.unwrap().into_in_flight();
    assert_eq!(uncached(), (80, 56));
    drop((held, unknown));
    assert_eq!(uncached(), (0, 0));
}
