//! What the plugin sees, and that its choice is the host.

use sgl_testkit::manifest::manifest;
use sgl_testkit::modules::plugin;
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::core::Input;

use crate::rig::{Host, Rig, Setup, WITH_LABELS, ask, choosing_labelled};

async fn workers(count: usize) -> Vec<Upstream> {
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(Upstream::saying("{}").await);
    }
    workers
}

fn asked(workers: &[Upstream]) -> Vec<usize> {
    workers.iter().map(|worker| worker.seen().len()).collect()
}

#[tokio::test]
async fn host_is_the_one_that_the_plugin_chooses() {
    let workers = workers(3).await;
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    let Some(rig) = Rig::start(&guest_choosing(1), &hosts).await else { return };
    for _ in 0..10 {
        assert_eq!(rig.ask(&[]).await.status, 200);
    }
    assert_eq!(asked(&workers), [0, 10, 0]);
}

#[tokio::test]
async fn metadata_of_a_host_is_a_label() {
    let workers = workers(3).await;
    let mut hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    hosts[0].metadata = "gpu: iron";
    hosts[2].metadata = "gpu: gold";
    let setup = Setup { settings: WITH_LABELS, ..Setup::default() };
    let Some(rig) = Rig::start_with(setup, &choosing_labelled("gold"), &hosts).await else { return };
    for _ in 0..5 {
        assert_eq!(rig.ask(&[]).await.status, 200);
    }
    assert_eq!(asked(&workers), [0, 0, 5]);
}

#[tokio::test]
async fn load_is_what_hosts_have_in_flight() {
    let (first, first_gate) = Upstream::behind_a_gate().await;
    let (second, second_gate) = Upstream::behind_a_gate().await;
    let hosts = [Host::of(&first), Host::of(&second)];
    let Some(rig) = Rig::start(&plugin("least_connections"), &hosts).await else { return };
    let clients = rig.envoy.clients;
    let mut held = tokio::task::JoinSet::new();
    for pair in 1..=4 {
        for turn in 1..=2 {
            held.spawn(async move { ask(clients, &[]).await.status });
            let all = 2 * (pair - 1) + turn;
            sgl_testkit::waits::until(async || first.seen().len() + second.seen().len() == all).await;
        }
        assert_eq!((first.seen().len(), second.seen().len()), (pair, pair));
    }
    [first_gate, second_gate].iter().for_each(|gate| gate.add_permits(8));
    while let Some(status) = held.join_next().await {
        assert_eq!(status.expect("a task"), 200);
    }
}

#[tokio::test]
async fn arrival_rate_is_known_after_a_while() {
    let workers = workers(2).await;
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    // The rate is the end of the message, NaN while it is not known: then host 0, else host 1.
    let body = format!(
        "(i32.store8 (i32.const 16) (i32.ne (i32.const 0x7f)
           (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 4))))) {}",
        sgl_testkit::text::answer(16, 1)
    );
    let guest = guest_with(&manifest(&[Input::ArrivalRate]), &body);
    let Some(rig) = Rig::start(&guest, &hosts).await else { return };
    sgl_testkit::waits::until(async || {
        assert_eq!(rig.ask(&[]).await.status, 200);
        !workers[1].seen().is_empty()
    })
    .await;
}

#[tokio::test]
async fn session_of_a_header_or_of_the_hash_policy_stays_at_its_host() {
    let workers = workers(4).await;
    let hosts: Vec<Host> = workers.iter().map(Host::of).collect();
    let Some(rig) = Rig::start(&plugin("sticky_least_loaded"), &hosts).await else { return };
    for header in ["x-session-id", "x-conversation"] {
        for session in ["a", "b", "c", "d"] {
            let before = asked(&workers);
            for _ in 0..6 {
                assert_eq!(rig.ask(&[(header, session)]).await.status, 200);
            }
            let grown: Vec<usize> =
                asked(&workers).iter().zip(before).map(|(now, before)| now - before).collect();
            assert!(grown.contains(&6), "{header} {session}: {grown:?}");
        }
    }
}

#[tokio::test]
async fn retry_goes_to_another_host() {
    let (bad, good) = (Upstream::failing(503).await, Upstream::saying("{}").await);
    let hosts = [Host::of(&bad), Host::of(&good)];
    let route = "retry_policy: { retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 3, \
                 retry_host_predicate: [{ name: envoy.retry_host_predicates.previous_hosts, typed_config: { \
                 \"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate } }] }";
    let setup = Setup { route, ..Setup::default() };
    // It always wants the first host; where that was tried, the fallback policy chooses.
    let Some(rig) = Rig::start_with(setup, &guest_choosing(0), &hosts).await else { return };
    for _ in 0..4 {
        assert_eq!(rig.ask(&[]).await.status, 200);
    }
    assert_eq!((bad.seen().len(), good.seen().len()), (4, 4));
}
