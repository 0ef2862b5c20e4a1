//! Plugins that fail: requests do not notice.

use sgl_testkit::small_guests::guest_with;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

use crate::rig::{Host, Rig, Setup};

/// A guest that does this from its fifth decision on; it chooses worker 0 before.
fn failing_later(what: &str) -> Vec<u8> {
    let body = format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.gt_u (global.get $calls) (i32.const 4)) (then {what}))
         (i32.store8 (i32.const 16) (i32.const 0)) {}",
        sgl_testkit::text::answer(16, 1)
    );
    guest_with("(global $calls (mut i32) (i32.const 0))", &body)
}

async fn requests_do_not_notice(guest: Vec<u8>) {
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    // The budgets are the defaults.
    let setup = Setup { settings: "", ..Setup::default() };
    let Some(rig) = Rig::start_with(setup, &guest, &hosts).await else { return };
    for _ in 0..40 {
        assert_eq!(rig.ask(&[]).await.status, 200);
    }
    until(async || rig.envoy.counted("sgl_policy_fallbacks_total").await > 0).await;
    assert!(rig.envoy.counted("sgl_policy_failures_total").await > 0);
    assert!(!workers[1].seen().is_empty(), "the fallback policy takes turns");
}

#[tokio::test]
async fn trap_is_a_decision_of_the_fallback_policy() {
    requests_do_not_notice(failing_later("unreachable")).await;
}

#[tokio::test]
async fn access_beyond_its_memory_is_a_decision_of_the_fallback_policy() {
    requests_do_not_notice(failing_later("(i32.store (i32.const 0x7fffffff) (i32.const 1))")).await;
}

#[tokio::test]
async fn loop_is_ended_and_is_a_decision_of_the_fallback_policy() {
    requests_do_not_notice(failing_later("(loop $for_ever (br $for_ever))")).await;
}
