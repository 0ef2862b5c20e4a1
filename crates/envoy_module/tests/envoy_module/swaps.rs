//! The module is replaced while requests come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use tokio::task::JoinSet;

use crate::rig::{Host, PATIENT, Rig, Setup, ask};

/// Changes of the module, or of the cluster.
const SWAPS: usize = 12;

/// Eight clients that ask again and again.
struct Load {
    over: Arc<AtomicBool>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let over = Arc::clone(&over);
            clients.spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(address, &[]).await;
                    if answer.status != 200 {
                        failed.push(format!("{}: {}", answer.status, answer.text()));
                    }
                }
                failed
            });
        }
        Self { over, clients }
    }

    /// Ends it; none of its requests may have failed.
    async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(failed) = self.clients.join_next().await {
            assert_eq!(failed.expect("a client"), Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_module_is_replaced() {
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    let Some(rig) = Rig::start(&guest_choosing(0), &hosts).await else { return };
    let load = Load::start(rig.envoy.clients);
    for swap in 1..=SWAPS {
        let chosen = swap % 2;
        rig.put_module(&guest_choosing(u8::try_from(chosen).expect("0 or 1")));
        let before = workers[chosen].seen().len();
        until(async || workers[chosen].seen().len() > before + 20).await;
    }
    load.end().await;
    until(async || rig.envoy.counted("sgl_policy_swaps_total").await >= SWAPS as u64).await;
    assert_eq!(rig.envoy.counted("sgl_policy_fallbacks_total").await, 0);
    let requests: usize = workers.iter().map(|worker| worker.seen().len()).sum();
    until(async || rig.envoy.counted("sgl_policy_decisions_total").await >= requests as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_envoy_replaces_the_cluster_and_its_plugin() {
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    let settings = |number: usize| format!("{PATIENT}, config: {{ number: {number} }}");
    let first = settings(0);
    let setup = Setup { settings: &first, ..Setup::default() };
    let Some(rig) = Rig::start_with_cluster_file(setup, &guest_choosing(0), &hosts).await else { return };
    let load = Load::start(rig.envoy.clients);
    for swap in 1..=SWAPS {
        rig.put_cluster(Setup { settings: &settings(swap), ..Setup::default() });
        // Each cluster has a plugin of its own; generations are numbered over all.
        until(async || rig.envoy.counted("sgl_policy_generation").await > swap as u64).await;
        let before = workers[0].seen().len();
        until(async || workers[0].seen().len() > before + 20).await;
    }
    load.end().await;
    assert_eq!(workers[1].seen().len(), 0, "the plugin was not asked");
}

#[tokio::test]
async fn nonsense_in_place_of_the_module_changes_nothing_and_is_told() {
    let worker = Upstream::saying("{}").await;
    let Some(rig) = Rig::start(&guest_choosing(0), &[Host::of(&worker)]).await else { return };
    rig.put_module(b"nonsense");
    until(async || rig.envoy.counted("sgl_policy_refused_modules_total").await == 1).await;
    until(async || rig.envoy.log().contains("plugin.wasm is not taken")).await;
    assert_eq!(rig.ask(&[]).await.status, 200);
    rig.put_module(&guest_choosing(0));
    assert_eq!(rig.envoy.counted("sgl_policy_fallbacks_total").await, 0);
}
