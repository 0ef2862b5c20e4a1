//! What shipped plugins are asked and told, and that none of them failed.

use std::time::Duration;

use sglang_router_rs::policies::{
    Decision, PluginStats, PolicyHandle, PromptTokens, RequestCompletion, RequestFirstToken, SelectWorkerInfo,
};

static HASHES: [u64; 4096] = [7; 4096];
const TOKENS: [u32; 4096] = [u32::MAX; 4096];

/// Requests of which nothing, little, much and nonsense is known.
pub(crate) fn requests<'a>(long: &'a str) -> Vec<SelectWorkerInfo<'a>> {
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
pub(crate) fn tell(policy: &PolicyHandle, decision: &Decision, worker: usize, turn: usize) {
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

/// Fails if the plugin has failed in whatever way.
pub(crate) fn none_failed(name: &str, stats: &PluginStats) {
    let failed: Vec<_> = stats.failures.iter().filter(|(_, count)| *count > 0).collect();
    assert!(failed.is_empty() && stats.completion_failures == 0, "{name}: {failed:?} {stats:?}");
}
