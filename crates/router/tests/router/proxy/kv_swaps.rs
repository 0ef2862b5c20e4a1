//! The router listens to engines while a policy wants to know what they say, and no longer.

use std::time::Duration;

use serde_json::json;
use sgl_policy_abi::{Column, Input};
use sgl_testkit::client::{call, post};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins;
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};
use sglang_router_rs::config::{CanaryOptions, Rollout};
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{Load, PluginOptions};

use crate::proxy::kv_rig::{Stub, held, holds, named, start_with, stored, swap_in};

#[tokio::test]
async fn events_are_listened_to_while_a_policy_wants_them_and_the_index_goes_with_it() {
    let mut stub = Stub::replaying().await;
    let url = stub.worker.url();
    let (router, factory) = start_with(router::config(vec![stub.entry()]), &[Input::PrefixMatch]).await;
    let backends = || router.proxy().backends();
    let target = || router::target(&router, &url).expect("it is there");
    let (first, second): (Vec<u32>, Vec<u32>) = ((100..116).collect(), (200..216).collect());
    stub.say_until_heard(&router, &json!([stored(1, &first)]), &first).await;
    let index = std::sync::Arc::downgrade(&backends().prefix_index().expect("it runs"));
    for round in 0..2 {
        assert_eq!((stub.publisher.subscriber_count(), target().feed().source_count()), (1, 1));
        swap_in(&factory, &[Input::Random]).await;
        until(async || stub.publisher.subscriber_count() == 0).await;
        until(async || index.strong_count() == 0).await;
        assert!(backends().prefix_index().is_none());
        assert_eq!((held(&router, &url, &first), target().feed().connection_count()), (-1, 0));
        until(async || target().feed().source_count() == 0).await;
        let page = router::metrics(&router).await;
        assert!(!page.text().contains("prefix_index_bytes "), "{}", page.text());
        // While nobody listens, the engine goes on.
        stub.send(&json!([stored(10 + round, &second)]));
        swap_in(&factory, &[Input::PrefixMatch]).await;
        holds(&router, &url, &second, 16).await;
        assert_eq!(held(&router, &url, &first), 16, "it was asked for all that it can replay");
    }
}

#[tokio::test]
async fn loads_that_are_pushed_are_listened_to_while_a_policy_reads_them() {
    let config = SimConfig {
        engine: Some(Dialect::Sglang),
        kv_events: Some("auto".to_owned()),
        push_load: true,
        time_scale: 0.0,
        ..SimConfig::default()
    };
    let worker = SimWorker::start(config).await.expect("a worker");
    let mut config = router::checking(vec![named(router::entry(worker.addr()))]);
    // Only what is pushed tells of the load.
    config.proxy.health.load_interval = Some(Duration::from_secs(3600));
    let (router, factory) = start_with(config, &[Input::Column(Column::Running)]).await;
    for _ in 0..2 {
        until(async || worker.load_listeners() == 1).await;
        assert_eq!(router::target(&router, &worker.url()).expect("it is there").feed().source_count(), 0);
        swap_in(&factory, &[Input::Column(Column::Load)]).await;
        until(async || worker.load_listeners() == 0).await;
        swap_in(&factory, &[Input::Column(Column::Running)]).await;
    }
    let running = || router::target(&router, &worker.url()).expect("it is there").worker().report().running;
    until(async || running() == 0).await;
}

#[tokio::test]
async fn what_was_sent_is_remembered_while_generations_follow_each_other_that_want_it() {
    let worker = Upstream::saying("{}").await;
    let config = router::config(vec![named(worker.entry())]);
    let (router, factory) = start_with(config, &[Input::PrefixMatch]).await;
    let tokens: Vec<u32> = (1..=40).collect();
    let prompt = json!({"model": "sim-model", "input_ids": tokens}).to_string();
    assert_eq!(call(router.addresses().data, post("/generate", &prompt)).await.status.as_u16(), 200);
    holds(&router, &worker.url(), &tokens, 32).await;
    let index = || router.proxy().backends().prefix_index().expect("it runs");
    let before = std::sync::Arc::as_ptr(&index());
    for inputs in [&[Input::PrefixMatch, Input::Random][..], &[Input::PrefixMatch]] {
        swap_in(&factory, inputs).await;
        assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.status.as_u16(), 200);
        assert_eq!(held(&router, &worker.url(), &tokens), 32);
        assert_eq!(std::sync::Arc::as_ptr(&index()), before, "it is the same index");
    }
}

#[tokio::test]
async fn canary_that_wants_the_index_has_it_and_takes_it_along() {
    let worker = Upstream::saying("{}").await;
    let config = router::config(vec![named(worker.entry())]);
    let (router, factory) = start_with(config, &[Input::Random]).await;
    let index = || router.proxy().backends().prefix_index();
    assert!(index().is_none(), "nobody wants it");
    let fields = format!(r#"{}(data (i32.const 16) "\00")"#, manifest(&[Input::PrefixMatch]));
    let rollout = Rollout::Canary(CanaryOptions { percent: 1.0, ..CanaryOptions::default() });
    let canary = Load::bytes(plugins::config("mine"), guest_with(&fields, &answer(16, 1)));
    factory
        .load(canary.with(PluginOptions { rollout, ..plugins::without_probation() }))
        .await
        .expect("it loads");
    until(async || index().is_some()).await;
    factory.roll_back_wasm_plugin("mine").await.expect("there is a canary");
    until(async || index().is_none()).await;
}
