//! What routers serve once the fleet serves nothing under a name any more, and what places then.

use serde_json::Value;
use sgl_testkit::client::{call, get};
use sgl_testkit::nats_server::NatsServer;
use sgl_testkit::small_guests::guest_choosing;

use crate::member::{Member, Two, done, fleet, module, push, within};

async fn policy(router: &Member) -> String {
    call(router.process.admin, get("/v1/policy")).await.json()["name"].as_str().expect("a name").to_owned()
}

/// Waits until both place with it, and have said so to the fleet.
async fn both_place_with(two: &Two, name: &str) {
    within(name, async || {
        let shown = done(&two.url, &["status"]).await;
        let said = shown["routers"]
            .as_array()
            .expect("routers")
            .iter()
            .filter(|router| router["policy"] == name)
            .count();
        said == 2 && policy(&two.routers[0]).await == name && policy(&two.routers[1]).await == name
    })
    .await;
}

/// Pushes for all at once, and waits.
async fn placed(two: &Two, module: &str, name: &str) -> Value {
    let all = ["--steps", "100", "--soak-secs", "0", "--place", "--wait"];
    done(&two.url, &[&["push", module, "--name", name][..], &all].concat()).await
}

#[tokio::test]
async fn rollback_of_the_first_generation_brings_back_what_the_configuration_named() {
    let Some(server) = NatsServer::start() else { return };
    // Warm yet, and to be read again.
    for options in ["{}", r#"{"probation":{"secs":0}}"#] {
        let (url, dir) = (server.url(), tempfile::tempdir().unwrap());
        let own = module(dir.path(), "own.wasm", &guest_choosing(0));
        let pushed = module(dir.path(), "pushed.wasm", &guest_choosing(1));
        let flags = ["--policy", "p", "--plugin", &format!("p={own}")];
        let router = Member::start_with(&url, "a", dir.path(), &flags).await;
        let before = router.digest().await.unwrap();
        let push = ["push", &pushed, "--name", "p", "--steps", "100", "--options", options];
        let generation = done(&url, &push).await["generation"].as_u64().unwrap();
        router.serves(generation).await;
        assert_ne!(router.digest().await.unwrap(), before);
        done(&url, &["rollback", "p"]).await;
        within("it serves its own", async || router.digest().await.as_ref() == Some(&before)).await;
        router.serves(0).await;
        assert_eq!(policy(&router).await, "p");
        let shown = done(&url, &["status"]).await;
        assert!(shown["routers"][0]["plugins"][0]["failed"].is_null(), "{shown}");
        done(&url, &["remove", "p"]).await;
    }
}

#[tokio::test]
async fn what_cannot_come_back_is_told_of_and_not_tried_all_the_time() {
    let Some(server) = NatsServer::start() else { return };
    let (url, dir) = (server.url(), tempfile::tempdir().unwrap());
    let own = module(dir.path(), "own.wasm", &guest_choosing(0));
    let pushed = module(dir.path(), "pushed.wasm", &guest_choosing(1));
    let flags = ["--policy", "p", "--plugin", &format!("p={own}")];
    let router = Member::start_with(&url, "a", dir.path(), &flags).await;
    let options = r#"{"probation":{"secs":0}}"#;
    done(&url, &["push", &pushed, "--name", "p", "--steps", "100", "--options", options]).await;
    router.serves(1).await;
    std::fs::remove_file(&own).unwrap();
    done(&url, &["rollback", "p"]).await;
    within("it is told of", async || {
        router.own().await["failed"].as_str().is_some_and(|why| why.contains("cannot be had again"))
    })
    .await;
    assert_eq!(router.own().await["serving"], 1, "it does serve that");
    let (_, page, _) = fleet(&url, &["status"]).await;
    assert!(page.contains("cannot be had again") && page.contains("own.wasm"), "{page}");
}

#[tokio::test]
async fn policy_that_placed_before_places_again_after_rollbacks() {
    let Some(two) = Two::start().await else { return };
    let own = policy(&two.routers[0]).await;
    placed(&two, &two.modules[0], "p").await;
    both_place_with(&two, "p").await;
    placed(&two, &two.modules[1], "q").await;
    both_place_with(&two, "q").await;
    let (_, page, _) = fleet(&two.url, &["status"]).await;
    assert!(page.contains("PLACES") && page.contains("places with q"), "{page}");
    done(&two.url, &["rollback", "q"]).await;
    both_place_with(&two, "p").await;
    done(&two.url, &["rollback", "p"]).await;
    both_place_with(&two, &own).await;
    for router in &two.routers {
        within("nothing is left of it", async || {
            call(router.process.admin, get("/v1/plugins/q")).await.status == 404
        })
        .await;
    }
}

#[tokio::test]
async fn push_that_places_after_one_that_did_not_goes_back_to_the_policy_before() {
    let Some(two) = Two::start().await else { return };
    let own = policy(&two.routers[0]).await;
    let (code, _, error) = fleet(
        &two.url,
        &["push", &two.modules[0], "--name", "p", "--steps", "100", "--soak-secs", "0", "--wait"],
    )
    .await;
    assert!(code == 0 && error.contains("p: no router places requests with it"), "{code} {error}");
    let (_, page, _) = fleet(&two.url, &["status"]).await;
    assert!(page.contains("no router places requests with it"), "{page}");
    placed(&two, &two.modules[0], "p").await;
    both_place_with(&two, "p").await;
    // Over another generation that places, too.
    placed(&two, &two.modules[1], "p").await;
    let back = done(&two.url, &["rollback", "p"]).await;
    assert_eq!(back["before"], 2);
    two.serve(2).await;
    both_place_with(&two, "p").await;
    assert_eq!(push(&two.url, &two.modules[1]).await, 4);
    two.serve(4).await;
    both_place_with(&two, "p").await;
    done(&two.url, &["remove", "p", "--reason", "not needed"]).await;
    both_place_with(&two, &own).await;
}

#[tokio::test]
async fn removed_plugin_is_gone_everywhere_also_where_a_router_was_away_and_its_number_is_not_taken_again() {
    let Some(two) = Two::start().await else { return };
    placed(&two, &two.modules[0], "p").await;
    both_place_with(&two, "p").await;
    let [a, b] = two.routers;
    b.process.kill();
    let removed = done(&two.url, &["remove", "p"]).await;
    assert_eq!(removed["state"], "removed");
    let routers = [a, Member::start(&two.url, "b", two.dir.path()).await];
    for router in &routers {
        within("it is gone", async || {
            call(router.process.admin, get("/v1/plugins/p")).await.status == 404
                && policy(router).await != "p"
        })
        .await;
        assert!(router.fleet().await["holding"].is_null());
    }
    let (code, page, _) = fleet(&two.url, &["status"]).await;
    assert!(code == 0 && page.contains("nothing is to be served: `sgl-router fleet push"), "{page}");
    let (code, _, error) = fleet(&two.url, &["remove", "p"]).await;
    assert!(code == 1 && error.contains("removed already"), "{code} {error}");
    assert_eq!(fleet(&two.url, &["remove", "q"]).await.0, 4);
    for router in &routers {
        within("both are heard of", async || router.fleet().await["routers"].as_array().unwrap().len() == 2)
            .await;
    }
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    for router in &routers {
        router.serves(2).await;
    }
}
