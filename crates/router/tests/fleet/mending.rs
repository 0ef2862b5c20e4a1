//! Nonsense in NATS: it is told of, harms nothing that is served, and commands mend it.

use serde_json::Value;
use sgl_testkit::client::{call, get};

use crate::member::{Two, done, fleet, publish, push, within};

/// Puts a value there as anybody may who reaches the server.
async fn put(two: &Two, key: &str, value: &str) {
    publish(&two.url, &format!("$KV.sgl-desired.f.{key}"), [value]).await;
}

async fn all_follow(two: &Two) {
    for router in &two.routers {
        within("it follows", async || router.fleet().await["holding"].is_null()).await;
    }
}

/// What routers say that they serve, as the command shows it.
async fn said(two: &Two) -> Vec<Value> {
    let shown = done(&two.url, &["status"]).await;
    let routers = shown["routers"].as_array().expect("routers");
    routers.iter().map(|router| router["plugins"][0]["serving"].clone()).collect()
}

#[tokio::test]
async fn epoch_that_cannot_be_understood_is_held_shown_and_replaced_by_adopt() {
    let Some(two) = Two::start().await else { return };
    put(&two, "epoch", "{not json").await;
    for router in &two.routers {
        assert!(router.holds().await.contains("cannot be understood"));
    }
    let (code, out, _) = fleet(&two.url, &["status"]).await;
    assert!(code == 0 && out.contains("epoch not understood") && out.contains("fleet adopt"), "{out}");
    let (code, _, error) = fleet(&two.url, &["push", &two.modules[0], "--name", "p"]).await;
    assert!(code == 1 && error.contains("fleet adopt"), "{code} {error}");
    done(&two.url, &["adopt"]).await;
    all_follow(&two).await;
    assert_eq!(push(&two.url, &two.modules[0]).await, 1);
    two.serve(1).await;
    // With something that is followed: it is served on, and shown.
    put(&two, "epoch", "[]").await;
    for router in &two.routers {
        assert!(router.holds().await.contains("cannot be understood"));
        assert_eq!(router.own().await["serving"], 1);
    }
    done(&two.url, &["adopt"]).await;
    all_follow(&two).await;
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
}

#[tokio::test]
async fn plugin_that_cannot_be_understood_is_served_on_and_mended_by_a_push_or_a_router() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    put(&two, "plugin.p", "{\"v\":1,").await;
    let is_malformed = async |is_so: bool| {
        for router in &two.routers {
            within("it is seen", async || router.fleet().await["malformed"]["p"].is_string() == is_so).await;
        }
    };
    is_malformed(true).await;
    within("it is said what is served", async || said(&two).await == [1, 1]).await;
    let (code, _, error) = fleet(&two.url, &["rollback", "p"]).await;
    assert!(code == 1 && error.contains("a push puts another in its place"), "{code} {error}");
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
    is_malformed(false).await;
    let digest = two.routers[0].digest().await;
    put(&two, "plugin.p", "{\"v\":1,").await;
    is_malformed(true).await;
    // What is in NATS is right: that mends nothing, and loses nothing.
    let (code, _, error) = fleet(&two.url, &["adopt"]).await;
    assert!(code == 0 && error.contains("it stays as it is"), "{code} {error}");
    all_follow(&two).await;
    done(&two.url, &["adopt", "--from", "a"]).await;
    is_malformed(false).await;
    two.serve(2).await;
    assert_eq!(two.routers[1].digest().await, digest);
    assert_eq!(push(&two.url, &two.modules[0]).await, 3);
    two.serve(3).await;
}

#[tokio::test]
async fn key_that_no_command_could_name_is_shown_and_hinders_nothing() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let value = r#"{"v":1,"target":{"generation":1,"module":"store","digest":"d"},"stable":null,"plan":{},"step":1,"state":"done"}"#;
    put(&two, "plugin.a.b.c", value).await;
    for router in &two.routers {
        within("it is seen", async || router.fleet().await["malformed"]["a.b.c"].is_string()).await;
        assert_eq!(call(router.process.admin, get("/v1/plugins/a.b.c")).await.status, 404);
    }
    done(&two.url, &["adopt", "--from", "a"]).await;
    within("it is written down", async || {
        two.routers[0].fleet().await["holding"].is_null() && two.routers[1].fleet().await["holding"].is_null()
    })
    .await;
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
}
