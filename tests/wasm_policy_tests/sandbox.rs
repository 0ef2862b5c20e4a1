//! What guests may and may not do: system calls, output, sleeping, exiting, recursion.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sgl_testkit::commanded::{ECHO, commanded, on, prompt};
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::plugins::{asking, config, failures, loaded_with, stats};
use sgl_testkit::waits::eventually;
use sglang_router_rs::policies::{
    Chooser, FailureCause, LoadBalancingPolicy, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
    WasmPolicyConfig,
};
use tracing::Level;

use crate::capture::{Line, catch_logs, take_echo, take_lines};
use crate::wasi::{allowed, imports};

/// A guest that may call these functions, with cases for [`commanded`].
async fn plugin(name: &str, functions: &[&str], fields: &str, cases: &str) -> (PolicyFactory, PolicyHandle) {
    catch_logs();
    let limits = WasmPolicyConfig { allowed_syscalls: allowed(functions), ..config(name) };
    let options = PluginOptions { min_warm: 1, max_instances: 1, ..PluginOptions::default() };
    let wasm = commanded(&format!("{}{ECHO}{fields}", imports(functions)), cases);
    let loaded = loaded_with(limits, options, wasm).await;
    take_lines(name);
    loaded
}

/// Decides on a thread without any runtime.
fn decide_alone(policy: &PolicyHandle, command: usize) -> Chooser {
    std::thread::scope(|scope| {
        let alone = || policy.decide(&fleet(100).table(), &asking(&prompt(command))).unwrap().chooser();
        scope.spawn(alone).join().unwrap()
    })
}

async fn decide(policy: &PolicyHandle, command: usize) -> Chooser {
    policy.decide_async(&fleet(100).table(), &asking(&prompt(command))).await.unwrap().chooser()
}

fn by_plugin(chooser: Chooser) {
    assert!(matches!(chooser, Chooser::Plugin { .. }), "{chooser:?}");
}

fn fell_back(chooser: Chooser, cause: FailureCause) {
    assert_eq!(chooser, Chooser::Fallback { cause });
}

const ERRNO_TRAPS: &str = "(if (then unreachable))";

#[tokio::test]
async fn clock_and_randomness_work_in_both_forms() {
    let cases = on(
        1,
        &format!(
            "(call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 2048)) {ERRNO_TRAPS}
             (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 2056)) {ERRNO_TRAPS}
             (call $random_get (i32.const 2064) (i32.const 16)) {ERRNO_TRAPS}
             (call $echo (i32.const 83) (i32.const 2048) (i32.const 32))"
        ),
    );
    let (_factory, policy) = plugin("clocks", &["clock_time_get", "random_get"], "", &cases).await;
    let mut readings = Vec::new();
    for round in 0..6 {
        let chooser = if round % 2 == 0 { decide(&policy, 1).await } else { decide_alone(&policy, 1) };
        by_plugin(chooser);
        let bytes = take_echo("clocks", 'S');
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        readings.push((number(0), number(8), bytes[16..].to_vec()));
    }
    assert!(readings.is_sorted_by(|before, after| before.0 < after.0), "{readings:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.abs_diff(Duration::from_nanos(readings[0].1));
    assert!(age < Duration::from_secs(300), "the clock of the real time: {age:?}");
    let random: HashSet<_> = readings.iter().map(|reading| &reading.2).collect();
    assert_eq!(random.len(), 6);
}

#[tokio::test]
async fn functions_that_do_not_wait_work_on_the_callers_stack() {
    let functions = [
        "args_get",
        "args_sizes_get",
        "clock_res_get",
        "clock_time_get",
        "environ_get",
        "environ_sizes_get",
        "fd_fdstat_set_flags",
        "fd_prestat_dir_name",
        "fd_prestat_get",
        "random_get",
        "sched_yield",
    ];
    // There are no arguments, no environment and no opened directory.
    let cases = on(
        1,
        &format!(
            "(call $args_sizes_get (i32.const 2048) (i32.const 2052)) {ERRNO_TRAPS}
             (call $args_get (i32.const 2080) (i32.const 2080)) {ERRNO_TRAPS}
             (call $environ_sizes_get (i32.const 2056) (i32.const 2060)) {ERRNO_TRAPS}
             (call $environ_get (i32.const 2080) (i32.const 2080)) {ERRNO_TRAPS}
             (i64.or (i64.load (i32.const 2048)) (i64.load (i32.const 2056)))
             (if (i64.ne (i64.const 0)) (then unreachable))
             (call $clock_res_get (i32.const 1) (i32.const 2080)) {ERRNO_TRAPS}
             (call $sched_yield) {ERRNO_TRAPS}
             (drop (call $fd_fdstat_set_flags (i32.const 1) (i32.const 0)))
             (if (i32.ne (i32.const 8) (call $fd_prestat_get (i32.const 3) (i32.const 2080))) (then unreachable))
             (drop (call $fd_prestat_dir_name (i32.const 3) (i32.const 2080) (i32.const 4)))"
        ),
    );
    let (factory, policy) = plugin("immediate", &functions, "", &cases).await;
    by_plugin(decide_alone(&policy, 1));
    by_plugin(decide(&policy, 1).await);
    assert_eq!(policy.select_worker(&slice(2), &asking("x")), Some(0));
    assert_eq!(stats(&factory).fallbacks, 0);
}

#[tokio::test]
async fn exit_is_a_trap_and_not_the_end_of_the_router() {
    let (factory, policy) =
        plugin("exits", &["proc_exit"], "", &on(1, "(call $proc_exit (i32.const 0))")).await;
    fell_back(decide_alone(&policy, 1), FailureCause::Trap);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    fell_back(decide(&policy, 1).await, FailureCause::Trap);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    by_plugin(decide(&policy, 0).await);
}

#[tokio::test]
async fn deep_recursion_is_a_trap_in_both_forms() {
    let recursion = r#"(func $down (param i64) (result i64)
      (i64.add (local.get 0) (call $down (i64.add (local.get 0) (i64.const 1)))))"#;
    let cases = on(1, "(drop (call $down (i64.const 0)))");
    let (factory, policy) = plugin("recursion", &[], recursion, &cases).await;
    fell_back(decide_alone(&policy, 1), FailureCause::Trap);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    fell_back(decide(&policy, 1).await, FailureCause::Trap);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    by_plugin(decide(&policy, 0).await);
}

#[tokio::test]
async fn sleep_beyond_the_budget_is_cut_as_a_timeout() {
    // Thirty seconds on the monotonic clock.
    let sleep = "(i32.store8 (i32.const 2056) (i32.const 0))
      (i32.store (i32.const 2064) (i32.const 1))
      (i64.store (i32.const 2072) (i64.const 30000000000))
      (drop (call $poll_oneoff (i32.const 2048) (i32.const 2200) (i32.const 1) (i32.const 2300)))";
    catch_logs();
    let limits = WasmPolicyConfig {
        allowed_syscalls: allowed(&["poll_oneoff"]),
        max_execution_time_ms: 50,
        ..config("sleeps")
    };
    let options = PluginOptions { min_warm: 1, max_instances: 1, ..PluginOptions::default() };
    let wasm = commanded(&imports(&["poll_oneoff"]), &on(1, sleep));
    let (factory, policy) = loaded_with(limits, options, wasm).await;
    let start = Instant::now();
    fell_back(decide_alone(&policy, 1), FailureCause::Timeout);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    fell_back(decide(&policy, 1).await, FailureCause::Timeout);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(failures(&factory, "timeout"), 2);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    by_plugin(decide(&policy, 0).await);
    by_plugin(decide_alone(&policy, 0));
}

/// Data at 3000, and instructions that write it to a descriptor.
fn writes(descriptor: u32, len: u32) -> String {
    format!(
        "(i32.store (i32.const 2048) (i32.const 3000)) (i32.store (i32.const 2052) (i32.const {len}))
         (if (call $fd_write (i32.const {descriptor}) (i32.const 2048) (i32.const 1) (i32.const 2056))
           (then unreachable))"
    )
}

/// Waits for the lines of a plugin.
async fn lines(name: &str, count: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    eventually(&format!("{count} lines of {name}"), || {
        lines.extend(take_lines(name));
        lines.len() >= count
    })
    .await;
    lines
}

#[tokio::test]
async fn output_of_the_guest_reaches_the_log_line_by_line() {
    let data = r#"(data (i32.const 3000) "one\ntwo\1b[2J\nthree\n")"#;
    let cases = [on(1, &writes(1, 19)), on(2, &writes(2, 4))].concat();
    let (_factory, policy) = plugin("prints", &["fd_write"], data, &cases).await;
    by_plugin(decide(&policy, 1).await);
    let found = lines("prints", 3).await;
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["one", r"two\u{1b}[2J", "three"], "control characters are escaped");
    assert!(found.iter().all(|line| line.level == Level::INFO));
    by_plugin(decide_alone(&policy, 2));
    let found = lines("prints", 1).await;
    assert_eq!((found[0].level, found[0].text.as_str()), (Level::WARN, "one"));
}

#[tokio::test]
async fn last_words_of_a_guest_that_traps_reach_the_log() {
    let data = r#"(data (i32.const 3000) "panicked at policy.rs:7\n")"#;
    let cases = on(1, &format!("{} unreachable", writes(2, 24)));
    let (factory, policy) = plugin("last-words", &["fd_write"], data, &cases).await;
    for _ in 0..5 {
        fell_back(decide(&policy, 1).await, FailureCause::Trap);
        let found = lines("last-words", 1).await;
        assert_eq!((found[0].level, found[0].text.as_str()), (Level::WARN, "panicked at policy.rs:7"));
        eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
        if stats(&factory).breaker_open {
            return;
        }
    }
}

#[tokio::test]
async fn output_is_limited_in_its_rate_and_what_is_dropped_is_counted() {
    let flood = |instructions: &str| {
        format!(
            "(local.set $command (i32.const 0))
             (loop $again {instructions}
               (local.set $command (i32.add (local.get $command) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $command) (i32.const 500))))"
        )
    };
    let log = flood("(call $log (i32.const 1) (i32.const 3000) (i32.const 3))");
    let cases = [on(1, &log), on(2, &flood(&writes(1, 4)))].concat();
    let data = r#"(data (i32.const 3000) "one\n")"#;
    let (factory, policy) = plugin("floods", &["fd_write"], data, &cases).await;
    by_plugin(decide(&policy, 1).await);
    let suppressed = stats(&factory).log_suppressed;
    // Twenty a second are passed on, and this takes less than ten seconds.
    assert!((300..=480).contains(&suppressed), "{suppressed}");
    assert_eq!(take_lines("floods").len() as u64, 500 - suppressed);
    by_plugin(decide_alone(&policy, 2));
    eventually("the rest is counted", || stats(&factory).log_suppressed >= suppressed + 300).await;
}

#[tokio::test]
async fn log_levels_are_those_of_the_guest() {
    let log = |level: i32| format!("(call $log (i32.const {level}) (i32.const 3000) (i32.const 3))");
    let cases = on(1, &[-7, 0, 1, 2, 3, 4, 99].map(log).concat());
    let data = r#"(data (i32.const 3000) "one\n")"#;
    let (_factory, policy) = plugin("levels", &[], data, &cases).await;
    by_plugin(decide(&policy, 1).await);
    let levels: Vec<Level> = take_lines("levels").iter().map(|line| line.level).collect();
    let [error, warn, info] = [Level::ERROR, Level::WARN, Level::INFO];
    assert_eq!(levels, [error, error, warn, info, Level::DEBUG, Level::TRACE, Level::TRACE]);
}

#[tokio::test]
async fn self_test_and_warm_up_leave_no_trace_in_counters() {
    // Counts every decision.
    let (_factory, policy) =
        plugin("traceless", &[], "", "(drop (call $count (i32.const 3) (i64.const 1)))").await;
    let table = fleet(100).table();
    let info = SelectWorkerInfo::default();
    policy.decide_async(&table, &info).await.unwrap();
    policy.decide(&table, &info).unwrap();
    assert_eq!(sgl_testkit::commanded::counter(&policy, &table, 3).await, 3);
}
