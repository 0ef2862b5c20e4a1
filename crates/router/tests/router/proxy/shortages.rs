//! Reasons for which a request finds no worker though workers are well. Policies that the router brings
//! give none of them, so the ones here are an embedder's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sgl_router::metrics::Metrics;
use sgl_router::proxy::{DataServer, Proxy};
use sgl_testkit::client::{call, chat, get};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::core::{Worker, WorkerTable};
use sglang_router_rs::policies::native::NativePolicy;
use sglang_router_rs::policies::{
    DecideError, Decision, LoadBalancingPolicy, PairDecision, Policy, SelectWorkerInfo,
};
use sglang_router_rs::types::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// What a policy does when it is asked.
type Decide = Box<
    dyn Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> + Send + Sync,
>;

/// Decides over the router's table as a test says.
struct Scripted {
    inner: NativePolicy,
    decide: Decide,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl LoadBalancingPolicy for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize> {
        self.inner.select_worker(workers, info)
    }

    fn select_worker_async<'a>(
        &'a self,
        workers: &'a [Arc<dyn Worker>],
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        self.inner.select_worker_async(workers, info)
    }

    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        (self.decide)(&self.inner, table, info)
    }

    fn decide_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        Box::pin(async move { self.decide(table, info) })
    }

    fn select_worker_pair(
        &self,
        prefill: &[Arc<dyn Worker>],
        decode: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        self.inner.select_worker_pair(prefill, decode, info)
    }

    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        self.inner.decide_pair_async(table, info)
    }
}

/// A data plane with one worker and such a policy.
async fn start(
    worker: &Upstream,
    decide: impl Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError>
    + Send
    + Sync
    + 'static,
) -> (Arc<Proxy>, SocketAddr) {
    let inner = NativePolicy::by_name("round_robin").expect("a built-in policy");
    let policy = Policy::Custom(Arc::new(Scripted { inner, decide: Box::new(decide) }));
    let proxy = Proxy::new(router::config(Vec::new()).proxy, policy, &Metrics::new(), None);
    proxy.backends().add(&worker.entry()).expect("a worker");
    let server = DataServer::bind("127.0.0.1:0".parse().expect("an address"), Arc::clone(&proxy))
        .await
        .expect("a port");
    let address = server.address().expect("an address");
    tokio::spawn(server.serve(CancellationToken::new()));
    (proxy, address)
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
    let targets: Arc<std::sync::OnceLock<Arc<Proxy>>> = Arc::default();
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
