//! Thirty days in a loop, in virtual time: what a plugin keeps of requests, sessions and workers must not
//! grow with their number.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use sgl_testkit::fleets::fleet;
use sgl_testkit::modules::{plugin, shipped};
use sgl_testkit::plugins::{config, stats, without_probation};
use sglang_router_rs::core::{Fleet, Worker, WorkerSpec};
use sglang_router_rs::policies::{
    Load, PluginOptions, PolicyFactory, PolicyHandle, PromptTokens, RequestCompletion, RequestFirstToken,
    SelectWorkerInfo, WasmPolicyConfig,
};
use sglang_router_rs::types::VirtualTime;

use crate::shipped::asked::none_failed;

const DAYS: u32 = 30;

/// Requests in that time: in [`MEMORY`] there is no room for a plugin that keeps 24 bytes of each.
const REQUESTS: u32 = 40_000;

/// Requests after which a worker leaves for good, and another comes.
const STAY: u32 = 100;

/// Memory of an instance in bytes. Some 200 KiB are the module's from the start; what some keep of the
/// newest 8192 requests takes up to 600 KiB while it grows to that.
const MEMORY: usize = 1 << 20;

/// A plugin with one instance that is never replaced, so that nothing hides what it keeps.
fn loaded(name: &str) -> (PolicyFactory, PolicyHandle) {
    let wasm = plugin(name);
    let limits = WasmPolicyConfig { max_memory_bytes: MEMORY, max_execution_time_ms: 30_000, ..config(name) };
    let options = PluginOptions {
        min_warm: 1,
        max_instances: 1,
        recycle_after_calls: 0,
        recycle_after_secs: 0,
        recycle_growth_bytes: 0,
        ..without_probation()
    };
    let factory = PolicyFactory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(factory.load(Load::bytes(limits, wasm).with(options))).expect("it loads");
    let policy = factory.create_by_name(name).expect("it is loaded");
    (factory, policy)
}

/// Another worker comes, and the one that was there longest leaves.
fn change(workers: &Fleet, number: u32) {
    let url = |number: u32| format!("http://w{number}");
    workers.add(WorkerSpec::new(url(8 + number)), true).expect("a new URL");
    workers.remove(&url(number)).expect("it is there");
}

/// A month of requests, each of a session of some five, and most of them new text.
fn pass(name: &str) {
    let (factory, policy) = loaded(name);
    let (time, workers) = (VirtualTime::new(), fleet(8));
    let mut in_flight = VecDeque::new();
    for number in 0..REQUESTS {
        time.advance(VirtualTime::BEGINNING + Duration::from_secs(86_400) * DAYS * number / REQUESTS);
        if number % STAY == STAY - 1 {
            change(&workers, number / STAY);
        }
        let (session, text) = (format!("session {}", number / 5), format!("prompt {number} ").repeat(40));
        let hashes: Vec<u64> = (0..20).map(|block| u64::from(number / 5) * 64 + block).collect();
        let info = SelectWorkerInfo {
            request_text: Some(&text),
            prompt_tokens: Some(PromptTokens { count: 50 + number % 4000, exact: true }),
            prefix_hashes: Some(&hashes),
            session: Some(&session),
            stream: true,
            ..SelectWorkerInfo::default()
        };
        let table = workers.table();
        let decision = policy.decide(&table, &info).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let worker_url = table.get(decision.index()).expect("it is there").url().to_owned();
        let (chooser, tag) = (decision.chooser(), decision.tag());
        policy.on_first_token(&RequestFirstToken {
            worker_url: worker_url.clone(),
            chooser,
            after: Duration::from_millis(100),
            tag,
        });
        in_flight.push_back((worker_url, tag, decision));
        if in_flight.len() > 6 {
            let (worker_url, tag, decision) = in_flight.pop_front().expect("there are seven");
            policy.on_request_complete(&RequestCompletion {
                success: true,
                total: Duration::from_secs(700),
                prompt_tokens: Some(50),
                tag,
                ..RequestCompletion::new(worker_url, decision.chooser())
            });
        }
        if number.is_multiple_of(10) {
            policy.on_session_end(&session);
        }
    }
    drop(time);
    let stats = stats(&factory);
    none_failed(name, &stats);
    assert_eq!((stats.decisions, stats.fallbacks), (u64::from(REQUESTS), 0), "{name}");
    assert_eq!((stats.pool.recycled, stats.pool.discarded), (0, 0), "{name}: its instance was replaced");
}

#[test]
fn no_shipped_plugin_grows_in_a_month() {
    let names = shipped();
    thread::scope(|scope| {
        for half in names.chunks(names.len().div_ceil(2)) {
            scope.spawn(|| half.iter().for_each(|name| pass(name)));
        }
    });
}
