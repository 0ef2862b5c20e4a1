//! What guests are told of their requests: first tokens and ends, in batches.

use std::time::Duration;

use sgl_policy_abi::Concurrency;
use sgl_testkit::commanded::{commanded_as, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, finished, loaded, stats, without_probation};
use sglang_router_rs::policies::{Chooser, Load, PolicyHandle, RequestFirstToken};

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
async fn module_without_the_export_wants_to_hear_nothing() {
    let (_factory, policy) = loaded(commanded_as(Concurrency::Parallel, "", "")).await;
    let needs = policy.outcome_needs();
    assert!(!needs.first_tokens && !needs.completions && !needs.usage);
}
