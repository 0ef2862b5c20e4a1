//! New generations under traffic: canary, shadow, probation, rollback, hand-over of guest state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sgl_policy_abi::{Concurrency, Input};
use sgl_testkit::commanded::{commanded, on};
use sgl_testkit::fleets::fleet;
use sgl_testkit::manifest::{manifest, manifest_of};
use sgl_testkit::plugins::{config, finished, loaded, stats, without_probation};
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::{HOST, answer};
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{CanaryOptions, ProbationOptions, Rollout, ShadowOptions};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Chooser, GenerationRole, Load, OperationError, PluginDetail, PluginOptions, PluginStatus, PolicyFactory,
    PolicyHandle, RequestCompletion, SelectWorkerInfo, unwatched,
};

fn detail(factory: &PolicyFactory) -> PluginDetail {
    factory.plugin_detail("test").expect("it is loaded")
}

async fn decide(policy: &PolicyHandle, table: &WorkerTable) -> (usize, Chooser) {
    let decision = policy.decide_async(table, &SelectWorkerInfo::default()).await.expect("it decides");
    (decision.index(), decision.chooser())
}

/// A canary that is judged within a test's time.
fn canary(percent: f64, min_secs: u64, min_decisions: u64) -> PluginOptions {
    let canary = CanaryOptions { percent, min_secs, min_decisions, ..CanaryOptions::default() };
    PluginOptions { rollout: Rollout::Canary(canary), ..without_probation() }
}

/// Chooses worker 1 and traps on every third call with real traffic, which has no prompt here; the
/// host's own trials have one.
fn trapping_every_third_time() -> Vec<u8> {
    let body = format!(
        "(if (i32.eqz (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
          (then (if (i64.eqz (i64.rem_u (call $count (i32.const 5) (i64.const 1)) (i64.const 3)))
            (then (unreachable))))) {}",
        answer(16, 1)
    );
    let inputs = manifest(&[Input::PromptBytes]);
    guest_with(&format!(r#"{HOST}{inputs}(data (i32.const 16) "\01")"#), &body)
}

/// A slow machine fails nobody: callers wait for as long as they may.
fn patient() -> PluginOptions {
    PluginOptions { max_wait_ms: 60_000, ..PluginOptions::default() }
}

async fn push(factory: &PolicyFactory, options: PluginOptions, wasm: Vec<u8>) -> u64 {
    let pushed = factory.load(Load::bytes(config("test"), wasm).with(options)).await;
    pushed.expect("it loads").generation
}

#[tokio::test]
async fn canary_gets_its_share_and_requests_with_a_key_stay_on_one_side() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let generation = push(&factory, canary(30.0, 3600, 1), guest_choosing(1)).await;
    let table = fleet(2).table();
    let mut share = 0;
    for _ in 0..4000 {
        let (index, chooser) = decide(&policy, &table).await;
        assert_eq!(index == 1, chooser == Chooser::Plugin { generation });
        share += index;
    }
    // 1200 expected, standard deviation 29.
    assert!((1000..1400).contains(&share), "{share}");
    let mut sides = BTreeMap::new();
    for round in 0..3 {
        for key in 0..200 {
            let key = format!("session {key}");
            let info = SelectWorkerInfo { request_key: Some(&key), ..SelectWorkerInfo::default() };
            let index = policy.decide_async(&table, &info).await.unwrap().index();
            assert_eq!(*sides.entry(key).or_insert(index), index, "round {round}");
        }
    }
    let canaries = sides.values().sum::<usize>();
    assert!((30..90).contains(&canaries), "about 60 of 200 keys: {canaries}");
    assert_eq!(detail(&factory).state, PluginStatus::Canary);
}

#[tokio::test]
async fn change_that_nobody_asked_for_is_told_to_whoever_waits_for_one() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let generation = push(&factory, canary(50.0, 0, 200), guest_choosing(1)).await;
    let mut changes = factory.changes();
    let table = fleet(2).table();
    for _ in 0..600 {
        decide(&policy, &table).await;
    }
    let promoted = async {
        while factory.plugin_infos().iter().all(|info| info.generation != generation) {
            changes.changed().await.expect("the factory is there");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), promoted).await.expect("it is told");
}

#[tokio::test]
async fn good_canary_is_promoted() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let generation = push(&factory, canary(50.0, 0, 200), guest_choosing(1)).await;
    let table = fleet(2).table();
    for _ in 0..600 {
        decide(&policy, &table).await;
    }
    eventually("it is promoted", || detail(&factory).state == PluginStatus::Serving).await;
    assert_eq!(decide(&policy, &table).await, (1, Chooser::Plugin { generation }));
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("promoted"), "{event}");
    eventually("one live generation", || stats(&factory).live_generations == 1).await;
}

#[tokio::test]
async fn canary_with_invalid_choices_is_rolled_back_and_no_decision_notices() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    // It passes its self-test (four workers), and chooses a worker that is not there of two.
    push(&factory, canary(50.0, 0, 100_000), guest_choosing(3)).await;
    let table = fleet(2).table();
    for _ in 0..400 {
        let (index, chooser) = decide(&policy, &table).await;
        assert_eq!(index, 0, "the stable generation makes up for the canary");
        assert!(matches!(chooser, Chooser::Plugin { .. }), "{chooser:?}");
    }
    eventually("it is rolled back", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("rolled back: failure rate 100.00 %"), "{event}");
    assert_eq!(stats(&factory).rollbacks, 1);
    assert_eq!(stats(&factory).fallbacks, 0);
}

#[tokio::test]
async fn slow_canary_is_rolled_back() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let slow = "(local $i i32) (loop $more (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 3000000))))";
    let slow = guest_with(r#"(data (i32.const 16) "\01")"#, &format!("{slow} {}", answer(16, 1)));
    push(&factory, canary(50.0, 3600, 1), slow).await;
    let table = fleet(2).table();
    for _ in 0..100 {
        for _ in 0..20 {
            decide(&policy, &table).await;
        }
        if detail(&factory).state == PluginStatus::Serving {
            break;
        }
    }
    eventually("it is rolled back", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("rolled back: decision p99"), "{event}");
    assert_eq!(decide(&policy, &table).await.0, 0);
}

#[tokio::test]
async fn shadow_reports_a_known_disagreement_exactly_and_decides_nothing() {
    let (factory, policy) = loaded(guest_choosing(1)).await;
    let options =
        PluginOptions { rollout: Rollout::Shadow(ShadowOptions { every: 1 }), ..without_probation() };
    push(&factory, options, disagreeing_every_third_time()).await;
    let table = fleet(2).table();
    for _ in 0..300 {
        assert_eq!(decide(&policy, &table).await.0, 1);
    }
    let report = || detail(&factory).shadow.unwrap();
    eventually("all copies are compared", || report().compared + report().skipped == 300).await;
    let report = report();
    assert_eq!(report.skipped, 0);
    assert_eq!((report.compared, report.agreed), (300, 200));
    // What it was shown is its own, and no decision of the plugin.
    assert_eq!((stats(&factory).decisions, stats(&factory).fallbacks), (300, 0));
    let all = detail(&factory).generations;
    assert_eq!(all.iter().map(|one| one.decisions).collect::<Vec<_>>(), [300, 300]);

    factory.promote_wasm_plugin("test").await.unwrap();
    assert_eq!(detail(&factory).state, PluginStatus::Serving);
    decide(&policy, &table).await;
    assert_eq!(stats(&factory).decisions, 301);
}

/// Chooses worker 1, but worker 0 on every third call.
fn disagreeing_every_third_time() -> Vec<u8> {
    let body = format!(
        "(i32.store8 (i32.const 16) (i32.ne (i32.wrap_i64 (i64.rem_u (call $count (i32.const 5) (i64.const 1))
            (i64.const 3))) (i32.const 0))) {}",
        answer(16, 1)
    );
    guest_with(&format!("{HOST}{}", manifest(&[])), &body)
}

#[tokio::test]
async fn generation_that_starts_to_fail_is_rolled_back_on_probation() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let probation = ProbationOptions { secs: 3600, max_failures: 5, max_failure_rate: 0.1 };
    let options = PluginOptions { probation, ..PluginOptions::default() };
    let before = detail(&factory).generations[0].generation;
    let bad = push(&factory, options, trapping_every_third_time()).await;
    let table = fleet(2).table();
    let mut by_bad = 0;
    for _ in 0..60 {
        let (_, chooser) = decide(&policy, &table).await;
        by_bad += usize::from(chooser == Chooser::Plugin { generation: bad });
    }
    assert_eq!(by_bad, 10, "it made ten good decisions among its five bad ones");
    assert_eq!(decide(&policy, &table).await, (0, Chooser::Plugin { generation: before }));
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("5 of 15 decisions failed on probation"), "{event}");
    let stats = stats(&factory);
    assert_eq!((stats.swaps, stats.rollbacks, stats.fallbacks), (2, 1, 5));
}

/// Chooses worker 1 in the host's own trials, which have a prompt, and nobody of real traffic, which
/// has none here.
fn silent() -> Vec<u8> {
    let body = format!(
        "(if (i32.eqz (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
          (then (return (i64.const 0)))) {}",
        answer(16, 1)
    );
    let inputs = manifest(&[Input::PromptBytes]);
    guest_with(&format!(r#"{inputs}(data (i32.const 16) "\01")"#), &body)
}

#[tokio::test]
async fn canary_that_chooses_nobody_is_rolled_back_and_no_decision_notices() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let generation = push(&factory, canary(100.0, 0, 100_000), silent()).await;
    let table = fleet(2).table();
    // Fewer than say anything: what was counted is still there to be seen.
    for _ in 0..4 {
        let (index, chooser) = decide(&policy, &table).await;
        assert_eq!(index, 0, "the stable generation makes up for the canary");
        assert!(matches!(chooser, Chooser::Plugin { .. }), "{chooser:?}");
    }
    let shown = detail(&factory).generations.into_iter().find(|one| one.generation == generation).unwrap();
    assert_eq!(shown.failures.get("no_choice"), Some(&shown.decisions));
    for _ in 0..400 {
        assert_eq!(decide(&policy, &table).await.0, 0);
    }
    eventually("it is rolled back", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("rolled back: failure rate 100.00 %") && event.contains("(no_choice)"), "{event}");
    assert_eq!((stats(&factory).rollbacks, stats(&factory).fallbacks), (1, 0));
}

#[tokio::test]
async fn requests_that_say_nothing_of_a_choice_count_for_no_side() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let generation = push(&factory, canary(50.0, 3600, 1), guest_choosing(0)).await;
    let stable = detail(&factory).generations[0].generation;
    let finish = |generation, success, judged, total| {
        policy.on_request_complete(&RequestCompletion {
            success,
            judged,
            total,
            ..finished(Chooser::Plugin { generation })
        });
    };
    for _ in 0..200 {
        finish(stable, true, true, Duration::ZERO);
        // The client went away, or the worker had no room.
        finish(generation, false, false, Duration::ZERO);
        // Placed long before the canary was there.
        finish(generation, false, true, Duration::from_secs(3600));
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(detail(&factory).state, PluginStatus::Canary);
    (0..10).for_each(|_| finish(generation, false, true, Duration::ZERO));
    eventually("it is rolled back", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("request error rate 100.00 % (10 of 10) against 0.00 % (0 of 200)"), "{event}");
}

#[tokio::test]
async fn load_that_ends_a_canary_says_so() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let first = push(&factory, canary(50.0, 3600, 1), guest_choosing(1)).await;
    let options =
        PluginOptions { rollout: Rollout::Shadow(ShadowOptions { every: 1 }), ..without_probation() };
    let shadow = factory.load(Load::bytes(config("test"), guest_choosing(1)).with(options));
    let shadow = shadow.await.unwrap();
    assert_eq!(shadow.displaced, Some(first));
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.ends_with(&format!("; generation {first}, a canary until then, is dropped")), "{event}");
    let info =
        factory.reconfigure_wasm_plugin(config("test"), without_probation(), unwatched()).await.unwrap();
    assert_eq!(info.displaced, Some(shadow.generation));
    assert_eq!(stats(&factory).rollbacks, 2);
    let last = push(&factory, canary(50.0, 3600, 1), guest_choosing(1)).await;
    factory.promote_wasm_plugin("test").await.unwrap();
    assert_eq!(stats(&factory).rollbacks, 2, "a promotion drops nobody");
    assert_eq!(decide(&policy, &fleet(2).table()).await, (1, Chooser::Plugin { generation: last }));
}

#[tokio::test]
async fn canary_that_may_refuse_and_always_does_is_rolled_back() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let options = PluginOptions { may_refuse: true, ..canary(50.0, 0, 100_000) };
    push(&factory, options, silent()).await;
    let table = fleet(2).table();
    for _ in 0..400 {
        let _ = policy.decide_async(&table, &SelectWorkerInfo::default()).await;
    }
    eventually("it is rolled back", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("rolled back: failure rate 100.00 %"), "{event}");
}

#[tokio::test]
async fn generation_that_chooses_nobody_is_rolled_back_on_probation() {
    let probation = ProbationOptions { secs: 3600, max_failures: 5, max_failure_rate: 0.1 };
    // One that may refuse has to refuse everything for a while.
    for (may_refuse, after) in [(false, 5), (true, 20)] {
        let (factory, policy) = loaded(guest_choosing(0)).await;
        let before = detail(&factory).generations[0].generation;
        push(&factory, PluginOptions { probation, may_refuse, ..PluginOptions::default() }, silent()).await;
        let table = fleet(2).table();
        for _ in 0..after {
            assert_eq!(detail(&factory).state, PluginStatus::Probation);
            let decided = policy.decide_async(&table, &SelectWorkerInfo::default()).await;
            assert_eq!(decided.is_err(), may_refuse);
        }
        assert_eq!(decide(&policy, &table).await, (0, Chooser::Plugin { generation: before }));
        let event = detail(&factory).last_event.unwrap().to_string();
        let expected = format!("{after} of {after} decisions failed on probation");
        assert!(event.contains(&expected) && event.contains("(no_choice)"), "{event}");
    }
}

#[tokio::test]
async fn shadow_that_chooses_nobody_is_seen_to() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let options =
        PluginOptions { rollout: Rollout::Shadow(ShadowOptions { every: 1 }), ..without_probation() };
    let shadow = push(&factory, options, silent()).await;
    let table = fleet(2).table();
    for _ in 0..10 {
        assert_eq!(decide(&policy, &table).await.0, 0);
    }
    let seen = || detail(&factory).generations.into_iter().find(|one| one.generation == shadow).unwrap();
    eventually("it is seen", || seen().failures.get("no_choice") == Some(&10)).await;
    assert_eq!(detail(&factory).shadow.unwrap().agreed, 0);
    let counted = stats(&factory).failures.iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!((stats(&factory).decisions, counted), (10, 0), "a shadow fails at nothing that counts");
}

#[tokio::test]
async fn operator_rolls_back_while_the_previous_generation_is_warm() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let table = fleet(2).table();
    push(&factory, PluginOptions::default(), guest_choosing(1)).await;
    assert_eq!(detail(&factory).state, PluginStatus::Probation);
    let roles: Vec<_> = detail(&factory).generations.iter().map(|generation| generation.role).collect();
    assert_eq!(roles, [GenerationRole::Previous, GenerationRole::Stable]);
    assert_eq!(decide(&policy, &table).await.0, 1);
    factory.roll_back_wasm_plugin("test").await.unwrap();
    assert_eq!(decide(&policy, &table).await.0, 0);
    let nothing = factory.roll_back_wasm_plugin("test").await.unwrap_err();
    assert!(matches!(nothing, OperationError::NothingToRollBack { .. }), "{nothing}");
    let nothing = factory.promote_wasm_plugin("test").await.unwrap_err();
    assert!(matches!(nothing, OperationError::NothingToPromote { .. }), "{nothing}");
}

#[tokio::test]
async fn paused_plugin_leaves_the_decision_to_its_fallback() {
    let (factory, policy) = loaded(guest_choosing(1)).await;
    let table = fleet(2).table();
    factory.pause_wasm_plugin("test", true).unwrap();
    assert!(matches!(decide(&policy, &table).await.1, Chooser::Fallback { .. }));
    assert_eq!(detail(&factory).state, PluginStatus::Paused);
    factory.pause_wasm_plugin("test", false).unwrap();
    assert!(matches!(decide(&policy, &table).await.1, Chooser::Plugin { .. }));
}

#[tokio::test]
async fn new_limits_are_a_new_generation_of_the_same_module() {
    let (factory, policy) = loaded(guest_choosing(1)).await;
    let before = factory.plugin_infos()[0].clone();
    let mut limits = config("test");
    limits.max_memory_bytes = 512 * 1024;
    let info = factory.reconfigure_wasm_plugin(limits, without_probation(), unwatched()).await.unwrap();
    assert_eq!(info.digest, before.digest);
    assert!(info.generation > before.generation);
    assert_eq!(decide(&policy, &fleet(2).table()).await.1, Chooser::Plugin { generation: info.generation });
    let mut too_small = config("test");
    too_small.max_memory_bytes = 65_536;
    let refused = factory.reconfigure_wasm_plugin(too_small, without_probation(), unwatched()).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("2 pages of memory"), "{message}");
    assert_eq!(factory.plugin_infos()[0].generation, info.generation);
}

/// Takes turns over three workers by a counter in its own memory, and hands the counter over.
fn serial_turns() -> Vec<u8> {
    let fields = format!(
        r#"{}
        (func (export "save_state") (result i64) {})
        (func (export "restore_state") (param $ptr i32) (param $len i32)
          (i64.store (i32.const 32) (i64.load (local.get $ptr))))"#,
        manifest_of(&[], Concurrency::Serial),
        answer(32, 8)
    );
    let body = format!(
        "(i32.store8 (i32.const 16) (i32.wrap_i64 (i64.rem_u (i64.load (i32.const 32)) (i64.const 3))))
         (i64.store (i32.const 32) (i64.add (i64.load (i32.const 32)) (i64.const 1))) {}",
        answer(16, 1)
    );
    guest_with(&fields, &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn turns_stay_exact_across_swaps_and_rollbacks_under_traffic() {
    let factory = PolicyFactory::new();
    push(&factory, patient(), serial_turns()).await;
    let policy = factory.create_by_name("test").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let made: Arc<[AtomicU64; 8]> = Arc::default();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (policy, done, made) = (policy.clone(), Arc::clone(&done), Arc::clone(&made));
        let table = fleet(3).table();
        callers.spawn(async move {
            let mut turns = [0_u64; 3];
            while !done.load(Ordering::Relaxed) {
                let (index, chooser) = decide(&policy, &table).await;
                assert!(matches!(chooser, Chooser::Plugin { .. }), "{chooser:?}");
                turns[index] += 1;
                made[caller].fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            turns
        });
    }
    // A decision is asked again a few times at most: on a busy machine more swaps than that fit into
    // the wait of one caller, who would be right to give up.
    let all_decide = async |callers: &mut tokio::task::JoinSet<[u64; 3]>| {
        let before = made.each_ref().map(|made| made.load(Ordering::Relaxed));
        let all = || made.iter().zip(before).all(|(made, before)| made.load(Ordering::Relaxed) > before + 1);
        while !all() {
            // None ends by itself before all have decided.
            assert!(callers.try_join_next().map(Result::unwrap).is_none());
            tokio::task::yield_now().await;
        }
    };
    for round in 0..12 {
        push(&factory, patient(), serial_turns()).await;
        all_decide(&mut callers).await;
        if round % 4 == 3 {
            factory.roll_back_wasm_plugin("test").await.unwrap();
            all_decide(&mut callers).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    let mut turns = [0; 3];
    while let Some(counted) = callers.join_next().await {
        for (total, own) in turns.iter_mut().zip(counted.unwrap()) {
            *total += own;
        }
    }
    let all: u64 = turns.iter().sum();
    assert!(all > 100, "{turns:?}");
    // Turn after turn, none skipped and none doubled, whoever made it.
    let expected = [0, 1, 2].map(|worker| (all + 2 - worker) / 3);
    assert_eq!(turns, expected, "of {all}");
    let counted = stats(&factory);
    assert_eq!((counted.decisions, counted.fallbacks), (all, 0), "{:?}", counted.failures);
}

#[tokio::test]
async fn drained_generations_are_counted() {
    let (factory, policy) = loaded(commanded("", &on(1, "(unreachable)"))).await;
    decide(&policy, &fleet(2).table()).await;
    for _ in 0..3 {
        push(&factory, without_probation(), guest_choosing(1)).await;
    }
    eventually("three drained", || stats(&factory).drains.drained == 3).await;
    assert_eq!(stats(&factory).drains.overdue, 0);
}
