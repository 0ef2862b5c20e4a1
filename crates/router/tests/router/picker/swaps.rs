//! The plugin is replaced again and again while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};
use sglang_router_rs::policies::{Load, PolicyFactory};
use tokio::task::JoinSet;

use crate::picker::rig::{Rig, asking, picking};

const SWAPS: usize = 20;

async fn load(factory: &PolicyFactory, chosen: u8) {
    let options = PluginOptions { self_test: false, ..sgl_testkit::plugins::without_probation() };
    let module = WasmPolicyConfig::new("mine", "mine.wasm");
    let load = Load::bytes(module, guest_choosing(chosen)).with(options);
    factory.load(load).await.expect("it loads");
}

#[tokio::test]
async fn swaps_under_load_harm_no_request_and_the_last_one_places_them() {
    let workers = [Upstream::saying("first").await, Upstream::saying("second").await];
    let factory = PolicyFactory::new();
    load(&factory, 0).await;
    let mut config = picking(workers.iter().map(|worker| worker.entry()).collect(), 0);
    "mine".clone_into(&mut config.policy);
    let all = [&workers[0], &workers[1]];
    let Some(rig) = Rig::with(config, &factory, &all, str::to_owned).await else { return };
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (stop, served, address) = (Arc::clone(&stop), Arc::clone(&served), rig.envoy.clients);
        clients.spawn(async move {
            let mut client = TestClient::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.call(post("/v1/completions", &asking("m", 8 << 10))).await;
                assert_eq!(answer.status, StatusCode::OK);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for swap in 0..SWAPS {
        let chosen = u8::try_from(swap % 2).unwrap();
        load(&factory, chosen).await;
        let goal = served.load(Ordering::Relaxed) + 50;
        until(async || served.load(Ordering::Relaxed) >= goal).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon(clients.join_next()).await {
        ended.expect("a client that was served");
    }
    let mut client = TestClient::connect(rig.envoy.clients).await;
    for _ in 0..10 {
        let answer = client.call(post("/v1/completions", &asking("m", 200))).await;
        assert_eq!(answer.text(), "second", "the last swap chose it");
    }
    assert_eq!(rig.envoy.counted("ext_proc.failure_mode_allowed").await, 0);
    assert_eq!(rig.envoy.counted("ext_proc.message_timeouts").await, 0);
}
