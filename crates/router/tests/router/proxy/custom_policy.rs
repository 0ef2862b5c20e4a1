//! A policy of an embedder's own, which decides over the router's table as a test says.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use sgl_router::{DataPlane, DataServer, Metrics};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::core::{Worker, WorkerTable};
use sglang_router_rs::policies::{
    DecideError, Decision, LoadBalancingPolicy, NativePolicy, OutcomeNeeds, PairDecision, PolicyHandle,
    RequestCompletion, RequestFirstToken, RequestNeeds, SelectWorkerInfo, WantedNames,
};
use sglang_router_rs::types::BoxFuture;
use tokio_util::sync::CancellationToken;

/// What it does when it is asked; round robin does the rest.
type Decide = Box<
    dyn Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> + Send + Sync,
>;

/// The policy.
pub(crate) struct CustomPolicy {
    inner: NativePolicy,
    needs: RequestNeeds,
    names: Option<Arc<WantedNames>>,
    decide: Decide,
    /// What it was told of finished requests.
    pub(crate) completions: Mutex<Vec<RequestCompletion>>,
    /// What it was told of answers that have begun.
    pub(crate) first_tokens: Mutex<Vec<RequestFirstToken>>,
}

impl CustomPolicy {
    /// Needs this of a request, and decides so.
    pub(crate) fn new(
        needs: RequestNeeds,
        decide: impl Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::made(needs, None, Box::new(decide)))
    }

    /// The same, and wants these by name.
    pub(crate) fn naming(
        needs: RequestNeeds,
        names: WantedNames,
        decide: impl Fn(&NativePolicy, &WorkerTable, &SelectWorkerInfo<'_>) -> Result<Decision, DecideError>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::made(needs, Some(Arc::new(names)), Box::new(decide)))
    }

    fn made(needs: RequestNeeds, names: Option<Arc<WantedNames>>, decide: Decide) -> Self {
        let inner = NativePolicy::by_name("round_robin").expect("a built-in policy");
        Self { inner, needs, names, decide, completions: Mutex::default(), first_tokens: Mutex::default() }
    }
}

impl std::fmt::Debug for CustomPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomPolicy")
    }
}

impl LoadBalancingPolicy for CustomPolicy {
    fn name(&self) -> &str {
        "custom"
    }

    fn needs(&self) -> RequestNeeds {
        self.needs
    }

    fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        self.names.clone()
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

    fn outcome_needs(&self) -> OutcomeNeeds {
        OutcomeNeeds { first_tokens: true, completions: true, usage: true, lessons: self.needs.prompt_tokens }
    }

    fn on_first_token(&self, first: &RequestFirstToken) {
        self.first_tokens.lock().push(first.clone());
    }

    fn on_request_complete(&self, completion: &RequestCompletion) {
        self.completions.lock().push(completion.clone());
    }
}

/// A data plane with these workers and that policy.
pub(crate) async fn start(policy: &Arc<CustomPolicy>, workers: &[&Upstream]) -> (Arc<DataPlane>, SocketAddr) {
    let policy = PolicyHandle::Custom(Arc::clone(policy) as Arc<dyn LoadBalancingPolicy>);
    let proxy = DataPlane::new(router::config(Vec::new()).proxy, policy, &Metrics::new(), None);
    for worker in workers {
        proxy.backends().add(&worker.entry()).expect("a worker");
    }
    let server = DataServer::bind("127.0.0.1:0".parse().expect("an address"), Arc::clone(&proxy))
        .await
        .expect("a port");
    let address = server.address().expect("an address");
    tokio::spawn(server.serve(CancellationToken::new()));
    (proxy, address)
}
