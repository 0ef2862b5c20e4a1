//! What guests are told of their requests: first tokens and ends, in batches.

use std::time::Duration;

use sgl_policy_abi::Concurrency;
use sgl_testkit::commanded::{commanded_as, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, finished, loaded, loaded_with, stats, without_probation};
use sglang_router_rs::config::Isolation;
use sglang_router_rs::policies::{
    Chooser, Load, PluginOptions, PolicyFactory, PolicyHandle, RequestFirstToken,
};
use sglang_router_rs::types::VirtualTime;

/// How many answers it heard begin is counter 1; counter 2 adds that up at each end it hears of.
fn hearing(concurrency: Concurrency) -> Vec<u8> {
    let fields = r#"
        (func (export "on_first_token") (param i32 i32) (drop (call $count (i32.const 1) (i64.const 1))))
        (func (export "on_complete") (param i32 i32)
          (drop (call $count (i32.const 2) (call $count (i32.const 1) (i64.const 0)))))"#;
    commanded_as(concurrency, fields, "")
}

fn begun(chooser: Chooser) -> RequestFirstToken {
    let after = Duration::from_millis(1);
    RequestFirstToken { worker_url: "http://w0".into(), chooser, after, tag: None }
}

async fn counter(policy: &PolicyHandle, slot: usize) -> usize {
    let text = prompt(64 + slot);
    policy.decide_async(&fleet(64).table(), &asking(&text)).await.expect("it decides").index()
}

/// Waits until that counter is not zero.
async fn counted(policy: &PolicyHandle, slot: usize) -> usize {
    for _ in 0..2000 {
        let count = counter(policy, slot).await;
        if count > 0 {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("counter {slot} is still zero");
}

fn generation(policy: &PolicyHandle) -> Chooser {
    let PolicyHandle::Wasm(plugin) = policy else { panic!("it is a plugin") };
    Chooser::Plugin { generation: plugin.stats().generation }
}

#[tokio::test]
async fn first_tokens_are_told_in_a_batch_and_before_the_ends_of_their_requests() {
    for concurrency in [Concurrency::Parallel, Concurrency::Serial] {
        let (_factory, policy) = loaded(hearing(concurrency)).await;
        let needs = policy.outcome_needs();
        assert!(needs.first_tokens && needs.completions && needs.usage);
        counter(&policy, 1).await;
        let chooser = generation(&policy);
        policy.on_first_token(&begun(chooser));
        policy.on_first_token(&begun(chooser));
        policy.on_request_complete(&finished(chooser));
        assert_eq!((counted(&policy, 2).await, counter(&policy, 1).await), (1, 1), "{concurrency:?}");
    }
}

#[tokio::test]
async fn first_tokens_of_a_replaced_generation_reach_the_one_that_serves() {
    let (factory, policy) = loaded(hearing(Concurrency::Serial)).await;
    let before = generation(&policy);
    let next = Load::bytes(config("test"), hearing(Concurrency::Serial)).with(without_probation());
    factory.load(next).await.expect("it loads");
    assert_ne!(generation(&policy), before);
    counter(&policy, 1).await;
    policy.on_first_token(&begun(before));
    assert_eq!(counted(&policy, 1).await, 1);
    assert_eq!(stats(&factory).completion_failures, 0);
}

#[tokio::test]
async fn instance_that_has_decided_nothing_knows_the_workers_when_it_hears_of_an_end() {
    // Counter 3: how many tables the instance had been told of that heard of an end.
    let fields = r#"
        (global $tables (mut i64) (i64.const 0))
        (func (export "on_workers") (param i32 i32) (global.set $tables (i64.add (global.get $tables) (i64.const 1))))
        (func (export "on_complete") (param i32 i32) (drop (call $count (i32.const 3) (global.get $tables))))"#;
    // A new instance for each call.
    let options = PluginOptions { isolation: Isolation::Fresh, ..without_probation() };
    let module = commanded_as(Concurrency::Parallel, fields, "");
    let (_factory, policy) = loaded_with(config("test"), options, module).await;
    counter(&policy, 3).await;
    policy.on_request_complete(&finished(generation(&policy)));
    // That of its warm-up, and that of the workers.
    assert_eq!(counted(&policy, 3).await, 2);
}

#[tokio::test]
async fn module_without_the_export_wants_to_hear_nothing() {
    let (_factory, policy) = loaded(commanded_as(Concurrency::Parallel, "", "")).await;
    let needs = policy.outcome_needs();
    assert!(!needs.first_tokens && !needs.completions && !needs.usage);
}

/// Adds up at counter 1 how many messages it hears, and at counter 2 how many sessions they name: the second
/// byte of a message is the head of their list.
fn hearing_of_sessions(concurrency: Concurrency) -> Vec<u8> {
    let fields = r#"(func (export "on_session_end") (param i32 i32)
        (drop (call $count (i32.const 2) (i64.sub (i64.extend_i32_u (i32.load8_u offset=1 (local.get 0))) (i64.const 0x90))))
        (drop (call $count (i32.const 1) (i64.const 1))))"#;
    commanded_as(concurrency, fields, "")
}

#[tokio::test]
async fn ends_of_sessions_are_told_once_in_messages_of_a_bounded_size() {
    for concurrency in [Concurrency::Parallel, Concurrency::Serial] {
        let (factory, policy) = loaded(hearing_of_sessions(concurrency)).await;
        counter(&policy, 1).await;
        assert!((0..3).all(|session: usize| policy.on_session_end(&session.to_string())));
        assert_eq!((counted(&policy, 1).await, counter(&policy, 2).await), (1, 3), "{concurrency:?}");
        // Four of them fill a message.
        assert!((0..10).all(|_| policy.on_session_end(&"s".repeat(1000))));
        while counter(&policy, 2).await < 13 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(counter(&policy, 1).await, 4, "{concurrency:?}");
        assert_eq!(stats(&factory).completion_failures, 0);
    }
}

#[tokio::test]
async fn end_of_a_session_that_waits_while_a_plugin_is_replaced_reaches_the_next_generation() {
    let (factory, policy) = loaded(hearing_of_sessions(Concurrency::Serial)).await;
    policy.on_session_end("s");
    let next =
        Load::bytes(config("test"), hearing_of_sessions(Concurrency::Serial)).with(without_probation());
    factory.load(next).await.expect("it loads");
    policy.on_session_end("t");
    while counter(&policy, 2).await < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stats(&factory).completion_failures, 0);
}

#[tokio::test]
async fn policy_without_the_export_says_that_it_does_not_listen() {
    let (_factory, policy) = loaded(commanded_as(Concurrency::Parallel, "", "")).await;
    assert!(!policy.on_session_end("s"));
    assert!(!PolicyFactory::new().create_by_name("random").expect("built in").on_session_end("s"));
}

#[test]
fn first_token_is_told_within_five_milliseconds_of_its_time() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_factory, policy) = runtime.block_on(loaded(hearing(Concurrency::Parallel)));
    let (workers, text) = (fleet(64), prompt(65));
    let heard = || policy.decide(&workers.table(), &asking(&text)).expect("it decides").index();
    let time = VirtualTime::new();
    let at = |ms| VirtualTime::BEGINNING + Duration::from_millis(ms);
    assert_eq!(heard(), 0);
    let chooser = generation(&policy);
    policy.on_first_token(&begun(chooser));
    // A millisecond is left for the system's timer, which rounds up to whole ones.
    assert!(time.next_timer().is_some_and(|due| due <= at(4)), "{:?}", time.next_timer());
    time.advance(at(3));
    assert_eq!(heard(), 0);
    policy.on_first_token(&begun(chooser));
    time.advance(at(5));
    assert_eq!(heard(), 1, "what came meanwhile is in the same batch");
    assert_eq!(time.next_timer(), None);
    policy.on_first_token(&begun(chooser));
    assert!(time.next_timer().is_some_and(|due| due <= at(9)), "the next has a batch of its own");
    time.advance(at(10));
    assert_eq!(heard(), 2);
}
