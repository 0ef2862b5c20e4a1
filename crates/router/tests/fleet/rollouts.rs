//! What is pushed comes to all, in steps, and goes where it fails.

use sgl_testkit::client::call;
use sgl_testkit::small_guests::guest;

use crate::member::{Two, done, fleet, module, push, within};

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
    let (code, _, error) = fleet(&two.url, &["rollback", "p"]).await;
    assert!(code == 1 && error.contains("nothing was served before"), "{error}");
    assert_ne!(before, "p");
}
