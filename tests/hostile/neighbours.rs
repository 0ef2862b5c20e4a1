//! Plugins that are well until they serve, and the traffic beside them.

use std::sync::Arc;

use sgl_testkit::guest::{FOREVER, GuestText};
use sgl_testkit::plugins::asking;
use sgl_testkit::text::HOST;
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::BreakerOptions;
use sglang_router_rs::policies::{Chooser, FailureCause, PluginOptions};

use crate::guest::guest;
use crate::stage::{BAD, GOOD, Hostile, Stage, hasty, limits, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_traffic_sees_no_error_beside_requests_that_spin() {
    let stage = Stage::new().await;
    let breaker = BreakerOptions::default();
    let hostile = stage.load_with(hasty(), PluginOptions { breaker, ..options() }, guest(FOREVER)).await;
    let clients = |text: &'static str, count: usize, requests: usize| {
        let (policy, table) = (hostile.policy.clone(), Arc::clone(&stage.table));
        (0..count).map(move |_| {
            let (policy, table) = (policy.clone(), Arc::clone(&table));
            tokio::spawn(async move {
                for _ in 0..requests {
                    policy.decide_async(&table, &asking(text)).await.expect("a worker, whoever chose it");
                    tokio::task::yield_now().await;
                }
            })
        })
    };
    let all: Vec<_> = clients(GOOD, 8, 2000).chain(clients(BAD, 4, 50)).collect();
    for client in all {
        stage.beside(client).await.expect("no error");
    }
    let stats = hostile.stats();
    assert!(stats.fallbacks >= 200, "no request that spins is decided by the plugin: {stats:?}");
    assert_eq!(stats.fallbacks, stats.failures.iter().map(|(_, count)| count).sum::<u64>());
    assert!(hostile.failures(FailureCause::Timeout) > 0);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn plugin_that_fails_every_request_is_soon_not_asked_any_more() {
    let stage = Stage::new().await;
    let breaker =
        BreakerOptions { failures: 3, max_lost_percent: 0, backoff_ms: 30_000, max_backoff_ms: 30_000 };
    let hostile =
        stage.load_with(limits(), PluginOptions { breaker, ..options() }, guest("unreachable")).await;
    for _ in 0..20 {
        hostile.ready().await;
        assert!(matches!(stage.decide(&hostile, BAD).await.chooser(), Chooser::Fallback { .. }));
    }
    assert!(hostile.stats().breaker_open);
    let counts = [FailureCause::Trap, FailureCause::BreakerOpen].map(|cause| hostile.failures(cause));
    assert_eq!(counts, [3, 17]);
    stage.ends(hostile).await;
}

/// A guest that starts once for the host's trial and once to serve, and never again; it traps on
/// the bad request, so that a new instance is wanted.
fn one_shot(later: &str) -> Vec<u8> {
    let init =
        format!("(if (i64.gt_s (call $count (i32.const 0) (i64.const 1)) (i64.const 1)) (then {later}))");
    GuestText { imports: HOST, init: &init, bad: "unreachable", ..GuestText::default() }.wasm()
}

async fn loses_its_only_instance(stage: &Stage, later: &str, breaker: BreakerOptions) -> Hostile {
    let one = PluginOptions { max_instances: 1, breaker, ..options() };
    let hostile = stage.load_with(hasty(), one, one_shot(later)).await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    let decided = stage.decide(&hostile, BAD).await;
    assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Trap });
    hostile
}

#[tokio::test]
async fn init_that_traps_later_leaves_the_requests_to_the_fallback() {
    let stage = Stage::new().await;
    let hostile = loses_its_only_instance(&stage, "unreachable", options().breaker).await;
    eventually("its last instance is gone", || hostile.stats().pool.live == 0).await;
    for _ in 0..10 {
        let decided = stage.decide(&hostile, GOOD).await;
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Unavailable });
    }
    stage.ends(hostile).await;
}

#[tokio::test]
async fn requests_that_spin_open_the_breaker_although_others_succeed_in_between() {
    let stage = Stage::new().await;
    let breaker = BreakerOptions {
        failures: 1_000_000,
        backoff_ms: 60_000,
        max_backoff_ms: 60_000,
        ..BreakerOptions::default()
    };
    let hostile = stage.load_with(hasty(), PluginOptions { breaker, ..options() }, guest(FOREVER)).await;
    let mut spun = 0;
    while !hostile.stats().breaker_open {
        stage.by_plugin(&hostile, GOOD, 0).await;
        let decided = stage.decide(&hostile, BAD).await;
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Timeout });
        spun += 1;
        assert!(spun < 200, "20 ms each; half a second in five is too much");
    }
    assert!(spun >= 25, "{spun}");
    let decided = stage.decide(&hostile, GOOD).await;
    assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::BreakerOpen });
    stage.ends(hostile).await;
}

#[tokio::test]
async fn init_that_cannot_end_any_more_opens_the_breaker() {
    let stage = Stage::new().await;
    let hostile = loses_its_only_instance(&stage, FOREVER, BreakerOptions::default()).await;
    let mut causes = Vec::new();
    for _ in 0..20 {
        let decided = stage.decide(&hostile, GOOD).await;
        let Chooser::Fallback { cause } = decided.chooser() else { panic!("{decided:?}") };
        causes.push(cause);
    }
    assert!(causes.contains(&FailureCause::BreakerOpen), "{causes:?}");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn init_that_loops_later_leaves_the_requests_to_the_fallback() {
    let stage = Stage::new().await;
    let hostile = loses_its_only_instance(&stage, FOREVER, options().breaker).await;
    for _ in 0..10 {
        let decided = stage.decide(&hostile, GOOD).await;
        let Chooser::Fallback { cause } = decided.chooser() else { panic!("{decided:?}") };
        // While an instance is being made it is waited for.
        assert!(matches!(cause, FailureCause::Saturated | FailureCause::Unavailable), "{cause}");
    }
    stage.ends(hostile).await;
}

#[tokio::test]
async fn good_module_in_place_of_a_hostile_one_serves_at_once() {
    let stage = Stage::new().await;
    let hostile = stage.load_with(hasty(), options(), guest(FOREVER)).await;
    stage.falls_back(&hostile, FailureCause::Timeout).await;
    let better = stage.load(guest("")).await;
    stage.by_plugin(&better, BAD, 0).await;
    eventually("the hostile generation is gone", || better.stats().live_generations == 1).await;
    stage.ends(better).await;
}

#[tokio::test]
async fn instances_of_fresh_isolation_remember_nothing() {
    // Answers how often it was asked: always 1 of a fresh instance.
    let fields = "(global $asked (mut i32) (i32.const 0))";
    let bad = format!(
        "(global.set $asked (i32.add (global.get $asked) (i32.const 1)))
         (i32.store8 (i32.const 40) (global.get $asked)) (return {})",
        sgl_testkit::text::answer(40, 1)
    );
    let wasm = GuestText { fields, bad: &bad, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let fresh = PluginOptions { isolation: sglang_router_rs::config::Isolation::Fresh, ..options() };
    let hostile = stage.load_with(limits(), fresh, wasm).await;
    for _ in 0..6 {
        stage.by_plugin(&hostile, BAD, 1).await;
    }
    stage.ends(hostile).await;
}
