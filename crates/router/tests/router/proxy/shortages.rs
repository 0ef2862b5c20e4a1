//! Reasons for which a request finds no worker though workers are well. Policies that the router brings
//! give none of them, so the ones here are an embedder's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sgl_router::DataPlane;
use sgl_testkit::client::{call, chat, get};
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    DecideError, Decision, LoadBalancingPolicy, NativePolicy, RequestNeeds, SelectWorkerInfo,
};

use crate::proxy::custom_policy::{self, CustomPolicy};

/// A data plane with one worker and such a policy.
async fn start(
    worker: &Upstream,
    decide: impl Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError>
    + Send
    + Sync
    + 'static,
) -> (Arc<DataPlane>, SocketAddr) {
    custom_policy::start(&CustomPolicy::new(RequestNeeds::default(), decide), &[worker]).await
}

/// A request is refused for this reason, in the words of the documents; the router is ready all the same.
async fn refuses(address: SocketAddr, reason: &str, words: &str) {
    let refused = call(address, chat("hi")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let error = &refused.json()["error"];
    assert_eq!(
        (error["code"].as_str(), error["reason"].as_str()),
        (Some("no_worker_available"), Some(reason))
    );
    assert!(error["message"].as_str().expect("words").ends_with(words), "{error}");
    assert_eq!(refused.headers["retry-after"], "1");
    let ready = call(address, get("/readiness")).await;
    assert_eq!((ready.status, &ready.json()["ready"]), (StatusCode::OK, &true.into()));
    assert!(ready.json().get("reason").is_none());
}

#[tokio::test]
async fn policy_that_chooses_nobody_of_those_who_are_well_is_named() {
    let worker = Upstream::saying("{}").await;
    let (_, address) = start(&worker, |_, _, _| Err(DecideError::NoWorker)).await;
    refuses(address, "policy_chose_none", "the routing policy chose none of them").await;
    assert!(worker.seen().is_empty());
}

#[tokio::test]
async fn policy_that_goes_on_choosing_a_worker_that_was_tried_is_named() {
    let worker = Upstream::failing(502).await;
    let stubborn = |inner: &NativePolicy, table: &WorkerTable, info: &SelectWorkerInfo<'_>| {
        inner.decide(table, &SelectWorkerInfo { excluded: None, ..*info })
    };
    let (_, address) = start(&worker, stubborn).await;
    refuses(address, "policy_insists", "insists on a worker that was tried").await;
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn request_that_finds_everybody_full_again_is_told_so() {
    let worker = Upstream::saying("{}").await;
    let targets: Arc<std::sync::OnceLock<Arc<DataPlane>>> = Arc::default();
    let told = Arc::clone(&targets);
    // Between any two decisions another request hears that the worker is full.
    let crowded = move |inner: &NativePolicy, table: &WorkerTable, info: &SelectWorkerInfo<'_>| {
        let proxy = told.get().expect("it was started");
        for target in proxy.backends().snapshot().targets() {
            target.fullness().tell(Some(Duration::from_secs(30)));
            target.refresh();
        }
        inner.decide(table, info)
    };
    let (proxy, address) = start(&worker, crowded).await;
    targets.set(proxy).expect("once");
    refuses(address, "all_full", "every worker that qualifies and is well is full").await;
    assert!(worker.seen().is_empty());
}
