//! Tags and costs, which a plugin gives along with its choice.

use sgl_policy_abi::{Answer, AnswerMap, PairAnswer, PairMap, Ticket, Writer, encode_to_vec};
use sgl_testkit::plugins::{config, failures, loaded_with};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{answer, escaped};
use sglang_router_rs::core::{Fleet, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    Chooser, Decision, FailureCause, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
};

fn bytes(write: impl FnMut(&mut Writer<'_>) -> Result<(), sgl_policy_abi::Full>) -> Vec<u8> {
    encode_to_vec(write).unwrap()
}

fn data(bytes: &[u8]) -> (String, String) {
    let field = format!(r#"(data (i32.const 16) "{}")"#, escaped(bytes));
    (field, answer(16, u32::try_from(bytes.len()).unwrap()))
}

/// A plugin that always answers this.
async fn answering(bytes: &[u8]) -> (PolicyFactory, PolicyHandle) {
    let (field, body) = data(bytes);
    let options = PluginOptions { self_test: false, ..PluginOptions::default() };
    loaded_with(config("test"), options, guest_with(&field, &body)).await
}

fn fleet() -> Fleet {
    let fleet = Fleet::new();
    for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
        fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
    }
    fleet
}

fn ticket(decision: &Decision) -> (usize, Option<u64>, f32) {
    (decision.index(), decision.tag(), decision.cost())
}

#[tokio::test]
async fn tag_and_cost_of_an_answer_are_those_of_its_decision_in_every_form() {
    let table = fleet().table();
    let info = SelectWorkerInfo::default();
    let full = Ticket::new(Some(u64::MAX), 1.5);
    let map = |ticket| AnswerMap { selected_worker: Some(1), ticket, ..AnswerMap::default() };
    for (answer, expected) in [
        (bytes(|w| Answer::Index(1).encode(w)), (1, None, 0.0)),
        (bytes(|w| Answer::Ticketed { index: 1, ticket: full }.encode(w)), (1, Some(u64::MAX), 1.5)),
        (bytes(|w| Answer::Map(map(full)).encode(w)), (1, Some(u64::MAX), 1.5)),
        (bytes(|w| Answer::Map(map(Ticket::new(None, 2.0))).encode(w)), (1, None, 2.0)),
        (vec![0x92, 1, 0], (1, Some(0), 0.0)),
        (vec![0x93, 1, 0xc0, 3], (1, None, 3.0)),
    ] {
        let (_factory, policy) = answering(&answer).await;
        let decision = policy.decide_async(&table, &info).await.unwrap();
        assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{answer:x?}");
        assert_eq!(ticket(&decision), expected, "{answer:x?}");
        assert_eq!(ticket(&policy.decide(&table, &info).unwrap()), expected, "{answer:x?}");
    }
}

#[tokio::test]
async fn cost_that_is_nonsense_is_a_malformed_answer_and_the_fallback_decides() {
    let table = fleet().table();
    for (count, cost) in [f32::NAN, f32::INFINITY, -1.0, f32::MAX].into_iter().enumerate() {
        let ticketed = Answer::Ticketed { index: 1, ticket: Ticket::new(Some(7), cost) };
        let (factory, policy) = answering(&bytes(|w| ticketed.encode(w))).await;
        let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
        assert_eq!(decision.chooser(), Chooser::Fallback { cause: FailureCause::Decode }, "{count}");
        assert_eq!((decision.tag(), decision.cost()), (None, 0.0));
        assert_eq!(failures(&factory, "decode"), 1, "{cost}");
    }
}

#[tokio::test]
async fn map_of_a_pair_gives_both_workers_its_tag_and_each_its_cost() {
    let map = PairMap {
        prefill: Some(0),
        decode: Some(1),
        ticket: Ticket::new(Some(9), 4.0),
        decode_cost: 0.5,
        ..PairMap::default()
    };
    let (field, body) = data(&bytes(|w| PairAnswer::Map(map).encode(w)));
    let fields =
        format!(r#"{field}(func (export "select_worker_pair") (param i32 i32) (result i64) {body})"#);
    let wasm = guest_with(&fields, "(i64.const 0)");
    let (_factory, policy) = loaded_with(config("test"), PluginOptions::default(), wasm).await;
    let pair = policy.decide_pair_async(&fleet().table(), &SelectWorkerInfo::default()).await.unwrap();
    assert_eq!(ticket(&pair.prefill), (0, Some(9), 4.0));
    assert_eq!(ticket(&pair.decode), (1, Some(9), 0.5));
}

#[tokio::test]
async fn pair_of_two_selections_has_the_ticket_of_each() {
    // It chooses the worker of its leg, which is the last byte of its message, and tags it with that.
    let fields = format!(
        r#"{}(data (i32.const 16) "\93\00\00\ca\3f\00\00\00")"#,
        sgl_testkit::manifest::manifest(&[sgl_policy_abi::Input::Leg])
    );
    let body = format!(
        r"(i32.store8 (i32.const 18)
            (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
          (i32.store8 (i32.const 17)
            (i32.gt_u (i32.load8_u (i32.const 18)) (i32.const 1)))
          {}",
        answer(16, 8)
    );
    let (_factory, policy) =
        loaded_with(config("test"), PluginOptions::default(), guest_with(&fields, &body)).await;
    let pair = policy.decide_pair_async(&fleet().table(), &SelectWorkerInfo::default()).await.unwrap();
    assert_eq!(ticket(&pair.prefill), (0, Some(1), 0.5));
    assert_eq!(ticket(&pair.decode), (1, Some(2), 0.5));
}
