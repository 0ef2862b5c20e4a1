//! Requests that a plugin has wait: it takes a worker with fewer than one request in flight, and the
//! header `x-key` says in which order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sgl_router::config::CheckedConfig;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{TestClient, Whole, call, get, piece, post};
use sgl_testkit::modules::fixture;
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::{Script, Upstream, stream, whole};
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::config::{FailurePolicy, PluginOptions, WasmPolicyConfig};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::{FailureCause, Load, PolicyFactory};
use tokio::task::JoinHandle;

/// A router whose policy holds requests back.
struct Stage {
    router: RunningRouter,
    factory: PolicyFactory,
}

impl Stage {
    async fn start(workers: &[&Upstream]) -> Self {
        Self::with(workers, PluginOptions::default(), 60_000, |_| {}).await
    }

    async fn with(
        workers: &[&Upstream],
        options: PluginOptions,
        deadline_ms: u64,
        change: impl Fn(&mut CheckedConfig),
    ) -> Self {
        let factory = PolicyFactory::new();
        load(&factory, fixture("hold_back"), options, deadline_ms).await;
        let mut config = router::config(workers.iter().map(|worker| worker.entry()).collect());
        "mine".clone_into(&mut config.policy);
        change(&mut config);
        let metrics = Arc::new(Metrics::new());
        let router = RunningRouter::start(config, &factory, metrics).await.expect("a router");
        Self { router, factory }
    }

    fn data(&self) -> SocketAddr {
        self.router.addresses().data
    }

    async fn queue(&self) -> Value {
        call(self.router.addresses().admin, get("/v1/queue")).await.json()
    }

    async fn waiting(&self, count: usize) {
        until(async || self.queue().await["waiting"] == count).await;
    }

    async fn shows(&self, line: &str) {
        let page = router::metrics(&self.router).await;
        assert!(page.text().lines().any(|found| found == line), "{line} is missing in\n{}", page.text());
    }

    fn failures(&self, cause: FailureCause) -> u64 {
        let stats = self.factory.plugin_stats().remove(0);
        stats.failures.into_iter().filter(|(one, _)| *one == cause).map(|(_, count)| count).sum()
    }
}

async fn load(factory: &PolicyFactory, wasm: Vec<u8>, options: PluginOptions, deadline_ms: u64) {
    load_with(factory, wasm, options, deadline_ms, &[]).await;
}

async fn load_with(
    factory: &PolicyFactory,
    wasm: Vec<u8>,
    options: PluginOptions,
    deadline_ms: u64,
    more: &[(&str, Value)],
) {
    let settings = [("most", json!(1)), ("deadline_ms", json!(deadline_ms))];
    let config: HashMap<_, _> =
        settings.iter().chain(more).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let config = WasmPolicyConfig {
        // A slow machine must fail no test.
        max_execution_time_ms: 30_000,
        config,
        ..WasmPolicyConfig::new("mine", "from memory")
    };
    // The load of its self-test is 0.
    let options = PluginOptions { max_wait_ms: 60_000, ..options };
    factory.load(Load::bytes(config, wasm).with(options)).await.expect("it loads");
}

/// A request whose body is its number, and with this key.
fn keyed(id: usize, key: f64) -> Request<Full<Bytes>> {
    let mut request = post("/generate", &id.to_string());
    request.headers_mut().insert("x-key", HeaderValue::from_str(&key.to_string()).expect("a number"));
    request
}

fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> JoinHandle<Whole> {
    tokio::spawn(call(address, request))
}

async fn is_served(request: JoinHandle<Whole>) {
    assert_eq!(soon(request).await.unwrap().status, StatusCode::OK);
}

fn bodies(worker: &Upstream) -> Vec<String> {
    let text = |body: Bytes| String::from_utf8(body.to_vec()).expect("a number");
    worker.seen().into_iter().map(|seen| text(seen.body)).collect()
}

#[tokio::test]
async fn held_requests_are_served_in_the_order_of_their_keys_and_ties_by_arrival() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let stage = Stage::start(&[&worker]).await;
    let mut sent = vec![send(stage.data(), keyed(0, 0.0))];
    worker.arrived(1).await;
    for (id, key) in [(1, 5.0), (2, -1.5), (3, 5.0), (4, 2.0)] {
        sent.push(send(stage.data(), keyed(id, key)));
        stage.waiting(id).await;
    }
    let listed = stage.queue().await;
    let first = &listed["requests"][1];
    assert_eq!(
        (&first["waits_for"], &first["plugin"], &first["key"]),
        (&json!("plugin"), &json!("mine"), &json!(-1.5))
    );
    assert!(first["generation"].is_u64() && first["left_ms"].as_u64().unwrap() > 30_000, "{first}");
    gate.add_permits(5);
    for request in sent {
        is_served(request).await;
    }
    assert_eq!(bodies(&worker), ["0", "2", "4", "1", "3"]);
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="went_on"} 4"#).await;
    stage.shows(r#"sgl_router_queue_waiting{for="plugin"} 0.0"#).await;
    let stats = stage.factory.plugin_stats().remove(0);
    assert!(stats.waits >= 4 && stats.fallbacks == 0, "{stats:?}");
}

/// A worker whose first answer is this one; all later ones are whole.
async fn first_streams(response: Response<Script>) -> Upstream {
    let slot = Mutex::new(Some(response));
    Upstream::start(move |_| {
        let response = slot.lock().take().unwrap_or_else(|| whole(200, "{}"));
        async { response }
    })
    .await
}

/// A router that asks nobody again because time goes by: only what tells of a change does that.
async fn told_of_changes_only(worker: &Upstream, until_first_token: bool) -> Stage {
    let stage = Stage::with(&[worker], PluginOptions::default(), 60_000, |config| {
        config.proxy.queue.stir_interval = Duration::from_secs(3600);
    })
    .await;
    if until_first_token {
        let more = [("until_first_token", json!(1))];
        load_with(&stage.factory, fixture("hold_back"), PluginOptions::default(), 60_000, &more).await;
    }
    stage
}

#[tokio::test]
async fn first_token_lets_those_who_wait_be_asked() {
    let (response, pieces, _) = stream();
    let worker = first_streams(response).await;
    let stage = told_of_changes_only(&worker, true).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let held = send(stage.data(), keyed(1, 0.0));
    stage.waiting(1).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    is_served(held).await;
    assert_eq!(bodies(&worker), ["0", "1"]);
    assert!(!first.is_finished(), "the first goes on");
    drop(pieces);
    is_served(first).await;
}

#[tokio::test]
async fn end_of_a_request_lets_those_who_wait_be_asked() {
    let (response, pieces, _) = stream();
    let worker = first_streams(response).await;
    let stage = told_of_changes_only(&worker, false).await;
    let mut client = TestClient::connect(stage.data()).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut first = client.send(keyed(0, 0.0)).await.unwrap().into_body();
    // Its first token came, which is one change less that could be told of later.
    assert!(piece(&mut first).await.is_some());
    let held = send(stage.data(), keyed(1, 0.0));
    stage.waiting(1).await;
    drop(pieces);
    is_served(held).await;
    assert_eq!(bodies(&worker), ["0", "1"]);
}

#[tokio::test]
async fn worker_that_comes_lets_those_who_wait_be_asked() {
    let (response, pieces, _) = stream();
    let worker = first_streams(response).await;
    let other = Upstream::saying("{}").await;
    let stage = told_of_changes_only(&worker, false).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let held = send(stage.data(), keyed(1, 0.0));
    stage.waiting(1).await;
    stage.router.proxy().backends().add(&other.entry()).unwrap();
    is_served(held).await;
    assert_eq!(bodies(&other), ["1"]);
    drop(pieces);
    is_served(first).await;
}

#[tokio::test]
async fn pairs_wait_in_the_order_of_their_keys_until_both_halves_have_room() {
    let (prefills, prefill_gate) = Upstream::behind_a_gate().await;
    let idle = Upstream::saying("{}").await;
    let (decodes, decode_gate) = Upstream::behind_a_gate().await;
    // Requests that wait for a pair stay requests for a pair.
    let regular = Upstream::saying("{}").await;
    let roles = [WorkerRole::Prefill, WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Regular];
    let stage =
        Stage::with(&[&prefills, &idle, &decodes, &regular], PluginOptions::default(), 60_000, |config| {
            config.workers.iter_mut().zip(roles).for_each(|(worker, role)| worker.role = role);
        })
        .await;
    let pair = |id: usize, key: f64| {
        let mut request = keyed(id, key);
        *request.body_mut() = Full::new(Bytes::from(json!({"text": id.to_string()}).to_string()));
        request
    };
    let mut sent = vec![send(stage.data(), pair(0, 0.0))];
    decodes.arrived(1).await;
    for (id, key) in [(1, 5.0), (2, -1.5)] {
        sent.push(send(stage.data(), pair(id, key)));
        stage.waiting(id).await;
    }
    // A prefill worker was free for them, which counts nothing meanwhile.
    let loads: usize =
        [&prefills, &idle].map(|worker| router::in_flight(&stage.router, &worker.url())).iter().sum();
    assert!(loads <= 1, "{loads}");
    prefill_gate.add_permits(3);
    for _ in 0..3 {
        decode_gate.add_permits(1);
    }
    for request in sent {
        is_served(request).await;
    }
    let order: Vec<Value> = decodes.seen().iter().map(|seen| seen.json()["text"].clone()).collect();
    assert_eq!(order, ["0", "2", "1"]);
    let stats = stage.factory.plugin_stats().remove(0);
    assert!(stats.waits >= 2 && stats.fallbacks == 0, "{stats:?}");
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="went_on"} 2"#).await;
    assert!(regular.seen().is_empty());
    for worker in [&prefills, &idle, &decodes] {
        until(async || router::in_flight(&stage.router, &worker.url()) == 0).await;
    }
}

#[tokio::test]
async fn pair_that_may_wait_no_longer_is_the_failure_policys() {
    let (prefills, prefill_gate) = Upstream::behind_a_gate().await;
    let (decodes, decode_gate) = Upstream::behind_a_gate().await;
    let stage = Stage::with(&[&prefills, &decodes], PluginOptions::default(), 50, |config| {
        let roles = [WorkerRole::Prefill, WorkerRole::Decode];
        config.workers.iter_mut().zip(roles).for_each(|(worker, role)| worker.role = role);
    })
    .await;
    let body = json!({"text": "x"}).to_string();
    let first = send(stage.data(), post("/generate", &body));
    decodes.arrived(1).await;
    let late = send(stage.data(), post("/generate", &body));
    decodes.arrived(2).await;
    prefill_gate.add_permits(2);
    decode_gate.add_permits(2);
    is_served(first).await;
    is_served(late).await;
    // Of each of its two selections.
    assert!(stage.failures(FailureCause::WaitOver) >= 1);
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="timed_out"} 1"#).await;
}

#[tokio::test]
async fn at_its_deadline_the_failure_policy_decides() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let stage = Stage::with(&[&worker], PluginOptions::default(), 50, |_| {}).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let late = send(stage.data(), keyed(1, 0.0));
    worker.arrived(2).await;
    gate.add_permits(2);
    is_served(first).await;
    is_served(late).await;
    assert_eq!(stage.failures(FailureCause::WaitOver), 1);
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="timed_out"} 1"#).await;
}

#[tokio::test]
async fn at_the_routers_deadline_a_failure_policy_that_rejects_is_a_503() {
    let (worker, _gate) = Upstream::behind_a_gate().await;
    let options = PluginOptions { on_failure: FailurePolicy::Reject, ..PluginOptions::default() };
    let brief = |config: &mut CheckedConfig| config.proxy.queue.timeout = Duration::from_millis(50);
    let stage = Stage::with(&[&worker], options, 60_000, brief).await;
    let _first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let late = soon(call(stage.data(), keyed(1, 0.0))).await;
    assert_eq!((late.status, late.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "policy_failed"));
    assert_eq!(stage.queue().await["waiting"], 0);
}

#[tokio::test]
async fn request_that_finds_no_place_is_asked_once_more_and_then_the_failure_policy_decides() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let stage =
        Stage::with(&[&worker], PluginOptions::default(), 60_000, |config| config.proxy.queue.size = 0).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let second = send(stage.data(), keyed(1, 0.0));
    worker.arrived(2).await;
    gate.add_permits(2);
    is_served(first).await;
    is_served(second).await;
    assert_eq!(stage.failures(FailureCause::WaitOver), 1);
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="refused"} 1"#).await;
}

#[tokio::test]
async fn client_that_hangs_up_is_taken_out_at_once() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let stage = Stage::start(&[&worker]).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let gone = send(stage.data(), keyed(1, 1.0));
    stage.waiting(1).await;
    let next = send(stage.data(), keyed(2, 2.0));
    stage.waiting(2).await;
    gone.abort();
    stage.waiting(1).await;
    gate.add_permits(2);
    is_served(first).await;
    is_served(next).await;
    assert_eq!(bodies(&worker), ["0", "2"]);
    stage.shows(r#"sgl_router_queue_waits_total{for="plugin",end="client_gone"} 1"#).await;
}

#[tokio::test]
async fn swap_keeps_the_queue_and_the_new_generation_is_asked_next() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let stage = Stage::start(&[&worker]).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let held = send(stage.data(), keyed(1, 0.0));
    stage.waiting(1).await;
    let config = WasmPolicyConfig::new("mine", "from memory");
    stage.factory.load(Load::bytes(config, guest_choosing(0))).await.expect("it loads");
    // The new one takes a busy worker too.
    worker.arrived(2).await;
    gate.add_permits(2);
    is_served(first).await;
    is_served(held).await;
    assert_eq!(stage.failures(FailureCause::WaitOver), 0);
}

#[tokio::test]
async fn held_request_goes_to_a_worker_that_is_there_when_its_own_drains() {
    let (busy, gate) = Upstream::behind_a_gate().await;
    let (idle, other_gate) = Upstream::behind_a_gate().await;
    let stage = Stage::start(&[&busy, &idle]).await;
    // One after the other: two at once may both find the same worker idle.
    let one = send(stage.data(), keyed(0, 0.0));
    until(async || busy.seen().len() + idle.seen().len() == 1).await;
    let sent = [one, send(stage.data(), keyed(1, 0.0))];
    busy.arrived(1).await;
    idle.arrived(1).await;
    let held = send(stage.data(), keyed(2, 0.0));
    stage.waiting(1).await;
    stage.router.proxy().backends().drain(&busy.url()).unwrap();
    gate.add_permits(1);
    other_gate.add_permits(2);
    for request in sent {
        is_served(request).await;
    }
    is_served(held).await;
    assert_eq!((busy.seen().len(), idle.seen().len()), (1, 2));
}

#[tokio::test]
async fn router_that_stops_does_not_wait_for_those_who_are_held() {
    let worker = Upstream::start(|_| std::future::pending()).await;
    let brief = |config: &mut CheckedConfig| config.proxy.shutdown = Duration::from_millis(100);
    let stage = Stage::with(&[&worker], PluginOptions::default(), 60_000, brief).await;
    let _first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let held = send(stage.data(), keyed(1, 0.0));
    stage.waiting(1).await;
    soon(stage.router.shut_down()).await;
    let told = soon(held).await.unwrap();
    assert_eq!((told.status, told.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "router_stopping"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousand_held_requests_are_all_served_one_at_a_time() {
    let worker = Upstream::saying("{}").await;
    let (busy, gate) = Upstream::behind_a_gate().await;
    let stage =
        Stage::with(&[&busy], PluginOptions::default(), 3_600_000, |config| config.proxy.queue.size = 1000)
            .await;
    let first = send(stage.data(), keyed(0, 0.0));
    busy.arrived(1).await;
    let sent: Vec<_> = (1..=1000).map(|id| send(stage.data(), keyed(id, -(id as f64)))).collect();
    stage.waiting(1000).await;
    for one in sent.iter().step_by(10) {
        one.abort();
    }
    stage.waiting(900).await;
    stage.router.proxy().backends().add(&worker.entry()).unwrap();
    let mut served = 0;
    for request in sent {
        served += usize::from(soon(request).await.is_ok_and(|answer| answer.status == StatusCode::OK));
    }
    assert_eq!((served, worker.seen().len()), (900, 900));
    gate.add_permits(1);
    is_served(first).await;
    assert_eq!(stage.queue().await["waiting"], 0);
}

#[tokio::test]
async fn request_that_is_shed_is_a_429_with_its_own_time_and_no_failure() {
    let worker = Upstream::saying("{}").await;
    let stage = Stage::start(&[&worker]).await;
    let mut request = keyed(0, 0.0);
    request.headers_mut().insert("x-shed", HeaderValue::from_static("1500"));
    let refused = call(stage.data(), request).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "request_shed"));
    assert_eq!(refused.headers["retry-after"], "2");
    assert!(worker.seen().is_empty());
    let stats = stage.factory.plugin_stats().remove(0);
    assert!(stats.sheds == 1 && stats.failures.iter().all(|(_, count)| *count == 0), "{stats:?}");
}

#[tokio::test]
async fn records_tell_of_waiting_and_shedding() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let records = |config: &mut CheckedConfig| {
        config.records = Some(sgl_router::config::RecordSettings {
            sample: 1.0,
            file: None,
            keep: 10,
            header: true,
            inputs: sgl_api::RecordedInputs::Declared,
        });
    };
    let stage = Stage::with(&[&worker], PluginOptions::default(), 60_000, records).await;
    let first = send(stage.data(), keyed(0, 0.0));
    worker.arrived(1).await;
    let asking = |id, key| {
        let mut request = keyed(id, key);
        request.headers_mut().insert("x-sgl-explain", HeaderValue::from_static("1"));
        request
    };
    let told = |answer: &Whole| -> Value {
        serde_json::from_str(answer.headers["x-sgl-decision"].to_str().unwrap()).unwrap()
    };
    let held = send(stage.data(), asking(1, 3.5));
    stage.waiting(1).await;
    gate.add_permits(2);
    is_served(first).await;
    let held = soon(held).await.unwrap();
    assert_eq!(held.status, StatusCode::OK);
    let held = told(&held);
    assert!(held["chooser"] == "plugin" && held["wait"]["key"] == 3.5, "{held}");
    let mut request = asking(2, 0.0);
    request.headers_mut().insert("x-shed", HeaderValue::from_static("1500"));
    let shed = call(stage.data(), request).await;
    assert!(shed.status == StatusCode::TOO_MANY_REQUESTS && shed.headers.contains_key("x-sgl-request-id"));
    let shed = told(&shed);
    assert!(shed["chooser"] == "nobody" && shed["shed_retry_after_ms"] == 1500, "{shed}");
    let admin = stage.router.addresses().admin;
    until(async || {
        call(admin, get("/v1/decisions")).await.json()["decisions"].as_array().unwrap().len() == 3
    })
    .await;
    let list = call(admin, get("/v1/decisions")).await.json();
    assert_eq!(list["decisions"][0]["decisions"][0]["shed_retry_after_ms"], 1500);
    let held = &list["decisions"][1];
    assert_eq!(held["decisions"].as_array().unwrap().len(), 2, "of those in a row only the last: {held}");
    let wait = &held["decisions"][0]["wait"];
    assert!(
        wait["key"] == 3.5 && wait["at_most_ms"] == 60_000 && wait["times"].as_u64().unwrap() >= 1,
        "{held}"
    );
    assert!(held["outcome"]["waited_ms"].as_f64().unwrap() > 0.0, "{held}");
}
