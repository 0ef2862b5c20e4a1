//! A module that comes from a registry, named in a file.

use bytes::Bytes;
use sgl_oci::Sha256Digest;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::{Upstream, stream, whole};
use sgl_testkit::waits::until;

use crate::rig::{Host, Rig};

/// The media type of manifests.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry that holds one module under each of two tags: it chooses the host of the tag's number.
async fn registry() -> Upstream {
    Upstream::start(|seen| async move {
        for tag in [0, 1] {
            let wasm = guest_choosing(tag);
            let layer = Sha256Digest::of(&wasm);
            if seen.uri.path() == format!("/v2/policies/manifests/{tag}") {
                let mut answer = whole(200, &manifest(layer, wasm.len()));
                answer.headers_mut().insert("content-type", MANIFEST.parse().expect("a header"));
                return answer;
            }
            if seen.uri.path() == format!("/v2/policies/blobs/{layer}") {
                let (answer, send, _) = stream();
                send.send(Bytes::from(wasm)).await.expect("a reader");
                return answer;
            }
        }
        whole(404, "{}")
    })
    .await
}

fn manifest(layer: Sha256Digest, bytes: usize) -> String {
    let config = Sha256Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.wasm.config.v0+json", "digest": "{config}",
            "size": 2}}, "layers": [{{"mediaType": "application/wasm", "digest": "{layer}", "size": {bytes}}}]}}"#
    )
}

#[tokio::test]
async fn reference_in_the_file_is_the_module_of_a_registry_and_another_one_replaces_it() {
    let registry = registry().await;
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    let reference = |tag: &str| format!("oci://{}/policies:{tag}\n", registry.address).into_bytes();
    let Some(rig) = Rig::start(&reference("1"), &hosts).await else { return };
    assert_eq!(rig.ask(&[]).await.status, 200);
    assert_eq!(workers[1].seen().len(), 1);
    rig.put_module(&reference("none"));
    until(async || rig.envoy.counted("sgl_policy_refused_modules_total").await == 1).await;
    assert_eq!(rig.ask(&[]).await.status, 200);
    assert_eq!(workers[1].seen().len(), 2);
    rig.put_module(&reference("0"));
    until(async || {
        assert_eq!(rig.ask(&[]).await.status, 200);
        !workers[0].seen().is_empty()
    })
    .await;
}
