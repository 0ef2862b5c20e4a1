//! Registries that are slow, endless, or send where they should not.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use sgl_testkit::small_guests::guest_choosing;
use tokio::net::TcpListener;

use crate::registries::false_registry::{FalseRegistry, holding, manifest_of, sending_to, with_status};
use crate::registries::{done, refused, text};

#[tokio::test]
async fn registry_that_says_nothing_is_given_up_after_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = refused(&["pull", &format!("oci://{address}/p:1"), "--registry-timeout-secs", "1"], 3).await;
    assert!(error.contains("registry_too_slow") && error.contains("within 1s"), "{error}");
}

#[tokio::test]
async fn registry_that_trickles_is_given_up_after_the_limit() {
    let registry = FalseRegistry::answering(|_, _, _| {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        with_status(200, Body::from_stream(trickle))
    })
    .await;
    let error = refused(&["pull", &registry.named("p:1"), "--registry-timeout-secs", "1"], 3).await;
    assert!(error.contains("registry_too_slow"), "{error}");
}

#[tokio::test]
async fn endless_manifest_and_announced_giant_are_not_read() {
    let endless = FalseRegistry::answering(|_, _, _| {
        let piece = Bytes::from(vec![b' '; 64 << 10]);
        let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        with_status(200, Body::from_stream(endless))
    })
    .await;
    let error = refused(&["pull", &endless.named("p:1")], 1).await;
    assert!(error.contains("registry_too_large") && error.contains("the limit is 4194304"), "{error}");
    let wasm = guest_choosing(0);
    let small = format!("\"size\": {}", wasm.len());
    let giant = FalseRegistry::answering(move |_, _, _| {
        with_status(200, manifest_of(&wasm).replace(&small, "\"size\": 33554433"))
    })
    .await;
    let error = refused(&["pull", &giant.named("p:1")], 1).await;
    assert!(error.contains("has 33554433 bytes") && error.contains("the limit is 33554432"), "{error}");
    assert_eq!(giant.paths(), ["GET /v2/p/manifests/1"], "the layer is not asked for");
}

#[tokio::test]
async fn list_and_other_artifacts_are_refused_with_what_they_are() {
    let list =
        FalseRegistry::answering(|_, _, _| with_status(200, r#"{"schemaVersion": 2, "manifests": []}"#))
            .await;
    let error = refused(&["pull", &list.named("p:1")], 1).await;
    assert!(error.contains("registry_no_module") && error.contains("a list of manifests"), "{error}");
    let image = FalseRegistry::answering(|_, _, _| {
        let kind = "application/vnd.wasm.content.layer.v1+wasm";
        with_status(200, manifest_of(b"x").replace(kind, "application/vnd.oci.image.layer.v1.tar+gzip"))
    })
    .await;
    let error = refused(&["pull", &image.named("p:1")], 1).await;
    assert!(error.contains("found 1 layers (application/vnd.oci.image.layer.v1.tar+gzip)"), "{error}");
    let page = FalseRegistry::answering(|_, _, _| with_status(200, "<html>")).await;
    let error = refused(&["pull", &page.named("p:1")], 1).await;
    assert!(error.contains("registry_answer_malformed"), "{error}");
}

#[tokio::test]
async fn registry_may_send_elsewhere_but_not_without_tls_and_not_for_ever() {
    let open = FalseRegistry::answering(|_, _, _| sending_to("http://192.0.2.1/p")).await;
    let error = refused(&["pull", &open.named("p:1")], 1).await;
    assert!(error.contains("registry_without_tls") && error.contains("http://192.0.2.1/p"), "{error}");
    let circle = FalseRegistry::answering(|_, _, _| sending_to("/again")).await;
    let error = refused(&["pull", &circle.named("p:1")], 1).await;
    assert!(error.contains("from place to place"), "{error}");
    assert_eq!(circle.paths().len(), 6);
}

#[tokio::test]
async fn fault_of_a_registry_that_passes_is_asked_again_and_another_is_not() {
    let wasm = guest_choosing(0);
    let served = wasm.clone();
    let flaky = FalseRegistry::answering(move |what, before, _| {
        if before < 2 { with_status(503, "not now") } else { holding(&served, what) }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let out = text(&dir.path().join("out.wasm"));
    done(&["pull", &flaky.named("p:1"), "--out", &out]).await;
    assert_eq!(std::fs::read(&out).unwrap(), wasm);
    let broken = FalseRegistry::answering(|_, _, _| with_status(503, "never")).await;
    let error = refused(&["pull", &broken.named("p:1")], 3).await;
    assert!(error.contains("answers 503") && broken.paths().len() == 3, "{error}");
    let denied = FalseRegistry::answering(|_, _, _| {
        with_status(400, r#"{"errors": [{"code": "X", "message": "y"}]}"#)
    })
    .await;
    let error = refused(&["pull", &denied.named("p:1")], 1).await;
    assert!(error.contains("answers 400") && error.contains("X y") && denied.paths().len() == 1, "{error}");
}
