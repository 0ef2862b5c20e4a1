//! Every request goes to a healthy worker that has the fewest in flight.

use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};
use sglang_router_rs::core::{Fleet, Worker, WorkerSpec};
use sglang_router_rs::policies::{Chooser, Load, PolicyFactory, SelectWorkerInfo};

use crate::plugins_over_http::answer::{Form, Held};
use crate::plugins_over_http::client::CHAT;
use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::workers::{chat, entries, holding, instant, start_all};
use sgl_testkit::modules::plugin;

/// A router over workers whose streams stay in flight.
async fn stage(workers: usize) -> (Vec<sgl_tools::sim::SimWorker>, Stage) {
    let workers = start_all(workers, holding()).await;
    let stage = Stage::start(plugin("least_connections"), PluginConfig::new(), entries(&workers)).await;
    (workers, stage)
}

/// Holds one more stream, after a look at the loads: whoever gets it must have had the least of
/// those that may be chosen.
async fn hold(stage: &Stage, may_be_chosen: &[usize]) -> Held {
    let before = stage.loads();
    let least = may_be_chosen.iter().map(|worker| before[*worker]).min().expect("at least one");
    let held = stage.client.hold(CHAT, &chat("hold this")).await;
    let chosen = held.worker();
    assert!(may_be_chosen.contains(&chosen), "{chosen} of {may_be_chosen:?}");
    assert_eq!(before[chosen], least, "{chosen} was chosen at {before:?}");
    held
}

#[tokio::test]
async fn streams_go_to_a_least_loaded_worker_and_so_do_plain_requests() {
    let (_workers, stage) = stage(3).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&stage, &[0, 1, 2]).await);
    }
    let loads = stage.loads();
    assert_eq!(loads.iter().sum::<usize>(), 8);
    // Two workers have three, so only one can be the answer, again and again.
    let least = loads.iter().position(|load| *load == 2).expect("3, 3 and 2 in some order");
    for _ in 0..5 {
        assert_eq!(stage.client.chat("plain", Form::Plain).await, least);
        stage.loads_are(&loads).await;
    }
    stage.decided(8 + 5);
}

#[tokio::test]
async fn worker_whose_clients_hang_up_is_the_next() {
    let (_workers, stage) = stage(3).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(hold(&stage, &[0, 1, 2]).await);
    }
    for gone in [1, 2, 0, 2] {
        held.retain(|stream| stream.worker() != gone);
        let loads: Vec<usize> = (0..3).map(|worker| if worker == gone { 0 } else { 3 }).collect();
        stage.loads_are(&loads).await;
        for _ in 0..3 {
            let next = hold(&stage, &[0, 1, 2]).await;
            assert_eq!(next.worker(), gone);
            held.push(next);
        }
    }
    stage.decided(9 + 4 * 3);
}

#[tokio::test]
async fn least_loaded_worker_is_passed_over_while_it_may_not_be_chosen() {
    let (_workers, stage) = stage(4).await;
    stage.drain(2);
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(hold(&stage, &[0, 1, 3]).await);
    }
    assert_eq!(stage.loads(), [3, 3, 0, 3]);
    stage.decided(9);
}

#[tokio::test]
async fn requests_at_the_same_time_see_each_other() {
    let (_workers, stage) = stage(3).await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let client = stage.client.clone();
        opening.spawn(async move { client.hold(CHAT, &chat("hold this")).await });
    }
    let held = opening.join_all().await;
    let loads = stage.loads();
    assert_eq!((held.len(), loads.iter().sum::<usize>()), (60, 60));
    // Each decision sees all others but those that instances are making at that moment.
    let instances = PluginOptions::default().max_instances;
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= instances, "{loads:?} with {instances} instances");
    stage.decided(60);
}

#[tokio::test]
async fn idle_workers_share_by_chance() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(plugin("least_connections"), PluginConfig::new(), entries(&workers)).await;
    let answered = stage.client.crowd(200, 3).await;
    // The chance that one of three gets none of 200 is below 1e-34.
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    assert_eq!(answered.iter().sum::<u64>(), 200);
    stage.decided(200);
}

#[tokio::test]
async fn least_loaded_healthy_worker_is_found_in_fleets_of_any_size() {
    let factory = PolicyFactory::new();
    let config =
        WasmPolicyConfig { max_execution_time_ms: 30_000, ..WasmPolicyConfig::new("least", "memory") };
    let wasm = plugin("least_connections");
    factory.load(Load::bytes(config, wasm)).await.expect("it loads");
    let policy = factory.create_by_name("least").expect("it is there");
    let mut random = fastrand::Rng::with_seed(1);
    // Every remainder of every lane width, and more than one chunk of signals.
    for size in (1..=70).chain([127, 128, 129, 255, 257, 1023, 1025]) {
        let fleet = Fleet::new();
        for index in 0..size {
            let worker = fleet.add(WorkerSpec::new(format!("http://w{index}")), true).expect("a new URL");
            (0..random.usize(1..9)).for_each(|_| worker.increment_load());
            worker.set_healthy(index % 5 != 4);
        }
        let table = fleet.table();
        let loads: Vec<usize> = table.workers().iter().map(|worker| worker.load()).collect();
        let may_be_chosen = |index: &usize| index % 5 != 4;
        let least = (0..size).filter(may_be_chosen).map(|index| loads[index]).min().expect("one is healthy");
        for _ in 0..8 {
            let decision =
                policy.decide_async(&table, &SelectWorkerInfo::default()).await.expect("it decides");
            assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
            assert!(may_be_chosen(&decision.index()), "{size}: {}", decision.index());
            assert_eq!(loads[decision.index()], least, "{size}: {}", decision.index());
        }
    }
}
