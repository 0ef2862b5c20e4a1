//! The server is away, frozen, emptied or set back; routers are away.

use sgl_testkit::nats_server::NatsServer;

use crate::member::{Member, Two, done, fleet, push, text, within};

#[tokio::test]
async fn router_starts_with_the_server_away_and_follows_once_it_is_there() {
    let Some(mut server) = NatsServer::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    server.kill();
    let router = Member::start(&server.url(), "a", dir.path()).await;
    assert_eq!(router.fleet().await["connected"], false);
    server.start_again();
    within("it is connected", async || router.fleet().await["connected"] == true).await;
    let wasm = sgl_testkit::small_guests::guest_choosing(0);
    let file = crate::member::module(dir.path(), "m.wasm", &wasm);
    push(&server.url(), &file).await;
    router.serves(1).await;
}

#[tokio::test]
async fn router_that_was_away_for_two_generations_serves_the_newest_and_with_the_server_away_its_last() {
    let Some(mut two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let first = two.routers[0].digest().await;
    let [a, b] = two.routers;
    a.process.kill();
    // Until it is silent for long enough, it is waited for.
    push(&two.url, &two.modules[1]).await;
    let third = push(&two.url, &two.modules[1]).await;
    two.server.kill();
    let a = Member::start(&two.url, "a", two.dir.path()).await;
    assert_eq!(a.digest().await, first, "its last good state, without the server");
    two.server.start_again();
    a.serves(third).await;
    b.serves(third).await;
    assert_eq!(a.digest().await, b.digest().await);
    // It follows on from there after a restart, and loads nothing anew for it.
    a.process.kill();
    let a = Member::start(&two.url, "a", two.dir.path()).await;
    a.serves(third).await;
    let shown = sgl_testkit::client::call(a.process.admin, sgl_testkit::client::get("/v1/plugins/p")).await;
    assert_eq!(shown.json()["swaps"], 0, "{}", shown.text());
}

#[tokio::test]
async fn emptied_server_is_not_followed_until_an_operator_says_what_is_right() {
    let Some(mut two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    push(&two.url, &two.modules[1]).await;
    two.serve(2).await;
    let digest = two.routers[0].digest().await;
    two.server.kill();
    two.server.wipe();
    two.server.start_again();
    for router in &two.routers {
        assert!(router.holds().await.contains("lost its data"));
        assert_eq!(router.digest().await, digest);
    }
    within("operators see what is served", async || {
        let (_, page, _) = fleet(&two.url, &["status"]).await;
        page.contains("fleet adopt --from ROUTER") && page.matches("  p       2  ").count() == 2
    })
    .await;
    let (code, _, error) = fleet(&two.url, &["adopt"]).await;
    assert!(code == 1 && error.contains("--from ROUTER"), "{code} {error}");
    // A push into the emptied server is not followed either: its numbers begin anew.
    let begun = ["push", &two.modules[0], "--name", "p", "--steps", "100", "--soak-secs", "0"];
    assert_eq!(done(&two.url, &begun).await["generation"], 1);
    within("another epoch is seen", async || {
        two.routers[1].fleet().await["holding"]
            .as_str()
            .is_some_and(|why| why.contains("is another one than"))
    })
    .await;
    assert_eq!(two.routers[1].digest().await, digest);
    let adopted = done(&two.url, &["adopt", "--from", "a"]).await;
    assert_eq!(adopted["from"], "a");
    for router in &two.routers {
        within("it follows again", async || router.fleet().await["holding"].is_null()).await;
        router.serves(2).await;
        assert_eq!(router.digest().await, digest);
    }
    assert_eq!(push(&two.url, &two.modules[0]).await, 3);
    two.serve(3).await;
}

#[tokio::test]
async fn server_that_was_set_back_is_not_followed_and_what_is_there_may_be_adopted() {
    let Some(mut two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let first = two.routers[0].digest().await;
    two.server.kill();
    let copy = two.server.copy_of_data();
    two.server.start_again();
    push(&two.url, &two.modules[1]).await;
    two.serve(2).await;
    let second = two.routers[0].digest().await;
    two.server.kill();
    two.server.put_back(&copy);
    two.server.start_again();
    for router in &two.routers {
        let why = router.holds().await;
        assert!(why.contains("went back from generation 2 to 1"), "{why}");
        assert_eq!(router.digest().await, second);
    }
    done(&two.url, &["adopt"]).await;
    two.serve(1).await;
    assert_eq!(two.routers[1].digest().await, first);
}

#[tokio::test]
async fn server_killed_or_frozen_in_a_rollout_delays_it_and_harms_nothing() {
    let Some(mut two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let steps = ["push", &two.modules[1], "--name", "p", "--steps", "1,100", "--soak-secs", "3"];
    done(&two.url, &steps).await;
    two.server.kill();
    for router in &two.routers {
        within("it is noticed", async || router.fleet().await["connected"] == false).await;
    }
    two.server.start_again();
    two.serve(2).await;
    two.server.freeze();
    for router in &two.routers {
        within("it is noticed", async || router.fleet().await["connected"] == false).await;
        assert_eq!(router.own().await["serving"], 2);
    }
    two.server.thaw();
    assert_eq!(push(&two.url, &two.modules[0]).await, 3);
    two.serve(3).await;
    let kept = std::fs::read_to_string(text(&two.dir.path().join("a/fleet"))).unwrap();
    assert!(kept.contains("\"generation\": 3"), "{kept}");
}
