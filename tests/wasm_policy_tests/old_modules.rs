//! Modules that were built with an earlier SDK run as they did.

use std::time::Duration;

use sgl_testkit::fleets::fleet;
use sgl_testkit::modules::{old_module, plugin};
use sgl_testkit::plugins::{config, finished, loaded_with, stats, without_probation};
use sglang_router_rs::core::{Fleet, Worker, WorkerRole, WorkerSpec, WorkerTable};
use sglang_router_rs::policies::{
    Chooser, Decision, Load, PolicyFactory, PolicyHandle, PromptTokens, RequestFirstToken, SelectWorkerInfo,
};

/// The module as it was built at the last commit before policies had more inputs.
fn old(name: &str) -> Vec<u8> {
    old_module(&format!("{name}-8e03a08"))
}

async fn loaded(name: &str) -> (PolicyFactory, PolicyHandle) {
    loaded_with(config("test"), without_probation(), old(name)).await
}

async fn swap(factory: &PolicyFactory, wasm: Vec<u8>) {
    factory.load(Load::bytes(config("test"), wasm).with(without_probation())).await.expect("it loads");
}

async fn decided(policy: &PolicyHandle, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Decision {
    let decision = policy.decide_async(table, info).await.expect("it decides");
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    decision
}

fn is_well(factory: &PolicyFactory) {
    let stats = stats(factory);
    let failed = stats.failures.iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!((failed, stats.completion_failures), (0, 0), "{stats:?}");
}

/// All that a router knows of a request today.
fn all_known<'a>(text: &'a str, hashes: &'a [u64]) -> SelectWorkerInfo<'a> {
    SelectWorkerInfo {
        request_text: Some(text),
        prompt_tokens: Some(PromptTokens { count: 7, exact: true }),
        max_tokens: Some(9),
        stream: true,
        route: Some("/v1/chat/completions"),
        session: Some("session"),
        prefix_hashes: Some(hashes),
        arrival_rate: Some(2.5),
        ..SelectWorkerInfo::default()
    }
}

#[tokio::test]
async fn least_connections_spreads_and_is_swapped_for_a_new_one_and_back() {
    let (factory, policy) = loaded("least_connections").await;
    let workers = fleet(3);
    let table = workers.table();
    for wasm in [None, Some(plugin("least_connections")), Some(old("least_connections"))] {
        if let Some(wasm) = wasm {
            swap(&factory, wasm).await;
        }
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(decided(&policy, &table, &all_known("hi", &[1, 2])).await);
        }
        let loads: Vec<usize> = table.workers().iter().map(|worker| worker.load()).collect();
        assert_eq!(loads, [2, 2, 2]);
    }
    workers.remove("http://w1");
    let index = decided(&policy, &workers.table(), &SelectWorkerInfo::default()).await.index();
    assert!(index < 2, "it was told of the new table");
    is_well(&factory);
}

#[tokio::test]
async fn prefix_affinity_keeps_a_prompt_at_its_worker() {
    let (factory, policy) = loaded("prefix_affinity").await;
    let (table, hashes) = (fleet(8).table(), [1, 2, 3]);
    let mut homes = std::collections::BTreeSet::new();
    for prompt in 0..32 {
        let text = format!("assistant number {prompt}");
        let home = decided(&policy, &table, &all_known(&text, &hashes)).await.index();
        for info in
            [all_known(&text, &[]), SelectWorkerInfo { request_text: Some(&text), ..Default::default() }]
        {
            assert_eq!(decided(&policy, &table, &info).await.index(), home);
        }
        homes.insert(home);
    }
    assert!(homes.len() > 4, "{homes:?}");
    is_well(&factory);
}

#[tokio::test]
async fn completions_state_and_pairs_reach_an_old_module() {
    let (factory, policy) = loaded("learner").await;
    let workers = Fleet::new();
    for (index, role) in [WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Decode].into_iter().enumerate()
    {
        workers
            .add(WorkerSpec { role, ..WorkerSpec::new(format!("http://w{index}")) }, true)
            .expect("a new URL");
    }
    let table = workers.table();
    let info = all_known("hi", &[1]);
    let first = decided(&policy, &table, &info).await;
    assert_eq!(first.index(), 0);
    let needs = policy.outcome_needs();
    assert!(needs.completions && !needs.first_tokens, "{needs:?}");
    let (chooser, after) = (first.chooser(), Duration::from_millis(1));
    policy.on_first_token(&RequestFirstToken {
        worker_url: "http://w0".into(),
        chooser,
        after,
        tag: Some(1),
    });
    let mut told = finished(chooser);
    (told.tag, told.status, told.prompt_tokens) = (Some(1), Some(200), Some(7));
    policy.on_request_complete(&told);
    // It takes the next worker once it has heard.
    let mut turns = 0;
    while decided(&policy, &table, &info).await.index() == 0 {
        turns += 1;
        assert!(turns < 2000, "it hears of nothing");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    swap(&factory, old("learner")).await;
    assert_eq!(decided(&policy, &table, &info).await.index(), 1, "the next generation has its state");
    let pair = policy.decide_pair_async(&table, &info).await.expect("it decides");
    assert_eq!((pair.prefill.index(), pair.decode.index()), (0, 2));
    is_well(&factory);
}
