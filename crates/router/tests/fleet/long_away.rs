//! NATS is away for so long that all it kept of who lives, or all it kept, has expired.

use serde_json::json;
use sgl_testkit::nats_server::NatsServer;
use sgl_testkit::upstream::Upstream;

use crate::member::{Two, done, nats_api, push, within};
use crate::traffic::Traffic;

/// For how long values are kept in the test of an emptied bucket. Long enough for a push to be followed.
const KEPT_SECS: u64 = 20;

#[tokio::test]
async fn presence_that_expired_while_nats_was_away_is_said_again_and_nothing_else_changed() {
    let worker = Upstream::saying(r#"{"choices":[]}"#).await;
    let Some(mut two) = Two::start_with(&["--worker-urls", &worker.url()]).await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let first = two.routers[0].digest().await;
    for router in &two.routers {
        router.process.ready().await;
    }
    let traffic = Traffic::begin(&two.routers, "x");
    two.server.kill();
    // Each forgets the other after 10 seconds, and shows that it is cut off.
    two.hear_of(1).await;
    for router in &two.routers {
        let shown = router.fleet().await;
        assert_eq!((&shown["connected"], &shown["holding"]), (&false.into(), &json!(null)), "{shown}");
        assert_eq!(router.digest().await, first);
    }
    traffic.goes_on(100).await;
    // Who lives was in its memory.
    two.server.start_again();
    two.hear_of(2).await;
    for router in &two.routers {
        within("it is connected", async || router.fleet().await["connected"] == true).await;
    }
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
    // Frozen instead: it keeps the connections, and says nothing.
    two.server.freeze();
    two.hear_of(1).await;
    traffic.goes_on(100).await;
    two.server.thaw();
    two.hear_of(2).await;
    assert_eq!(push(&two.url, &two.modules[0]).await, 3);
    two.serve(3).await;
    traffic.end().await;
}

#[tokio::test]
async fn state_that_expired_is_held_against_until_a_router_gives_it_back() {
    let Some(server) = NatsServer::start() else { return };
    let bucket = json!({
        "name": "KV_sgl-desired", "subjects": ["$KV.sgl-desired.>"], "max_msgs_per_subject": 16,
        "max_age": KEPT_SECS * 1_000_000_000, "storage": "file", "discard": "new", "num_replicas": 1,
        "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
        "duplicate_window": 1_000_000_000_u64,
    });
    nats_api(&server.url(), "STREAM.CREATE.KV_sgl-desired", &bucket).await;
    let two = Two::at(server, &[]).await;
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let digest = two.routers[0].digest().await;
    two.server.freeze();
    for router in &two.routers {
        within("it is noticed", async || router.fleet().await["connected"] == false).await;
    }
    two.server.thaw();
    // Nothing is left of what was to be served, some time later at the latest.
    for router in &two.routers {
        assert!(router.holds().await.contains("the server lost"), "{}", router.holds().await);
        assert_eq!(router.digest().await, digest, "it serves on");
    }
    // What is kept from now on stays.
    let mut forever = bucket.clone();
    forever["max_age"] = json!(0);
    nats_api(&two.url, "STREAM.UPDATE.KV_sgl-desired", &forever).await;
    done(&two.url, &["adopt", "--from", "b"]).await;
    for router in &two.routers {
        within("it follows again", async || router.fleet().await["holding"].is_null()).await;
        router.serves(1).await;
        assert_eq!(router.digest().await, digest);
    }
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
}
