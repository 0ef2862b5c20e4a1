//! What the router is and does, and what happened last.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::admin::extract::InQuery;
use crate::event_log::EVENTS;
use crate::manage::{PluginManager, PolicySwitch, plugin_metrics};
use crate::metrics::HistogramSnapshot;
use crate::proxy::DataPlane;
use sgl_api::{EventList, LatencyView, Problem, RequestCounts, RouterStatus, WorkerCounts};
use sglang_router_rs::core::Worker;

/// Lines that are listed by default.
const DEFAULT_LIMIT: usize = 50;

/// What is looked at.
#[derive(Clone, Debug)]
struct Overview {
    proxy: Arc<DataPlane>,
    manager: Arc<PluginManager>,
    switch: Arc<PolicySwitch>,
    asks_token: AsksToken,
    since: Instant,
}

/// Whether the operators' listener asks for a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsksToken(pub(crate) bool);

impl FromRef<Overview> for Instant {
    fn from_ref(overview: &Overview) -> Self {
        overview.since
    }
}

impl FromRef<Overview> for AsksToken {
    fn from_ref(overview: &Overview) -> Self {
        overview.asks_token
    }
}

impl FromRef<Overview> for Arc<DataPlane> {
    fn from_ref(overview: &Overview) -> Self {
        Self::clone(&overview.proxy)
    }
}

impl FromRef<Overview> for Arc<PolicySwitch> {
    fn from_ref(overview: &Overview) -> Self {
        Self::clone(&overview.switch)
    }
}

impl FromRef<Overview> for Arc<PluginManager> {
    fn from_ref(overview: &Overview) -> Self {
        Self::clone(&overview.manager)
    }
}

/// How many lines are wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventLimit {
    limit: Option<usize>,
}

/// The endpoints of a router that starts now.
pub(crate) fn routes(
    proxy: Arc<DataPlane>,
    manager: Arc<PluginManager>,
    switch: Arc<PolicySwitch>,
    asks_token: AsksToken,
) -> Router {
    Router::new().route("/v1/status", get(show)).route("/v1/events", get(events)).with_state(Overview {
        proxy,
        manager,
        switch,
        asks_token,
        since: Instant::now(),
    })
}

/// What the router is and does
#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, body = RouterStatus)))]
pub(crate) async fn show(
    State(proxy): State<Arc<DataPlane>>,
    State(manager): State<Arc<PluginManager>>,
    State(switch): State<Arc<PolicySwitch>>,
    State(AsksToken(asks_token)): State<AsksToken>,
    State(since): State<Instant>,
) -> Json<RouterStatus> {
    let in_use = proxy.policy();
    let policy = in_use.name();
    let choice = switch.view();
    let plugin = manager.factory().plugin_stats().into_iter().find(|plugin| plugin.name == policy);
    let measures = proxy.measures();
    Json(RouterStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        ready: !proxy.is_stopping(),
        unready: proxy.unreadiness(&proxy.backends().snapshot()).map(|(_, message)| message),
        asks_token,
        records_decisions: proxy.recorder().is_some(),
        policy: policy.to_owned(),
        policy_is_plugin: plugin.is_some(),
        policy_stand_in: in_use.stand_in(),
        configured_policy: choice.configured,
        policy_trial: choice.trial,
        workers: worker_counts(&proxy),
        requests: RequestCounts { waiting: proxy.queue().look(0).waiting, ..measures.together() },
        own_errors: measures.refused_by_code(),
        first_byte: view(&measures.first_bytes()),
        duration: view(&measures.durations()),
        decision: plugin.map(|plugin| view(&plugin_metrics::snapshot(&plugin.latency))),
    })
}

/// The newest lines of the router's log, from `info` on, whatever of it is written out
#[utoipa::path(get, path = "/v1/events", tag = "status",
    params(("limit" = Option<usize>, Query, description = "How many at most; default 50; 256 are kept")),
    responses(
    (status = 200, body = EventList),
    (status = 400, description = "Another query", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn events(InQuery(query): InQuery<EventLimit>) -> Json<EventList> {
    Json(EventList { events: EVENTS.newest(query.limit.unwrap_or(DEFAULT_LIMIT)) })
}

fn worker_counts(proxy: &DataPlane) -> WorkerCounts {
    let snapshot = proxy.backends().snapshot();
    let workers = || snapshot.targets().iter().map(|target| target.worker());
    WorkerCounts {
        all: workers().count(),
        healthy: workers().filter(|worker| worker.is_healthy()).count(),
        draining: workers().filter(|worker| worker.is_draining()).count(),
        full: snapshot.targets().iter().filter(|target| target.fullness().is_full()).count(),
        in_flight: workers().map(|worker| worker.load()).sum(),
    }
}

/// The last bound is infinite, which JSON has no number for.
fn view(snapshot: &HistogramSnapshot) -> LatencyView {
    let bounds = snapshot.buckets.iter().map(|(bound, _)| *bound);
    LatencyView {
        bounds_secs: bounds.filter(|bound| bound.is_finite()).collect(),
        counts: snapshot.buckets.iter().map(|(_, count)| *count).collect(),
        sum_secs: snapshot.sum,
    }
}
