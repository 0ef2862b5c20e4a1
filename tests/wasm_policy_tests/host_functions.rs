//! The `sgl` functions with arguments of every kind.

use sgl_policy_abi::host_function::COUNTER_SLOTS;
use sgl_testkit::commanded::{commanded, counter, on, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, load, loaded, loaded_with, without_probation};
use sgl_testkit::text::answer;
use sglang_router_rs::policies::{Chooser, Load, PluginOptions, PolicyHandle};

/// Answers the negative of what the instruction leaves: an error code of the map functions.
fn code(instruction: &str) -> String {
    format!("(i32.store8 (i32.const 16) (i32.sub (i32.const 0) {instruction})) (return {})", answer(16, 1))
}

/// Answers 1 if the instruction leaves a true value.
fn truth(instruction: &str) -> String {
    format!("(i32.store8 (i32.const 16) {instruction}) (return {})", answer(16, 1))
}

async fn run(policy: &PolicyHandle, command: usize) -> usize {
    let decision = policy.decide_async(&fleet(128).table(), &asking(&prompt(command))).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{command}: {decision:?}");
    decision.index()
}

/// Runs each case and compares its answer.
async fn all(cases: &[(String, usize)]) {
    let commands: String =
        cases.iter().enumerate().map(|(at, (case, _))| on(10 + u32::try_from(at).unwrap(), case)).collect();
    let data = r#"(data (i32.const 3000) "key-value")"#;
    let (_factory, policy) = loaded(commanded(data, &commands)).await;
    for (at, (case, expected)) in cases.iter().enumerate() {
        assert_eq!(run(&policy, 10 + at).await, *expected, "{case}");
    }
}

fn call(function: &str, arguments: [i64; 4]) -> String {
    let arguments = arguments.map(|argument| format!("(i32.const {argument})")).join(" ");
    format!("(call ${function} {arguments})")
}

#[tokio::test]
async fn map_answers_values_and_codes() {
    let memory = 131_072;
    all(&[
        (code(&call("kv_get", [3000, 3, 2048, 100])), 1),
        (code(&call("kv_set", [3000, 3, 3004, 5])), 0),
        (truth(&call("kv_get", [3000, 3, 2048, 100])), 5),
        (truth("(i32.eq (i32.load (i32.const 2048)) (i32.load (i32.const 3004)))"), 1),
        (truth(&call("kv_get", [3000, 3, 2048, 5])), 5),
        (code(&call("kv_get", [3000, 3, 2048, 4])), 2),
        (code(&call("kv_set", [3000, 3, 0, 65_537])), 3),
        (code(&call("kv_set", [3000, 3, 0, 65_536])), 0),
        (code(&call("kv_set", [3000, 3, 3004, 0])), 0),
        (truth(&call("kv_get", [3000, 3, 2048, 0])), 0),
        // Outside memory, one byte beyond it, and wrapping around.
        (code(&call("kv_get", [memory, 3, 2048, 4])), 5),
        (code(&call("kv_get", [memory - 2, 3, 2048, 4])), 5),
        (code(&call("kv_get", [-1, -1, 2048, 4])), 5),
        (code(&call("kv_set", [3000, 3, memory - 2, 3])), 5),
        (code(&call("kv_set", [3000, 3, -1, 8])), 5),
        (code(&call("kv_set", [-1, 3, 3004, 5])), 5),
        (code(&call("kv_set", [3000, 2000, 3004, 5])), 5),
        (code(&call("kv_set", [3000, 3, 3004, 5])), 0),
        (code(&call("kv_get", [3000, 3, memory - 4, 100])), 5),
        (code(&call("kv_get", [3000, 3, -1, 100])), 5),
    ])
    .await;
}

#[tokio::test]
async fn log_outside_memory_logs_nothing_and_fails_nothing() {
    let log = |at: i64, len: i64| format!("(call $log (i32.const 2) (i32.const {at}) (i32.const {len}))");
    let all_of_them = [log(131_071, 2), log(-1, -1), log(0, -1), log(1 << 30, 1)].concat();
    all(&[(truth(&format!("{all_of_them} (i32.const 7)")), 7)]).await;
}

#[tokio::test]
async fn map_is_full_at_its_limit_and_has_room_again_for_smaller_values() {
    // Keys of four bytes at 2048; values of 64 KiB.
    let fill = format!(
        "(loop $more
           (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))
           (br_if $more (i32.eqz {})))
         {}",
        call("kv_set", [2048, 4, 0, 65_536]),
        truth("(i32.load (i32.const 2048))")
    );
    all(&[
        (fill, 16),
        (code(&call("kv_set", [2048, 4, 0, 65_536])), 4),
        (code(&call("kv_set", [2048, 4, 0, 8])), 0),
        (truth(&call("kv_get", [2048, 4, 4096, 8])), 8),
    ])
    .await;
}

#[tokio::test]
async fn there_are_sixty_four_counters() {
    let is_none = |slot: i64| {
        let get = format!("(call $count (i32.const {slot}) (i64.const 1))");
        truth(&format!("(i64.eq {get} (i64.const 0x8000000000000000))"))
    };
    let add = |slot: u32, delta: i64| {
        truth(&format!("(i32.wrap_i64 (call $count (i32.const {slot}) (i64.const {delta})))"))
    };
    let last = COUNTER_SLOTS - 1;
    all(&[
        (is_none(COUNTER_SLOTS.into()), 1),
        (is_none(-1), 1),
        (is_none(i64::from(i32::MAX)), 1),
        (add(last, 100), 100),
        (add(last, -40), 60),
        (add(0, 1), 1),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_and_map_are_shared_by_all_instances_and_kept_across_generations() {
    let count = on(1, "(drop (call $count (i32.const 5) (i64.const 1)))");
    let set = on(2, &code(&call("kv_set", [3000, 3, 3004, 5])));
    let get = on(3, &truth(&call("kv_get", [3000, 3, 2048, 100])));
    let wasm = commanded(r#"(data (i32.const 3000) "key-value")"#, &[count, set, get].concat());
    let options = PluginOptions { min_warm: 4, max_instances: 4, ..PluginOptions::default() };
    let (factory, policy) = loaded_with(config("test"), options, wasm.clone()).await;
    let table = fleet(128).table();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| drop(policy.decide(&table, &asking("x")).unwrap())));
        }
    });
    assert_eq!(counter(&policy, &table, 5).await, 100);
    assert_eq!(run(&policy, 2).await, 0);
    load(&factory, "test", wasm.clone()).await.unwrap();
    assert_eq!(counter(&policy, &table, 5).await, 100);
    assert_eq!(run(&policy, 3).await, 5);
    // Unloading forgets.
    assert!(factory.unload_wasm_plugin("test"));
    load(&factory, "test", wasm).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    assert_eq!(counter(&policy, &table, 5).await, 0);
}

#[tokio::test]
async fn entry_for_a_time_is_stored_and_a_time_of_zero_removes_it() {
    let import = r#"(import "sgl" "kv_set_for" (func $kv_set_for (param i32 i32 i32 i32 i32) (result i32)))"#;
    let set = |value: i64, len: i64, ttl: i64| {
        format!(
            "(call $kv_set_for (i32.const 3000) (i32.const 3) (i32.const {value}) (i32.const {len}) (i32.const {ttl}))"
        )
    };
    let get = || truth(&call("kv_get", [3000, 3, 2048, 100]));
    let cases = [
        (code(&set(3004, 5, -1)), 0),
        (get(), 5),
        (code(&set(3004, 4, 3_600_000)), 0),
        (get(), 4),
        (code(&set(0, 65_537, 1000)), 3),
        (code(&set(-1, 8, 1000)), 5),
        (get(), 4),
        (code(&set(3004, 5, 0)), 0),
        (code(&call("kv_get", [3000, 3, 2048, 100])), 1),
    ];
    let commands: String =
        cases.iter().enumerate().map(|(at, (case, _))| on(10 + u32::try_from(at).unwrap(), case)).collect();
    let data = format!(r#"{import}(data (i32.const 3000) "key-value")"#);
    let (_factory, policy) = loaded(commanded(&data, &commands)).await;
    for (at, (case, expected)) in cases.iter().enumerate() {
        assert_eq!(run(&policy, 10 + at).await, *expected, "{case}");
    }
}

#[tokio::test]
async fn operator_says_how_much_the_map_holds_and_a_swap_keeps_it() {
    let set = call("kv_set", [3000, 3, 3004, 5]);
    let commands = on(10, &code(&set)) + &on(11, &truth(&call("kv_get", [3000, 3, 2048, 100])));
    let wasm = commanded(r#"(data (i32.const 3000) "key-value")"#, &commands);
    let holding = |max_map_bytes, max_map_entries| PluginOptions {
        max_map_bytes,
        max_map_entries,
        ..without_probation()
    };
    let (factory, policy) = loaded_with(config("test"), holding(7, 10), wasm.clone()).await;
    assert_eq!(run(&policy, 10).await, 4);
    for (options, stored) in [(holding(8, 0), 4), (holding(8, 1), 0), (holding(0, 0), 4)] {
        factory.load(Load::bytes(config("test"), wasm.clone()).with(options)).await.expect("it loads");
        assert_eq!(run(&policy, 10).await, stored);
    }
    assert_eq!(run(&policy, 11).await, 5, "what is there stays");
}
