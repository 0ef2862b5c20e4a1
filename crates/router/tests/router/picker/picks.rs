//! Whom the picker picks, and what it says if it picks nobody.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::Value;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{call, get, post};
use sgl_testkit::modules::fixture;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::config::WasmPolicyConfig;
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::{Load, PolicyFactory};

use crate::picker::rig::{Rig, asking, in_mode, picking, with_filter, with_header};

/// A filter that says who may be picked.
fn hint(addresses: &[SocketAddr]) -> String {
    let list: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "          - name: envoy.filters.http.set_metadata\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config\n              metadata: [{{ metadata_namespace: envoy.lb.subset_hint, value: {{ x-gateway-destination-endpoint-subset: [{}] }} }}]\n",
        list.join(", ")
    )
}

#[tokio::test]
async fn only_those_are_picked_whom_the_subset_names() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await];
    let all = [&workers[0], &workers[1], &workers[2]];
    let filter = hint(&[workers[2].address, "127.0.0.1:1".parse().unwrap()]);
    let Some(rig) = Rig::start(&all, |config| with_filter(config, &filter)).await else { return };
    for _ in 0..12 {
        assert_eq!(call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await.text(), "c");
    }
    let filter = hint(&["127.0.0.1:1".parse().unwrap()]);
    let Some(rig) = Rig::start(&all, |config| with_filter(config, &filter)).await else { return };
    let answer = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.json()["error"]["reason"], "none_in_subset");
}

#[tokio::test]
async fn client_cannot_say_where_its_request_goes_and_the_worker_is_not_told() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let all = [&workers[0], &workers[1]];
    for mode in ["NONE", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"] {
        let Some(rig) = Rig::start(&all, |config| in_mode(config, mode)).await else { return };
        for _ in 0..4 {
            let forged = with_header(&asking("m", 200), "x-gateway-destination-endpoint", "127.0.0.1:1");
            assert_eq!(call(rig.envoy.clients, forged).await.status, StatusCode::OK);
        }
    }
    let seen: Vec<_> = workers.iter().flat_map(Upstream::seen).collect();
    assert_eq!(seen.len(), 12);
    assert!(seen.iter().all(|seen| !seen.headers.contains_key("x-gateway-destination-endpoint")));
    assert!(workers.iter().all(|worker| worker.seen().len() == 6), "round robin is followed");
}

#[tokio::test]
async fn nobody_is_a_503_and_a_request_that_is_shed_a_429_with_its_time() {
    let worker = Upstream::saying("fine").await;
    let factory = PolicyFactory::new();
    let module = WasmPolicyConfig::new("mine", "mine.wasm");
    factory.load(Load::bytes(module, fixture("hold_back"))).await.expect("it loads");
    for mode in ["NONE", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"] {
        let mut config = picking(vec![worker.entry()], 0);
        "mine".clone_into(&mut config.policy);
        let Some(rig) = Rig::with(config, &factory, &[&worker], |config| in_mode(config, mode)).await else {
            return;
        };
        let answer = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "fine"));
        let shed = call(rig.envoy.clients, with_header(&asking("m", 200), "x-shed", "1500")).await;
        assert_eq!(
            (shed.status, shed.code().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "request_shed"),
            "{mode}"
        );
        assert_eq!(shed.headers["retry-after"], "2", "{mode}");
        rig.router.proxy().backends().remove(&worker.url());
        let nobody = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
        assert_eq!(nobody.status, StatusCode::SERVICE_UNAVAILABLE, "{mode}");
        assert_eq!(nobody.json()["error"]["reason"], "none_configured", "{mode}");
        let refused = rig.metric(r#"sgl_router_refused_requests_total{code="request_shed"}"#).await;
        assert_eq!(refused.as_deref(), Some("1"), "{mode}");
    }
    assert_eq!(worker.seen().len(), 3);
}

#[tokio::test]
async fn pairs_are_not_picked_and_a_regular_worker_beside_them_is() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await];
    let roles = [WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Regular];
    let entries: Vec<WorkerEntry> =
        workers.iter().zip(roles).map(|(worker, role)| WorkerEntry { role, ..worker.entry() }).collect();
    let all = [&workers[0], &workers[1], &workers[2]];
    let rig = Rig::with(picking(entries, 2), &PolicyFactory::new(), &all, str::to_owned).await;
    let Some(rig) = rig else { return };
    for _ in 0..3 {
        assert_eq!(call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await.text(), "c");
    }
    rig.router.proxy().backends().remove(&workers[2].url());
    let nobody = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
    assert_eq!(nobody.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(nobody.json()["error"]["reason"], "none_qualifies");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_so_and_those_within_it_are_served() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let mut config = picking(vec![worker.entry()], 0);
    config.proxy.queue.max_concurrent = Some(1);
    let Some(rig) = Rig::with(config, &PolicyFactory::new(), &[&worker], str::to_owned).await else { return };
    let first = tokio::spawn(call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))));
    worker.arrived(1).await;
    let second = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
    assert_eq!((second.status, second.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "queue_full"));
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    until(async || {
        call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn decisions_are_recorded_as_those_of_the_router() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let mut config = picking(workers.iter().map(|worker| worker.entry()).collect(), 0);
    let records = sgl_router::config::RecordSettings {
        sample: 1.0,
        file: None,
        keep: 10,
        header: true,
        inputs: sgl_api::RecordedInputs::Declared,
    };
    config.records = Some(records);
    let all = [&workers[0], &workers[1]];
    let Some(rig) = Rig::with(config, &PolicyFactory::new(), &all, str::to_owned).await else { return };
    let answer = call(rig.envoy.clients, with_header(&asking("m", 200), "x-sgl-explain", "1")).await;
    let id = answer.headers["x-sgl-request-id"].to_str().unwrap().to_owned();
    let told: Value = serde_json::from_slice(answer.headers["x-sgl-decision"].as_bytes()).unwrap();
    assert_eq!(told["policy"], "round_robin");
    let mut record = Value::Null;
    until(async || {
        let found = call(rig.router.addresses().admin, get(&format!("/v1/decisions/{id}"))).await;
        record = serde_json::from_slice(&found.body).unwrap_or_default();
        found.status == StatusCode::OK
    })
    .await;
    let served = workers.iter().find(|worker| !worker.seen().is_empty()).unwrap();
    assert_eq!(record["outcome"]["worker"], served.url(), "{record}");
    assert_eq!((&record["outcome"]["status"], &record["outcome"]["end"]), (&200.into(), &"complete".into()));
    assert_eq!(record["decisions"][0]["candidates"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn data_parallel_ranks_are_picked_and_told_in_their_header() {
    let worker = Upstream::saying("fine").await;
    let entry = WorkerEntry { dp_size: Some(2), ..worker.entry() };
    let mut config = picking(vec![entry], 0);
    config.proxy.dp_aware = true;
    let Some(rig) = Rig::with(config, &PolicyFactory::new(), &[&worker], str::to_owned).await else { return };
    for _ in 0..4 {
        let answer = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let ranks = worker.seen().into_iter().map(|seen| seen.headers["x-data-parallel-rank"].clone());
    let mut ranks: Vec<_> = ranks.map(|rank| rank.to_str().unwrap().to_owned()).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, ["0", "0", "1", "1"]);
    assert_eq!(rig.metric("sgl_router_picker_moved_requests_total").await.as_deref(), Some("0"));
}
