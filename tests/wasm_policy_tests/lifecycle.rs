//! Load, list, create, decide, replace, unload.

use sgl_testkit::commanded::{commanded, counter, on, prompt};
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::plugins::{asking, config, load, loaded, stats};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::eventually;
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{
    Chooser, LoadBalancingPolicy, PluginOptions, PolicyFactory, SelectWorkerInfo,
};

const NOTHING: SelectWorkerInfo<'static> = SelectWorkerInfo::NOTHING;

#[tokio::test]
async fn plugin_is_loaded_from_a_file_listed_and_unloaded() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), guest_choosing(2)).unwrap();
    let mut factory = PolicyFactory::new();
    let mut config = config("my_policy");
    config.module_path = file.path().to_str().unwrap().to_owned();
    assert!(factory.list_wasm_plugins().is_empty());
    assert!(factory.create_by_name("my_policy").is_none());

    let info = factory.load_wasm_plugin(config).await.unwrap();
    assert_eq!(factory.list_wasm_plugins(), ["my_policy"]);
    assert_eq!(info.digest.len(), 64);

    let policy = factory.create_by_name("my_policy").unwrap();
    assert_eq!(policy.name(), "my_policy");
    assert_eq!(policy.select_worker(&slice(4), &NOTHING), Some(2));

    assert!(factory.unload_wasm_plugin("my_policy"));
    assert!(!factory.unload_wasm_plugin("my_policy"), "it is gone already");
    assert!(factory.list_wasm_plugins().is_empty());
    assert!(factory.create_by_name("my_policy").is_none());
}

#[tokio::test]
async fn all_forms_of_a_decision_agree() {
    let (_factory, policy) = loaded(guest_choosing(1)).await;
    let workers = slice(3);
    let fleet = fleet(3);
    let table = fleet.table();
    assert_eq!(policy.select_worker(&workers, &NOTHING), Some(1));
    assert_eq!(policy.select_worker_async(&workers, &NOTHING).await.unwrap().index(), 1);
    assert_eq!(policy.decide(&table, &NOTHING).unwrap().index(), 1);
    let decision = policy.decide_async(&table, &NOTHING).await.unwrap();
    assert_eq!(decision.index(), 1);
    assert_eq!(table.workers()[decision.index()].url(), "http://w1");
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }));
}

#[tokio::test]
async fn decision_counts_its_request_until_it_is_dropped() {
    let (_factory, policy) = loaded(guest_choosing(1)).await;
    let fleet = fleet(2);
    let table = fleet.table();
    let load = || table.workers().iter().map(|worker| worker.load()).collect::<Vec<_>>();
    let first = policy.decide_async(&table, &NOTHING).await.unwrap();
    let second = policy.decide(&table, &NOTHING).unwrap();
    assert_eq!(load(), [0, 2]);
    drop(first);
    assert_eq!(load(), [0, 1]);
    let guard = second.into_in_flight();
    assert_eq!(load(), [0, 1], "the guard alone goes on counting");
    drop(guard);
    assert_eq!(load(), [0, 0]);

    let workers = slice(2);
    let held = policy.select_worker_async(&workers, &NOTHING).await.unwrap();
    assert_eq!(workers[1].load(), 1);
    drop(held);
    assert_eq!(workers[1].load(), 0);
}

#[test]
fn synchronous_form_needs_no_async_runtime() {
    let factory = PolicyFactory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(load(&factory, "test", guest_choosing(0))).unwrap();
    drop(runtime);
    let policy = factory.create_by_name("test").unwrap();
    assert!(tokio::runtime::Handle::try_current().is_err());
    assert_eq!(policy.select_worker(&slice(2), &NOTHING), Some(0));
    assert_eq!(policy.decide(&fleet(2).table(), &NOTHING).unwrap().index(), 0);
}

#[tokio::test]
async fn replacing_a_plugin_reaches_handles_that_were_made_before() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let table = fleet(3).table();
    let first = policy.decide_async(&table, &NOTHING).await.unwrap().chooser();
    let info = load(&factory, "test", guest_choosing(2)).await.unwrap();
    let after = policy.decide_async(&table, &NOTHING).await.unwrap();
    assert_eq!(after.index(), 2);
    assert_eq!(after.chooser(), Chooser::Plugin { generation: info.generation });
    assert_ne!(after.chooser(), first);
    assert_eq!(factory.list_wasm_plugins(), ["test"]);
}

#[tokio::test]
async fn old_generations_are_freed_after_many_replacements() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let table = fleet(2).table();
    for round in 0..20 {
        load(&factory, "test", guest_choosing(round % 2)).await.unwrap();
        assert_eq!(policy.decide_async(&table, &NOTHING).await.unwrap().index(), usize::from(round % 2));
    }
    eventually("one live generation", || stats(&factory).live_generations == 1).await;
    let stats = stats(&factory);
    assert_eq!(stats.pool.live, PluginOptions::default().min_warm);
}

#[tokio::test]
async fn handle_of_an_unloaded_plugin_goes_on_with_its_fallback() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let table = fleet(2).table();
    assert!(factory.unload_wasm_plugin("test"));
    let decision = policy.decide_async(&table, &NOTHING).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Fallback { .. }), "{decision:?}");
}

#[tokio::test]
async fn handle_of_an_unloaded_plugin_serves_what_is_loaded_under_its_name_and_starts_from_nothing() {
    let counting = commanded("", &on(1, "(drop (call $count (i32.const 2) (i64.const 1)))"));
    let (factory, policy) = loaded(counting.clone()).await;
    let table = fleet(9).table();
    policy.decide_async(&table, &asking(&prompt(1))).await.unwrap();
    assert_eq!(counter(&policy, &table, 2).await, 1);
    assert!(factory.unload_wasm_plugin("test"));
    load(&factory, "test", counting).await.unwrap();
    assert_eq!(counter(&policy, &table, 2).await, 0, "it decides, and has forgotten");
    let decision = policy.decide_async(&table, &NOTHING).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    let other = factory.create_by_name("test").unwrap();
    load(&factory, "test", guest_choosing(3)).await.unwrap();
    for policy in [policy, other] {
        assert_eq!(policy.decide_async(&table, &NOTHING).await.unwrap().index(), 3);
    }
}

#[tokio::test]
async fn counts_of_instances_go_on_over_swaps() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let made = stats(&factory).pool.created;
    load(&factory, "test", guest_choosing(1)).await.unwrap();
    eventually("one live generation", || stats(&factory).live_generations == 1).await;
    assert_eq!(stats(&factory).pool.created, made * 2);
    assert_eq!(policy.decide_async(&fleet(2).table(), &NOTHING).await.unwrap().index(), 1);
}

#[tokio::test]
async fn plugin_outlives_the_factory_only_as_its_fallback() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    drop(factory);
    let decision = policy.decide(&fleet(2).table(), &NOTHING).unwrap();
    assert!(matches!(decision.chooser(), Chooser::Fallback { .. }), "{decision:?}");
}
