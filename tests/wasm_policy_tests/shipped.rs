//! The plugins of `plugins/`, each with its default settings: whatever is known of requests and workers,
//! they decide, and none of them fails.

use std::time::Duration;

use sgl_testkit::fleets::fleet;
use sgl_testkit::modules::{plugin, shipped};
use sgl_testkit::plugins::{config, loaded_with, stats, without_probation};
use sglang_router_rs::core::{Fleet, WorkerSpec};
use sglang_router_rs::policies::{
    Decision, PolicyHandle, PromptTokens, RequestCompletion, RequestFirstToken, SelectWorkerInfo,
    WasmPolicyConfig,
};

static HASHES: [u64; 4096] = [7; 4096];
const TOKENS: [u32; 4096] = [u32::MAX; 4096];

/// Requests of which nothing, little, much and nonsense is known.
fn requests<'a>(long: &'a str) -> Vec<SelectWorkerInfo<'a>> {
    let nothing = SelectWorkerInfo::default;
    let tokens = |count, exact| Some(PromptTokens { count, exact });
    vec![
        nothing(),
        SelectWorkerInfo { request_text: Some(""), session: Some(""), ..nothing() },
        SelectWorkerInfo { request_text: Some(long), prompt_tokens: tokens(50_000, false), ..nothing() },
        SelectWorkerInfo { request_text: Some(long), prompt_tokens: tokens(0, true), ..nothing() },
        SelectWorkerInfo { tokens: Some(&TOKENS), prefix_hashes: Some(&HASHES), ..nothing() },
        SelectWorkerInfo {
            prompt_tokens: tokens(u32::MAX, true),
            max_tokens: Some(u64::MAX),
            prompt_bytes: Some(usize::MAX),
            arrival_rate: Some(f32::INFINITY),
            prefix_block_tokens: Some(f32::MAX),
            prefix_hashes: Some(&HASHES),
            session: Some(long),
            stream: true,
            ..nothing()
        },
        SelectWorkerInfo { arrival_rate: Some(f32::NAN), session: Some("a"), ..nothing() },
    ]
}

/// Tells the plugin of the request's first token and of its end, in some way or another.
fn tell(policy: &PolicyHandle, decision: &Decision, worker: usize, turn: usize) {
    let (worker_url, chooser, tag) = (format!("http://w{worker}"), decision.chooser(), decision.tag());
    if !turn.is_multiple_of(3) {
        let after = Duration::from_millis(u64::try_from(turn).unwrap() * 7_919);
        policy.on_first_token(&RequestFirstToken { worker_url: worker_url.clone(), chooser, after, tag });
    }
    policy.on_request_complete(&RequestCompletion {
        success: !turn.is_multiple_of(4),
        status: [Some(200), None, Some(503)][turn % 3],
        total: Duration::from_millis(u64::try_from(turn % 5).unwrap()),
        prompt_tokens: Some(u32::MAX),
        tag,
        ..RequestCompletion::new(worker_url, chooser)
    });
}

#[tokio::test]
async fn every_shipped_plugin_decides_whatever_is_known() {
    let long = "no whole block of these words is like another ".repeat(5_000);
    for name in shipped() {
        let limits = WasmPolicyConfig { max_memory_bytes: 16 << 20, ..config(&name) };
        let (factory, policy) = loaded_with(limits, without_probation(), plugin(&name)).await;
        let mut asked = 0;
        for workers in [1, 2, 17, 300] {
            let table = fleet(workers).table();
            let mut placed = Vec::new();
            for turn in 0..4 {
                for info in requests(&long) {
                    let decision = policy.decide_async(&table, &info).await;
                    let decision =
                        decision.unwrap_or_else(|error| panic!("{name}, {workers} workers: {error:?}"));
                    assert!(decision.index() < workers, "{name}");
                    asked += 1;
                    placed.push((turn + asked, decision));
                }
            }
            placed.iter().for_each(|(turn, decision)| tell(&policy, decision, decision.index(), *turn));
        }
        let stats = stats(&factory);
        let failed: Vec<_> = stats.failures.iter().filter(|(_, count)| *count > 0).collect();
        assert!(failed.is_empty(), "{name}: {failed:?} of {asked}");
    }
}

#[tokio::test]
async fn every_shipped_plugin_takes_odd_workers_as_they_are() {
    for name in shipped() {
        let (factory, policy) = loaded_with(config(&name), without_probation(), plugin(&name)).await;
        let workers = Fleet::new();
        for (index, weight) in [1e-3, 1e9, 1.0, 2.0].into_iter().enumerate() {
            let mut spec = WorkerSpec::new(format!("http://w{index}"));
            spec.weight = weight;
            spec.labels.insert("pool".to_owned(), "\u{1f980}".repeat(index));
            workers.add(spec, true).expect("a new URL");
        }
        for table in [workers.table(), fleet(3).table(), workers.table()] {
            for _ in 0..20 {
                let decision =
                    policy.decide_async(&table, &SelectWorkerInfo::default()).await.expect("it decides");
                assert!(decision.index() < 4, "{name}");
            }
        }
        assert!(stats(&factory).failures.iter().all(|(_, count)| *count == 0), "{name}");
    }
}
