//! Requests to the operations API, through its own routes, without sockets.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::{Router, middleware};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use sgl_router::config::{RouterConfig, Surroundings, check};
use sgl_router::internals::{
    Guard, check_guard, decision_routes, openapi_routes, plugin_routes, worker_routes,
};
use sgl_router::{Backends, PluginManager, Recorder};
use sglang_router_rs::config::FailurePolicy;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{DecideError, PluginStatus, PolicyHandle, WasmPolicyConfig};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::fleet::Requests;
use crate::host::Host;
use crate::{fleet, guests, host};
use sgl_api::Problem;

/// Decisions after every request, of each plugin.
const DECISIONS: usize = 40;

/// Workers that requests find.
const WORKERS: [&str; 2] = ["http://10.0.0.1:30000", "http://10.0.0.2:30000"];

/// A router without its data plane and its listeners.
struct AdminStage {
    host: Host,
    routes: Router,
    backends: Arc<Backends>,
    table: Arc<WorkerTable>,
    plugin_dir: PathBuf,
    _dir: TempDir,
}

static STAGE: LazyLock<AdminStage> = LazyLock::new(AdminStage::new);

impl AdminStage {
    fn new() -> Self {
        let host = Host::new();
        let dir = tempfile::tempdir().unwrap();
        let plugin_dir = dir.path().join("plugins");
        std::fs::create_dir(&plugin_dir).unwrap();
        std::fs::write(plugin_dir.join("a.wasm"), guests::plain()).unwrap();
        std::fs::write(plugin_dir.join("bad.wasm"), b"\0asm").unwrap();
        // Valid, and not to be had: it lies outside.
        std::fs::write(dir.path().join("outside.wasm"), guests::plain()).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside.wasm"), plugin_dir.join("link.wasm")).unwrap();

        let mut config = RouterConfig::default();
        // Workers are only listed here: nobody asks for their health.
        config.health.interval_secs = 0;
        config.records.sample = 1.0;
        let config =
            check(config, Surroundings { built_in_policies: &["round_robin"], ..Surroundings::default() });
        let config = config.expect("it has no faults");
        let backends = host.run(async { Arc::new(Backends::new(config.proxy)) });
        let recorder = Recorder::new(config.records.expect("it is on")).unwrap();
        let manager = PluginManager::new(host.factory.clone(), Some(plugin_dir.clone()), "mine");
        let routes = worker_routes(Arc::clone(&backends), None)
            .merge(plugin_routes(Arc::new(manager), Arc::clone(&backends)))
            .merge(decision_routes(Some(recorder)))
            .merge(openapi_routes())
            .layer(middleware::from_fn_with_state(Guard::for_token("token"), check_guard));
        Self { host, routes, backends, table: fleet::table(5), plugin_dir, _dir: dir }
    }

    /// Two workers, and the plugin `mine`.
    fn set_up(&self) -> PolicyHandle {
        for url in WORKERS {
            if self.backends.snapshot().targets().iter().all(|target| target.worker().spec().url != url) {
                let entry = serde_json::from_value(serde_json::json!({ "url": url })).unwrap();
                self.backends.add(&entry).expect("it is not there");
            }
        }
        if let Some(mine) = self.host.factory.create_by_name("mine") {
            return mine;
        }
        let config = WasmPolicyConfig { name: "mine".into(), ..host::config() };
        self.host.load(config, host::options(), guests::plain()).expect("it behaves")
    }

    /// Whatever is loaded now came from the plugin directory or in a body, and decides right.
    fn check_plugins(&self) {
        let requests = Requests::new();
        for info in self.host.factory.plugin_infos() {
            let path = &info.config.module_path;
            let file = self.plugin_dir.join("a.wasm");
            let is_allowed =
                [file.to_str().expect("text"), "(uploaded)", "fuzzed.wasm"].contains(&path.as_str());
            assert!(is_allowed, "{path} is not in the plugin directory");
            let policy = self.host.factory.create_by_name(&info.name).expect("it is listed");
            let may_reject = info.options.on_failure == FailurePolicy::Reject;
            for number in 0..DECISIONS {
                let request = requests.info(number);
                match policy.decide(&self.table, &request) {
                    Err(DecideError::Rejected { .. }) if may_reject => {}
                    outcome => fleet::check(&self.table, &request, &outcome),
                }
            }
        }
        fleet::nothing_in_flight(&self.table);
    }

    /// As it was before, whatever was done.
    fn clean_up(&self, generation: u64) {
        let targets: Vec<_> = self.backends.snapshot().targets().to_vec();
        for target in targets {
            let url = target.worker().spec().url.as_str();
            if !WORKERS.contains(&url) || target.worker().is_draining() {
                self.backends.remove(url).expect("it is there");
            }
        }
        let factory = &self.host.factory;
        let untouched = factory.plugin_infos();
        let untouched = matches!(&*untouched, [mine] if mine.name == "mine" && mine.generation == generation)
            && factory.plugin_detail("mine").is_some_and(|detail| detail.state == PluginStatus::Serving);
        if untouched {
            return;
        }
        for name in factory.list_wasm_plugins() {
            let policy = factory.create_by_name(&name).expect("it is listed");
            self.host.unload(&policy);
        }
        self.host.nothing_is_left(false);
    }
}

/// A request to the operations API: a line with method and path, lines of headers, an empty line,
/// the body.
pub fn admin_bodies(bytes: &[u8]) {
    let Some(request) = request(bytes) else { return };
    let stage = &*STAGE;
    let mine = stage.set_up();
    let PolicyHandle::Wasm(plugin) = &mine else { panic!("it is a plugin") };
    let generation = plugin.stats().generation;
    stage.host.run(async {
        let answer = stage.routes.clone().oneshot(request).await.expect("a service that does not fail");
        check_answer(answer).await;
    });
    stage.check_plugins();
    drop(mine);
    stage.clean_up(generation);
}

fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 2..]));
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request =
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, "Bearer token");
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// Never a fault of the server, and problems in their form.
async fn check_answer(answer: Response<Body>) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a body that does not fail").to_bytes();
    let text = String::from_utf8_lossy(&body);
    let status = head.status.as_u16();
    assert!(status < 500 || status == 507, "{status}: {text}");
    let kind = head.headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().expect("text"));
    match kind {
        "application/problem+json" => {
            let problem: Problem = serde_json::from_slice(&body).expect("a problem");
            assert_eq!(problem.status, status);
        }
        "application/json" => {
            serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
        }
        "application/x-ndjson" => {
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON");
            }
        }
        _ => {}
    }
}
