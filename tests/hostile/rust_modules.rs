//! Hostile plugins as they are really written: in Rust, with the SDK, its heap and its panics.
//!
//! One module, `tests/fixtures/plugins/misbehaving`; its configuration says what it does.

use serde_json::json;
use sgl_testkit::waits::eventually;
use sglang_router_rs::policies::{FailureCause, WasmPolicyConfig};

use crate::stage::{BAD, GOOD, Hostile, Stage, hasty, limits, options};
use sgl_testkit::modules::fixture;

fn told(behaviour: &str, limits: WasmPolicyConfig) -> WasmPolicyConfig {
    let config = [("behaviour".to_owned(), json!(behaviour))].into();
    // An answer that is too long needs room to be made, in several copies.
    let max_memory_bytes =
        if ["long_reason", "many_scores"].contains(&behaviour) { 64 << 20 } else { 8 << 20 };
    WasmPolicyConfig { max_memory_bytes, config, ..limits }
}

async fn load(stage: &Stage, behaviour: &str, limits: WasmPolicyConfig) -> Hostile {
    stage.load_with(told(behaviour, limits), options(), fixture("misbehaving")).await
}

/// The case of a plugin that fails for this cause on its bad request, and decides again after it.
async fn fails(behaviour: &str, cause: FailureCause) {
    let stage = Stage::new().await;
    let hostile = load(&stage, behaviour, limits()).await;
    stage.falls_back(&hostile, cause).await;
    stage.ends(hostile).await;
}

/// The case of one that decides all the same.
async fn decides(behaviour: &str) -> Hostile {
    let stage = Stage::new().await;
    let hostile = load(&stage, behaviour, limits()).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    let seen = Hostile { policy: hostile.policy.clone() };
    stage.ends(hostile).await;
    seen
}

#[tokio::test]
async fn panic_is_a_trap() {
    fails("panic", FailureCause::Trap).await;
}

#[tokio::test]
async fn index_out_of_bounds_is_a_trap() {
    fails("index", FailureCause::Trap).await;
}

#[tokio::test]
async fn unwrap_of_nothing_is_a_trap() {
    fails("unwrap", FailureCause::Trap).await;
}

#[tokio::test]
async fn division_by_zero_is_a_trap() {
    fails("divide", FailureCause::Trap).await;
}

#[tokio::test]
async fn second_borrow_is_a_trap() {
    fails("borrow", FailureCause::Trap).await;
}

#[tokio::test]
async fn recursion_without_end_is_a_trap() {
    fails("recurse", FailureCause::Trap).await;
}

#[tokio::test]
async fn allocation_without_end_is_a_memory_failure() {
    fails("allocate", FailureCause::Memory).await;
}

#[tokio::test]
async fn allocation_of_a_gibibyte_is_a_memory_failure() {
    fails("huge", FailureCause::Memory).await;
}

#[tokio::test]
async fn loop_without_end_is_a_timeout() {
    let stage = Stage::new().await;
    let hostile = load(&stage, "spin", hasty()).await;
    stage.falls_back(&hostile, FailureCause::Timeout).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn index_that_no_worker_has_is_an_invalid_choice() {
    fails("another_index", FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn largest_index_is_an_invalid_choice() {
    fails("largest_index", FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn refusal_to_decide_is_the_guests_own_error() {
    fails("fail", FailureCause::GuestError).await;
}

#[tokio::test]
async fn reason_of_two_mebibytes_cannot_be_decoded() {
    fails("long_reason", FailureCause::Decode).await;
}

#[tokio::test]
async fn half_a_million_scores_cannot_be_decoded() {
    fails("many_scores", FailureCause::Decode).await;
}

#[tokio::test]
async fn log_flood_is_cut_and_counted() {
    let hostile = decides("log").await;
    assert!(hostile.stats().log_suppressed >= 9_000, "{}", hostile.stats().log_suppressed);
}

#[tokio::test]
async fn map_is_full_at_its_limit() {
    decides("map").await;
}

#[tokio::test]
async fn counters_beyond_the_last_are_refused() {
    decides("counters").await;
}

#[tokio::test]
async fn init_that_panics_loops_or_refuses_keeps_it_from_loading() {
    for (behaviour, said) in [
        ("panic_in_init", "does not start: init"),
        ("panic_in_init", "misbehaving/src/lib.rs:"),
        ("panic_in_init", ": in init"),
        ("spin_in_init", "does not start: init"),
        ("refuse_in_init", "it does not like its configuration"),
    ] {
        let stage = Stage::new().await;
        stage.refuses_with(told(behaviour, limits()), fixture("misbehaving"), &[said]).await;
    }
}

#[tokio::test]
async fn on_workers_that_panics_keeps_it_from_loading() {
    let config = told("panic_in_on_workers", limits());
    let stage = Stage::new().await;
    stage.refuses_with(config, fixture("misbehaving"), &["fails its self-test"]).await;
}

async fn cannot_be_told(behaviour: &str) {
    let stage = Stage::new().await;
    let hostile = load(&stage, behaviour, hasty()).await;
    for failures in 1..=3 {
        hostile.ready().await;
        let decided = stage.decide(&hostile, GOOD).await;
        hostile.complete(&decided);
        let counted = async {
            eventually("it is counted", || hostile.stats().completion_failures == failures).await;
        };
        stage.beside(counted).await;
    }
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    assert!(hostile.stats().failures.iter().all(|(_, count)| *count == 0), "no decision failed");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn on_complete_that_panics_is_counted_and_costs_no_decision() {
    cannot_be_told("panic_in_on_complete").await;
}

#[tokio::test]
async fn on_complete_that_loops_is_counted_and_costs_no_decision() {
    cannot_be_told("spin_in_on_complete").await;
}
