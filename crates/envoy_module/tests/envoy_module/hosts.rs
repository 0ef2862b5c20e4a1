//! Hosts come, go, fall ill and get well.

use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

use crate::rig::{Host, Rig, Setup, WITH_LABELS, choosing_labelled};

#[tokio::test]
async fn plugin_follows_hosts_that_come_and_go() {
    let (first, second, third) =
        (Upstream::saying("{}").await, Upstream::saying("{}").await, Upstream::saying("{}").await);
    let [one, two, three] = [&first, &second, &third].map(Host::of);
    let Some(rig) = Rig::start(&guest_choosing(0), std::slice::from_ref(&one)).await else { return };
    assert_eq!(rig.ask(&[]).await.status, 200);
    assert_eq!(first.seen().len(), 1);
    for (hosts, chosen) in [(vec![two.clone()], &second), (vec![three, two], &third), (vec![one], &first)] {
        rig.put_hosts(&hosts);
        let before = chosen.seen().len();
        until(async || {
            assert_eq!(rig.ask(&[]).await.status, 200);
            chosen.seen().len() > before
        })
        .await;
    }
}

#[tokio::test]
async fn plugin_follows_metadata_of_a_host_that_stays() {
    let (first, second) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let host = |worker: &Upstream, metadata| Host { metadata, ..Host::of(worker) };
    let setup = Setup { settings: WITH_LABELS, ..Setup::default() };
    let hosts = [host(&first, "gpu: gold"), host(&second, "gpu: iron")];
    let Some(rig) = Rig::start_with(setup, &choosing_labelled("gold"), &hosts).await else { return };
    assert_eq!(rig.ask(&[]).await.status, 200);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
    rig.put_hosts(&[host(&first, "gpu: iron"), host(&second, "gpu: gold")]);
    until(async || {
        assert_eq!(rig.ask(&[]).await.status, 200);
        !second.seen().is_empty()
    })
    .await;
}

#[tokio::test]
async fn nobody_is_503_and_the_next_host_is_used() {
    let worker = Upstream::saying("{}").await;
    let Some(rig) = Rig::start(&guest_choosing(0), &[]).await else { return };
    assert_eq!(rig.ask(&[]).await.status, 503);
    rig.put_hosts(&[Host::of(&worker)]);
    until(async || rig.ask(&[]).await.status == 200).await;
}

#[tokio::test]
async fn ill_host_is_no_candidate_until_it_is_well() {
    let (first, second) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let hosts = [Host::of(&first), Host::of(&second)];
    let checks = "health_checks: [{ timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, \
                  http_health_check: { path: /health } }]";
    let setup = Setup { cluster: checks, ..Setup::default() };
    let Some(rig) = Rig::start_with(setup, &guest_choosing(0), &hosts).await else { return };
    let asked = |worker: &Upstream| worker.seen().iter().filter(|seen| seen.uri.path() != "/health").count();
    until(async || {
        rig.ask(&[]).await;
        asked(&first) > 0
    })
    .await;
    first.set_health(503);
    until(async || {
        let before = asked(&first);
        assert_eq!(rig.ask(&[]).await.status, 200);
        asked(&first) == before
    })
    .await;
    assert!(asked(&second) > 0);
    first.set_health(200);
    until(async || {
        let before = asked(&first);
        assert_eq!(rig.ask(&[]).await.status, 200);
        asked(&first) > before
    })
    .await;
}

#[tokio::test]
async fn envoy_outlives_the_last_cluster_that_uses_the_module() {
    let worker = Upstream::saying("{}").await;
    let (setup, hosts) = (Setup::default(), [Host::of(&worker)]);
    let Some(rig) = Rig::start_with_cluster_file(setup, &guest_choosing(0), &hosts).await else { return };
    for _ in 0..3 {
        assert_eq!(rig.ask(&[]).await.status, 200);
        rig.put_no_cluster();
        until(async || rig.ask(&[]).await.status == 503).await;
        rig.put_cluster(setup);
        until(async || rig.ask(&[]).await.status == 200).await;
    }
}
