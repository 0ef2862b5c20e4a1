//! The module is replaced while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use tokio::task::JoinSet;

use crate::rig::{Host, Rig, Setup, ask};

/// Changes of the module.
const SWAPS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_module_is_replaced() {
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    // Budgets that a busy machine does not spend.
    let settings = ", check_interval_ms: 100, max_execution_time_ms: 5000, options: { max_wait_ms: 5000 }";
    let setup = Setup { settings, ..Setup::default() };
    let Some(rig) = Rig::start_with(setup, &guest_choosing(0), &hosts).await else { return };
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (over, address) = (Arc::clone(&over), rig.envoy.clients);
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
    for swap in 1..=SWAPS {
        let chosen = swap % 2;
        rig.put_module(&guest_choosing(u8::try_from(chosen).expect("0 or 1")));
        let before = workers[chosen].seen().len();
        until(async || workers[chosen].seen().len() > before + 20).await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(failed) = clients.join_next().await {
        assert_eq!(failed.expect("a client"), Vec::<String>::new());
    }
    until(async || rig.envoy.counted("sgl_policy_swaps_total").await >= SWAPS as u64).await;
    assert_eq!(rig.envoy.counted("sgl_policy_fallbacks_total").await, 0);
    let requests: usize = workers.iter().map(|worker| worker.seen().len()).sum();
    until(async || rig.envoy.counted("sgl_policy_decisions_total").await >= requests as u64).await;
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
