//! What is pushed comes to all, in steps, and goes where it fails.

use sgl_testkit::client::call;
use sgl_testkit::small_guests::{guest, guest_with};
use sgl_testkit::text::answer;
use sgl_testkit::upstream::Upstream;

use crate::member::{Two, done, fleet, module, push, within};
use crate::traffic::Traffic;

#[tokio::test]
async fn pushed_module_is_served_by_all_and_rolled_back_by_all() {
    let Some(two) = Two::start().await else { return };
    assert_eq!(push(&two.url, &two.modules[0]).await, 1);
    two.serve(1).await;
    let first = two.routers[0].digest().await.unwrap();
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
    let second = two.routers[1].digest().await.unwrap();
    assert_ne!(first, second);
    let shown = done(&two.url, &["status"]).await;
    assert_eq!((&shown["plugins"][0]["state"], &shown["plugins"][0]["serving"]), (&"done".into(), &2.into()));
    let back = done(&two.url, &["rollback", "p", "--reason", "it is slow"]).await;
    assert_eq!(back["state"], "rolled_back");
    assert!(back["reason"].as_str().unwrap().contains("it is slow"));
    two.serve(1).await;
    for router in &two.routers {
        assert_eq!(router.digest().await.as_ref(), Some(&first));
    }
    // What comes next has the next number, and goes back to what settled.
    assert_eq!(push(&two.url, &two.modules[1]).await, 3);
    two.serve(3).await;
}

#[tokio::test]
async fn step_has_one_router_at_least_and_the_rest_keeps_it_warm_until_its_gate_is_met() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let steps = ["push", &two.modules[1], "--name", "p", "--steps", "1,100", "--soak-secs", "86400"];
    done(&two.url, &steps).await;
    let counted = async |what: &str, number: u64| {
        let mut count = 0;
        for router in &two.routers {
            count += u32::from(router.own().await[what] == number);
        }
        count
    };
    within("one serves it, one keeps it warm", async || {
        counted("serving", 2).await == 1 && counted("prepared", 2).await == 1
    })
    .await;
    assert_eq!(counted("serving", 1).await, 1);
    let paused = done(&two.url, &["pause", "p"]).await;
    assert_eq!((&paused["state"], &paused["step"]), (&"paused".into(), &1.into()));
    let (code, _, error) = fleet(&two.url, &["pause", "p"]).await;
    assert!(code == 1 && error.contains("it is paused"), "{code} {error}");
    done(&two.url, &["rollback", "p"]).await;
    within("both serve what was before, and nothing is warm", async || {
        counted("serving", 1).await == 2 && counted("prepared", 2).await == 0
    })
    .await;
}

#[tokio::test]
async fn module_that_no_router_can_make_ready_is_rolled_back_and_says_why() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let first = two.routers[0].digest().await;
    // It cannot decide about anything.
    let bad = module(two.dir.path(), "bad.wasm", &guest("unreachable"));
    let (code, _, error) =
        fleet(&two.url, &["push", &bad, "--name", "p", "--steps", "100", "--soak-secs", "0", "--wait"]).await;
    assert!(code == 1 && error.contains("was rolled back: router "), "{code} {error}");
    two.serve(1).await;
    assert_eq!(two.routers[0].digest().await, first);
}

#[tokio::test]
async fn placing_plugin_becomes_the_policy_everywhere_and_the_one_before_comes_back() {
    let Some(two) = Two::start().await else { return };
    let policy = async |router: usize| {
        let answer = call(two.routers[router].process.admin, sgl_testkit::client::get("/v1/policy")).await;
        answer.json()["name"].as_str().unwrap().to_owned()
    };
    let before = policy(0).await;
    let placed =
        ["push", &two.modules[0], "--name", "p", "--steps", "100", "--soak-secs", "0", "--place", "--wait"];
    done(&two.url, &placed).await;
    within("both place with it", async || policy(0).await == "p" && policy(1).await == "p").await;
    assert_ne!(before, "p");
    done(&two.url, &["rollback", "p"]).await;
    within("both place as before", async || policy(0).await == before && policy(1).await == before).await;
}

/// A guest that chooses the first worker, and fails at requests that have `~~` in them.
fn fails_at_tildes() -> Vec<u8> {
    let body = format!(
        r#"(local $at i32)
           (local.set $at (local.get $ptr))
           (block $seen_all (loop $next
             (br_if $seen_all (i32.ge_u (i32.add (local.get $at) (i32.const 1))
                                        (i32.add (local.get $ptr) (local.get $len))))
             (if (i32.eq (i32.load16_u (local.get $at)) (i32.const 0x7e7e)) (then unreachable))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br $next)))
           {}"#,
        answer(16, 1)
    );
    guest_with(r#"(data (i32.const 16) "\00")"#, &body)
}

#[tokio::test]
async fn breaker_that_opens_under_traffic_in_a_step_rolls_the_fleet_back_and_no_request_fails() {
    let worker = Upstream::saying(r#"{"choices":[]}"#).await;
    let Some(two) = Two::start_with(&["--worker-urls", &worker.url()]).await else { return };
    let placed =
        ["push", &two.modules[0], "--name", "p", "--steps", "100", "--soak-secs", "0", "--place", "--wait"];
    done(&two.url, &placed).await;
    two.serve(1).await;
    let first = two.routers[0].digest().await;
    for router in &two.routers {
        router.process.ready().await;
    }
    // It is fine with what comes until its step has begun.
    let calm = Traffic::begin(&two.routers, "x");
    let bad = module(two.dir.path(), "tildes.wasm", &fails_at_tildes());
    // Without a probation, whose end would be the same: it is the breaker that is looked at.
    let steps = ["push", &bad, "--name", "p", "--steps", "1,100", "--soak-secs", "86400", "--place"];
    let without_probation = ["--options", r#"{"probation":{"secs":0}}"#];
    done(&two.url, &[&steps[..], &without_probation].concat()).await;
    within("its first step has begun", async || {
        let serving =
            [two.routers[0].own().await["serving"] == 2, two.routers[1].own().await["serving"] == 2];
        serving[0] != serving[1]
    })
    .await;
    calm.goes_on(50).await;
    let shown = done(&two.url, &["status"]).await;
    assert_eq!(shown["plugins"][0]["state"], "rolling", "{shown}");
    calm.end().await;
    let traffic = Traffic::begin(&two.routers, "~~");
    two.serve(1).await;
    within("it is rolled back", async || {
        done(&two.url, &["status"]).await["plugins"][0]["state"] == "rolled_back"
    })
    .await;
    let shown = done(&two.url, &["status"]).await;
    let reason = shown["plugins"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("router ") && reason.contains("breaker"), "{reason}");
    for router in &two.routers {
        assert_eq!(router.digest().await, first);
        let rollbacks = r#"sgl_router_fleet_rollbacks_total{fleet="f",plugin="p"}"#;
        router.shows(rollbacks, |count| count == 1.0).await;
    }
    traffic.goes_on(50).await;
    traffic.end().await;
}
