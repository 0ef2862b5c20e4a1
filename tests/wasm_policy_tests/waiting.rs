//! Callers that wait for an instance, and guests that others wait for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sgl_policy_abi::{Concurrency, Input};
use sgl_testkit::commanded::{WAIT_AT_GATE, commanded, commanded_as, on, opener, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, failures, finished, loaded_with, stats, without_probation};
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::answer;
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{BreakerOptions, CanaryOptions, LaneOption, ProbationOptions, Rollout};
use sglang_router_rs::policies::{
    Chooser, FailureCause, Load, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
    WasmPolicyConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const FOREVER: &str = "(loop $forever (br $forever))";

/// A longer time than any of these tests takes.
const LONG: u64 = 30_000;

fn budget(ms: u64) -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: ms, ..config("test") }
}

/// So many instances, and no breaker in the way.
fn pool_of(instances: usize) -> PluginOptions {
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() };
    PluginOptions { min_warm: 1, max_instances: instances, breaker, ..without_probation() }
}

/// So many tasks decide so often each, over a runtime with fewer threads than instances or tasks.
async fn crowd(policy: &PolicyHandle, tasks: usize, decisions: usize) {
    let table = fleet(3).table();
    let mut callers = JoinSet::new();
    for _ in 0..tasks {
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        callers.spawn(async move {
            for _ in 0..decisions {
                let decided = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
                assert!(matches!(decided.chooser(), Chooser::Plugin { .. }), "{decided:?}");
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn crowd_over_a_small_pool_is_never_passed_over_and_costs_no_instance() {
    let options = PluginOptions { max_wait_ms: LONG, ..pool_of(2) };
    let (factory, policy) = loaded_with(budget(100), options, guest_choosing(1)).await;
    crowd(&policy, 2000, 5).await;
    let found = stats(&factory);
    assert_eq!((found.fallbacks, found.pool.discarded), (0, 0), "{:?}", found.failures);
    assert_eq!(found.pool.waiting, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn serial_guest_keeps_its_memory_in_a_crowd() {
    let counting = "(global $calls (mut i32) (i32.const 0))";
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))";
    let tell = "(i32.store8 (i32.const 16) (i32.rem_u (global.get $calls) (i32.const 97)))
        (return (i64.const 0x1000000001))";
    let wasm = commanded_as(Concurrency::Serial, counting, &format!("{count}{}", on(2, tell)));
    let options = PluginOptions { max_wait_ms: LONG, ..pool_of(1) };
    let (factory, policy) = loaded_with(budget(100), options, wasm).await;
    crowd(&policy, 1000, 5).await;
    let calls = policy.decide(&fleet(100).table(), &asking(&prompt(2))).unwrap().index();
    assert_eq!(calls, 5001 % 97);
    let found = stats(&factory);
    assert_eq!(
        (found.fallbacks, found.pool.created, found.pool.discarded),
        (0, 1, 0),
        "{:?}",
        found.failures
    );
}

#[tokio::test]
async fn budget_begins_when_the_guest_does_and_not_with_the_waiting() {
    let options = PluginOptions { max_wait_ms: LONG, ..pool_of(1) };
    let (factory, policy) = loaded_with(budget(100), options, commanded("", &on(1, FOREVER))).await;
    let (table, loops) = (fleet(2).table(), prompt(1));
    let (looping, waiting) = (asking(&loops), asking(""));
    // The second waits for longer than its budget, since another instance has to be made too.
    let (first, second) =
        tokio::join!(policy.decide_async(&table, &looping), policy.decide_async(&table, &waiting));
    assert_eq!(first.unwrap().chooser(), Chooser::Fallback { cause: FailureCause::Timeout });
    assert!(matches!(second.unwrap().chooser(), Chooser::Plugin { .. }));
    assert_eq!((failures(&factory, "timeout"), failures(&factory, "saturated")), (1, 0));
}

#[tokio::test]
async fn caller_that_waited_for_too_long_says_so_and_blames_nobody() {
    let breaker = BreakerOptions { failures: 1, max_lost_percent: 0, ..BreakerOptions::default() };
    let options = PluginOptions { max_wait_ms: 5, breaker, ..pool_of(1) };
    let (factory, policy) = loaded_with(budget(LONG), options, commanded("", &on(1, FOREVER))).await;
    let table = fleet(2).table();
    let (asked, workers) = (policy.clone(), Arc::clone(&table));
    let looping = tokio::spawn(async move { asked.decide_async(&workers, &asking(&prompt(1))).await });
    eventually("the guest runs", || stats(&factory).pool.idle == 0).await;
    let saturated = Chooser::Fallback { cause: FailureCause::Saturated };
    assert_eq!(policy.decide_async(&table, &asking("")).await.unwrap().chooser(), saturated);
    assert_eq!(policy.decide(&table, &asking("")).unwrap().chooser(), saturated);
    assert_eq!(failures(&factory, "saturated"), 2);
    assert!(!stats(&factory).breaker_open);
    assert!(!FailureCause::Saturated.is_guests());
    looping.abort();
    eventually("another instance is there", || stats(&factory).pool.idle == 1).await;
}

/// Answers every byte until its client is gone.
async fn echo(listener: tokio::net::TcpListener) {
    let Ok((mut stream, _)) = listener.accept().await else { return };
    let mut byte = [0; 1];
    while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
}

/// How many round trips this client makes until it is to stop.
fn trips(address: std::net::SocketAddr, stop: &AtomicBool) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut trips = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&[1]).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        trips += 1;
    }
    trips
}

#[test]
fn sockets_go_on_between_the_ticks_of_a_guest_that_loops() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let trips = runtime.block_on(async {
        let (_factory, policy) = loaded_with(budget(400), pool_of(1), commanded("", &on(1, FOREVER))).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(echo(listener));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let table = fleet(2).table();
        // On the runtime's only thread, as all else.
        let looping = tokio::spawn(async move { policy.decide_async(&table, &asking(&prompt(1))).await });
        let client = tokio::task::spawn_blocking(move || trips(address, &stopped));
        let decided = looping.await.unwrap().unwrap();
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Timeout });
        stop.store(true, Ordering::Relaxed);
        client.await.unwrap()
    });
    // A runtime that finds the guest ready at once looks at its sockets every 61 ticks: six times.
    assert!(trips > 30, "{trips} round trips in 400 ms");
}

#[test]
fn adaptive_call_that_takes_long_does_not_keep_its_thread_from_others() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = PluginOptions { lane: LaneOption::Adaptive, ..pool_of(1) };
        let gated = commanded("", &on(1, WAIT_AT_GATE));
        let (factory, policy) = loaded_with(budget(3000), options, gated).await;
        let table = fleet(2).table();
        let waiting = tokio::spawn(async move { policy.decide_async(&table, &asking(&prompt(1))).await });
        // Behind it on the same thread, and what ends it.
        let opening = tokio::spawn(async move {
            factory.load(Load::bytes(budget(3000), opener()).with(pool_of(1))).await.unwrap();
        });
        let decided = waiting.await.unwrap().unwrap();
        assert!(matches!(decided.chooser(), Chooser::Plugin { .. }), "{decided:?}");
        opening.await.unwrap();
    });
}

/// Loops in `on_complete`.
fn spins_at_completions() -> Vec<u8> {
    let fields = format!(
        r#"{}(data (i32.const 16) "\00") (func (export "on_complete") (param i32 i32) {FOREVER})"#,
        manifest(&[Input::Load])
    );
    guest_with(&fields, &answer(16, 1))
}

/// Decides and tells of the finished request until that has come about.
async fn finishing_until(
    factory: &PolicyFactory,
    policy: &PolicyHandle,
    what: &str,
    done: impl Fn() -> bool,
) {
    let table = fleet(2).table();
    for _ in 0..2000 {
        if done() {
            return;
        }
        let decided = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
        policy.on_request_complete(&finished(decided.chooser()));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never happened: {what}; {:?}", stats(factory));
}

#[tokio::test]
async fn time_that_is_lost_to_finished_requests_opens_the_breaker() {
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 1, ..BreakerOptions::default() };
    let options = PluginOptions { breaker, ..pool_of(2) };
    let (factory, policy) = loaded_with(budget(10), options, spins_at_completions()).await;
    finishing_until(&factory, &policy, "the breaker opens", || stats(&factory).breaker_open).await;
    let told = stats(&factory).completion_failures;
    assert!((5..20).contains(&told), "{told} batches of 10 ms, of 50 ms that it may lose");
}

#[tokio::test]
async fn canary_that_loses_too_much_time_to_finished_requests_is_ended() {
    let (factory, policy) = loaded_with(budget(10), pool_of(2), guest_choosing(1)).await;
    let rollout = CanaryOptions {
        percent: 100.0,
        min_secs: 3600,
        max_failure_rate_increase: 1.0,
        ..CanaryOptions::default()
    };
    let breaker = BreakerOptions { max_lost_percent: 1, ..BreakerOptions::default() };
    let options = PluginOptions { breaker, rollout: Rollout::Canary(rollout), ..pool_of(2) };
    factory.load(Load::bytes(budget(10), spins_at_completions()).with(options)).await.unwrap();
    finishing_until(&factory, &policy, "it is ended", || stats(&factory).rollbacks == 1).await;
    assert!(!stats(&factory).breaker_open, "the stable generation decides");
    let event = factory.plugin_detail("test").unwrap().last_event.unwrap().to_string();
    assert!(event.contains("it lost more time than breaker.max_lost_percent allows"), "{event}");
}

#[tokio::test]
async fn finished_requests_that_a_new_generation_fails_at_bring_the_old_one_back() {
    let (factory, policy) = loaded_with(budget(5), pool_of(2), guest_choosing(1)).await;
    let probation = ProbationOptions { secs: 60, max_failures: 3, max_failure_rate: 0.0 };
    let options = PluginOptions { probation, ..pool_of(2) };
    factory.load(Load::bytes(budget(5), spins_at_completions()).with(options)).await.unwrap();
    finishing_until(&factory, &policy, "it is rolled back", || stats(&factory).rollbacks == 1).await;
}
