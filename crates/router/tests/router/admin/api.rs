//! A router with a plugin, and the operations API.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use sgl_router::config::CheckedConfig;
use sgl_router::internals::register_plugin_metrics;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{Whole, call, chat, get, with_method};
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::config::PluginOptions;
use sglang_router_rs::policies::{Load, PolicyFactory};

use sgl_testkit::plugins;

/// Two workers that say their names, and a router whose policy `mine` chooses the first.
pub(crate) struct Setup {
    pub(crate) router: RunningRouter,
    _workers: [Upstream; 2],
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut CheckedConfig)) -> Self {
        let workers = [Upstream::saying("first").await, Upstream::saying("second").await];
        let factory = PolicyFactory::new();
        let config = plugins::config("mine");
        let options = PluginOptions::default();
        factory.load(Load::bytes(config, guest_choosing(0)).with(options)).await.expect("it loads");
        let metrics = Arc::new(Metrics::new());
        register_plugin_metrics(&factory, &metrics);
        let mut config = router::config(workers.iter().map(|worker| worker.entry()).collect());
        config.policy = "mine".to_owned();
        change(&mut config);
        let router = Box::pin(RunningRouter::start(config, &factory, metrics)).await.expect("a router");
        Self { router, _workers: workers }
    }

    pub(crate) async fn admin(&self, request: Request<Full<Bytes>>) -> Whole {
        call(self.router.addresses().admin, request).await
    }

    /// PUT of a module; `query` without `?`.
    pub(crate) async fn put(&self, name: &str, query: &str, wasm: Vec<u8>) -> Whole {
        self.admin(put(&format!("/v1/plugins/{name}?{query}"), wasm)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Whole {
        self.admin(with_method("POST", path)).await
    }

    pub(crate) async fn show(&self, name: &str) -> Value {
        self.admin(get(&format!("/v1/plugins/{name}"))).await.json()
    }

    /// What a client gets.
    pub(crate) async fn ask(&self) -> String {
        let answer = call(self.router.addresses().data, chat("hi")).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        answer.text().to_owned()
    }
}

pub(crate) fn put(path: &str, wasm: Vec<u8>) -> Request<Full<Bytes>> {
    Request::put(path)
        .header("host", "localhost")
        .header("content-type", "application/wasm")
        .body(Full::new(wasm.into()))
        .expect("a request")
}

pub(crate) fn json(method: &str, path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.to_string().into()))
        .expect("a request")
}

/// Options as a query.
pub(crate) fn options(options: &Value) -> String {
    let text = options.to_string();
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("options={encoded}")
}

/// The generation with this role, as the API shows it.
pub(crate) fn generation_of(view: &Value, role: &str) -> Option<u64> {
    let all = view["generations"].as_array().expect("generations");
    all.iter().find(|one| one["role"] == role).and_then(|one| one["generation"].as_u64())
}
