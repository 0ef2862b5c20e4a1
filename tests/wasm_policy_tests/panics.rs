//! A guest that panics says why: its message, file and line, and where it was.

use sgl_policy_abi::Input;
use sgl_testkit::fleets::fleet;
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{load, loaded};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::policies::{PolicyFactory, SelectWorkerInfo};

const MESSAGE: &str = r"panicked at src/lib.rs:7:5:\0aindex out of bounds";

/// Panics as a plugin without the standard library does, in a function of a function.
fn panicking(when: &str) -> Vec<u8> {
    let len = MESSAGE.len() - 2;
    let fields = format!(
        r#"{HOST}{}(data (i32.const 16) "\00")(data (i32.const 3000) "{MESSAGE}")
        (func $inner (call $log (i32.const 0) (i32.const 3000) (i32.const {len})) unreachable)
        (func $score_all (call $inner))"#,
        manifest(&[Input::PromptBytes])
    );
    guest_with(&fields, &format!("(if {when} (then (call $score_all))) {}", answer(16, 1)))
}

/// True for real traffic, which has no prompt here; the host's own trials have one.
const SERVING: &str =
    "(i32.eqz (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))";

fn failure(factory: &PolicyFactory) -> String {
    factory.plugin_detail("test").expect("it is loaded").last_failure.expect("it has failed")
}

#[tokio::test]
async fn panic_in_a_decision_is_told_with_message_place_and_functions() {
    let (factory, policy) = loaded(panicking(SERVING)).await;
    let table = fleet(2).table();
    policy.decide_async(&table, &SelectWorkerInfo::default()).await.expect("the fallback decides");
    let failure = failure(&factory);
    for part in ["panicked at src/lib.rs:7:5: index out of bounds", "in inner < score_all", "trap"] {
        assert!(failure.contains(part), "{part:?} is not in {failure}");
    }
}

#[tokio::test]
async fn refused_load_says_why_the_guest_panicked() {
    let factory = PolicyFactory::new();
    let error = load(&factory, "test", panicking("(i32.const 1)")).await.expect_err("it panics").to_string();
    assert!(
        error.contains("panicked at src/lib.rs:7:5: index out of bounds; in inner < score_all"),
        "{error}"
    );
}
