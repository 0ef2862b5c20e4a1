//! Answers that choose nobody on purpose: `wait` and `shed`.

use std::time::Duration;

use sgl_policy_abi::{Answer, AnswerMap, PairAnswer, PairMap, ShedAnswer, WaitAnswer, encode_to_vec};
use sgl_testkit::plugins::{config, failures, loaded_with};
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::{answer, escaped};
use sglang_router_rs::core::{Fleet, Worker, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    Chooser, DecideError, FailureCause, Load, LoadBalancingPolicy, PluginError, PluginOptions, PolicyFactory,
    SelectWorkerInfo, Wait, WaitKey, WaitOffer,
};

/// A guest that always answers this map.
fn answering(map: AnswerMap<'_>) -> Vec<u8> {
    let bytes = encode_to_vec(|w| Answer::Map(map).encode(w)).unwrap();
    let field = format!(r#"(data (i32.const 16) "{}")"#, escaped(&bytes));
    guest_with(&field, &answer(16, u32::try_from(bytes.len()).unwrap()))
}

fn waiting(key: f64, deadline_ms: Option<u64>) -> Vec<u8> {
    answering(AnswerMap { wait: Some(WaitAnswer { key, deadline_ms }), ..AnswerMap::default() })
}

fn shedding() -> Vec<u8> {
    answering(AnswerMap { shed: Some(ShedAnswer { retry_after_ms: 1500 }), ..AnswerMap::default() })
}

fn untested() -> PluginOptions {
    PluginOptions { self_test: false, ..PluginOptions::default() }
}

fn fleet(healthy: bool) -> Fleet {
    let fleet = Fleet::new();
    fleet.add(WorkerSpec::new("http://a"), healthy).unwrap();
    fleet
}

/// Somebody who lets requests wait.
fn offered() -> SelectWorkerInfo<'static> {
    let offer = WaitOffer { left: Duration::from_secs(1), ..WaitOffer::default() };
    SelectWorkerInfo { wait: Some(offer), ..SelectWorkerInfo::default() }
}

#[tokio::test]
async fn wait_reaches_a_caller_that_offers_it_and_is_no_failure() {
    let options = PluginOptions { reasks: 9, ..untested() };
    let (factory, policy) = loaded_with(config("test"), options, waiting(-2.5, Some(700))).await;
    let table = fleet(true).table();
    let expected = |error| match error {
        DecideError::Wait(Wait { key, at_most, reasks, .. }) => {
            assert_eq!((key, at_most, reasks), (WaitKey::new(-2.5), Duration::from_millis(700), 9));
        }
        other => panic!("{other}"),
    };
    expected(policy.decide(&table, &offered()).unwrap_err());
    expected(policy.decide_async(&table, &offered()).await.unwrap_err());
    expected(policy.decide(&fleet(false).table(), &offered()).unwrap_err());
    let stats = factory.plugin_stats().remove(0);
    assert_eq!((stats.decisions, stats.waits, stats.sheds, stats.fallbacks), (3, 3, 0, 0));
    assert!(stats.failures.iter().all(|(_, count)| *count == 0) && !stats.breaker_open);
}

#[tokio::test]
async fn wait_without_a_deadline_is_as_long_as_its_caller_likes() {
    let (_factory, policy) = loaded_with(config("test"), untested(), waiting(0.0, None)).await;
    let told = policy.decide(&fleet(true).table(), &offered()).unwrap_err();
    assert!(matches!(told, DecideError::Wait(Wait { at_most: Duration::MAX, .. })), "{told:?}");
}

#[tokio::test]
async fn wait_where_nothing_may_wait_is_the_failure_policys_and_opens_no_breaker() {
    let (factory, policy) = loaded_with(config("test"), untested(), waiting(0.0, None)).await;
    let table = fleet(true).table();
    let over = SelectWorkerInfo { wait: Some(WaitOffer::default()), ..SelectWorkerInfo::default() };
    for _ in 0..10 {
        for info in [SelectWorkerInfo::default(), over] {
            let decision = policy.decide_async(&table, &info).await.unwrap();
            assert_eq!(decision.chooser(), Chooser::Fallback { cause: FailureCause::WaitOver });
        }
    }
    assert_eq!(failures(&factory, "wait_over"), 20);
    assert!(!factory.plugin_stats()[0].breaker_open);
    let nobody = policy.decide(&fleet(false).table(), &over).unwrap_err();
    assert_eq!(nobody, DecideError::NoWorker, "there is nobody, whatever it says");
}

/// A guest that always answers this map for a pair, and is at a loss without.
fn pairing(map: PairMap<'_>) -> Vec<u8> {
    let bytes = encode_to_vec(|w| PairAnswer::Map(map).encode(w)).unwrap();
    let (data, body) = (escaped(&bytes), answer(16, u32::try_from(bytes.len()).unwrap()));
    let fields = format!(
        r#"(data (i32.const 16) "{data}")
           (func (export "select_worker_pair") (param i32 i32) (result i64) {body})"#
    );
    guest_with(&fields, "(i64.const 0)")
}

#[tokio::test]
async fn pair_is_put_off_as_a_whole_whichever_export_says_so() {
    let fleet = Fleet::new();
    for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
        fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
    }
    let table = fleet.table();
    let wait = WaitAnswer { key: -2.5, deadline_ms: Some(700) };
    let joint = pairing(PairMap { wait: Some(wait), ..PairMap::default() });
    for wasm in [joint, waiting(-2.5, Some(700))] {
        let (factory, policy) = loaded_with(config("test"), untested(), wasm).await;
        let told = policy.decide_pair_async(&table, &offered()).await.unwrap_err();
        let DecideError::Wait(Wait { key, at_most, .. }) = told else { panic!("{told:?}") };
        assert_eq!((key, at_most), (WaitKey::new(-2.5), Duration::from_millis(700)));
        assert_eq!(failures(&factory, "wait_over"), 0);
        let late = policy.decide_pair_async(&table, &SelectWorkerInfo::default()).await.unwrap();
        assert_eq!(late.prefill.chooser(), Chooser::Fallback { cause: FailureCause::WaitOver });
        assert!(table.workers().iter().all(|worker| worker.load() == 1), "the late one");
    }
    let shed = Some(ShedAnswer { retry_after_ms: 1500 });
    let both = PairMap { shed, wait: Some(wait), prefill: Some(0), ..PairMap::default() };
    let (_factory, policy) = loaded_with(config("test"), untested(), pairing(both)).await;
    let told = policy.decide_pair_async(&table, &offered()).await.unwrap_err();
    assert!(matches!(told, DecideError::Shed { .. }), "one of two workers is no choice: {told:?}");
    let chosen = PairMap { decode: Some(1), ..both };
    let (_factory, policy) = loaded_with(config("test"), untested(), pairing(chosen)).await;
    assert!(policy.decide_pair_async(&table, &offered()).await.is_ok());
}

#[tokio::test]
async fn shed_reaches_every_caller_and_is_counted_apart() {
    let (factory, policy) = loaded_with(config("test"), untested(), shedding()).await;
    let table = fleet(true).table();
    let after = Duration::from_millis(1500);
    for told in [
        policy.decide(&table, &SelectWorkerInfo::default()).unwrap_err(),
        policy.decide_async(&table, &offered()).await.unwrap_err(),
        policy.decide_pair_async(&table, &offered()).await.unwrap_err(),
    ] {
        assert!(matches!(told, DecideError::Shed { retry_after, .. } if retry_after == after), "{told:?}");
    }
    let slice: Vec<_> = table.workers().iter().map(|worker| std::sync::Arc::clone(worker) as _).collect();
    assert_eq!(policy.select_worker(&slice, &SelectWorkerInfo::default()), None);
    let stats = factory.plugin_stats().remove(0);
    assert_eq!((stats.sheds, stats.fallbacks), (4, 0));
    assert!(stats.failures.iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn choice_counts_before_shed_and_shed_before_wait() {
    let both = AnswerMap {
        selected_worker: Some(0),
        wait: Some(WaitAnswer { key: 0.0, deadline_ms: None }),
        shed: Some(ShedAnswer { retry_after_ms: 0 }),
        ..AnswerMap::default()
    };
    let table = fleet(true).table();
    let (_factory, policy) = loaded_with(config("test"), untested(), answering(both)).await;
    assert_eq!(policy.decide(&table, &offered()).unwrap().index(), 0);
    let neither = AnswerMap { selected_worker: None, ..both };
    let (_factory, policy) = loaded_with(config("test"), untested(), answering(neither)).await;
    assert!(matches!(policy.decide(&table, &offered()), Err(DecideError::Shed { .. })));
}

#[tokio::test]
async fn key_that_is_no_number_is_a_malformed_answer() {
    let (factory, policy) = loaded_with(config("test"), untested(), waiting(f64::NAN, None)).await;
    policy.decide(&fleet(true).table(), &offered()).unwrap();
    assert_eq!(failures(&factory, "decode"), 1);
}

#[tokio::test]
async fn self_test_refuses_who_puts_off_requests_of_an_idle_fleet() {
    for (wasm, words) in [(waiting(0.0, None), "had a request wait"), (shedding(), "refused (`shed`)")] {
        let factory = PolicyFactory::new();
        let error = factory.load(Load::bytes(config("test"), wasm)).await.unwrap_err();
        assert!(matches!(&error, PluginError::SelfTest { reason } if reason.contains(words)), "{error}");
    }
    let options = PluginOptions { may_refuse: true, ..PluginOptions::default() };
    let factory = PolicyFactory::new();
    factory.load(Load::bytes(config("test"), shedding()).with(options)).await.unwrap();
}

#[tokio::test]
async fn canary_that_sheds_is_rolled_back() {
    use sglang_router_rs::config::{CanaryOptions, Rollout};

    let (factory, policy) = loaded_with(config("test"), untested(), guest_choosing(0)).await;
    let canary = CanaryOptions { percent: 50.0, ..CanaryOptions::default() };
    let options = PluginOptions { rollout: Rollout::Canary(canary), ..untested() };
    factory.load(Load::bytes(config("test"), shedding()).with(options)).await.unwrap();
    let table = fleet(true).table();
    let mut decided = 0;
    while factory.plugin_detail("test").unwrap().generations.len() > 1 && decided < 20_000 {
        decided += 1;
        let _ = policy.decide_async(&table, &SelectWorkerInfo::default()).await;
        tokio::task::yield_now().await;
    }
    let detail = factory.plugin_detail("test").unwrap();
    let event = detail.last_event.unwrap().to_string();
    assert!(event.contains("failure rate") && event.contains("shed"), "{event}");
}
