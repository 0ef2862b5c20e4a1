use http::{StatusCode, Version};
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, chat, piece};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sgl_upstream::HttpVersion;
use tokio::task::JoinSet;

use crate::tls::authority::Authority;
use crate::tls::rig::{Http2Client, TlsFront, speaking_h2c, trusting};

/// A worker that is spoken to in HTTP/2 with prior knowledge.
fn h2c(worker: &Upstream) -> WorkerEntry {
    WorkerEntry { http_version: HttpVersion::Http2, ..worker.entry() }
}

#[tokio::test]
async fn requests_share_a_connection_and_its_target_names_the_worker() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = router::start(router::config(vec![h2c(&worker)])).await;
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let address = router.addresses().data;
        clients.spawn(async move { call(address, chat(&format!("{number}"))).await.status });
    }
    worker.arrived(20).await;
    assert_eq!(router::in_flight(&router, &worker.url()), 20);
    gate.add_permits(20);
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    // The first requests may have opened one each, before the first was there.
    let opened = worker.connections();
    gate.add_permits(5);
    for _ in 0..5 {
        assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
    }
    assert_eq!(worker.connections(), opened);
    let seen = worker.seen().remove(0);
    assert_eq!(seen.version, Version::HTTP_2);
    assert_eq!(seen.uri.to_string(), format!("http://{}/v1/chat/completions", worker.address));
    assert!(!seen.headers.contains_key("host"));
}

#[tokio::test]
async fn worker_that_is_known_to_share_gets_another_connection_only_when_the_first_is_full() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = router::start(router::config(vec![h2c(&worker)])).await;
    gate.add_permits(1);
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
    assert_eq!(worker.connections(), 1);
    let mut clients = JoinSet::new();
    // hyper's servers allow 200.
    for _ in 0..250 {
        let address = router.addresses().data;
        clients.spawn(async move { call(address, chat("hi")).await.status });
    }
    worker.arrived(251).await;
    assert_eq!(worker.connections(), 2);
    gate.add_permits(250);
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn over_tls_the_worker_picks_the_version_unless_it_is_set() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    let issued = authority.issue();
    let any = TlsFront::before(&worker, issued.server(None, &["h2", "http/1.1"])).await;
    let old = TlsFront::before(&worker, issued.server(None, &["http/1.1"])).await;
    let silent = TlsFront::before(&worker, issued.server(None, &[])).await;
    for (front, version, expected) in [
        (&any, HttpVersion::Auto, Some(Version::HTTP_2)),
        (&any, HttpVersion::Http1, Some(Version::HTTP_11)),
        (&any, HttpVersion::Http2, Some(Version::HTTP_2)),
        (&old, HttpVersion::Auto, Some(Version::HTTP_11)),
        (&old, HttpVersion::Http2, None),
        (&silent, HttpVersion::Auto, Some(Version::HTTP_11)),
        (&silent, HttpVersion::Http2, None),
    ] {
        let entry = WorkerEntry { http_version: version, ..front.entry() };
        let router = trusting(vec![entry], &authority, dir.path()).await;
        let before = worker.seen().len();
        let answer = call(router.addresses().data, chat("hi")).await;
        assert_eq!(answer.status == StatusCode::OK, expected.is_some(), "{version:?}");
        assert_eq!(worker.seen().get(before).map(|seen| seen.version), expected, "{version:?}");
    }
}

#[tokio::test]
async fn client_that_hangs_up_ends_its_request_and_not_the_connection_of_others() {
    let (send_script, mut scripts) = tokio::sync::mpsc::channel(2);
    let worker = Upstream::start(move |_| {
        let (response, pieces, ended) = upstream::stream();
        send_script.try_send((pieces, ended)).unwrap();
        async { response }
    })
    .await;
    let router = router::start(router::config(vec![h2c(&worker)])).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = TestClient::connect(router.addresses().data).await;
        let begun = async {
            let (pieces, ended) = soon(scripts.recv()).await.unwrap();
            pieces.send("data: 1\n\n".into()).await.unwrap();
            (pieces, ended)
        };
        let (response, script) = tokio::join!(client.send(chat("hi")), begun);
        let mut body = response.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap(), "data: 1\n\n");
        open.push((client, body, script));
    }
    let (client, body, (_pieces, ended)) = open.remove(0);
    drop((client, body));
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 1).await;
    let (_client, mut body, (pieces, _)) = open.remove(0);
    pieces.send("data: 2\n\n".into()).await.unwrap();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 2\n\n");
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(worker.connections(), 1);
}

#[tokio::test]
async fn connection_that_the_worker_closes_is_replaced() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::config(vec![h2c(&worker)])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for round in 1..=3 {
        for _ in 0..3 {
            assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
        }
        assert_eq!(worker.connections(), round);
        worker.hang_up();
    }
}

#[tokio::test]
async fn worker_whose_version_changes_is_spoken_to_in_the_new_one() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::config(vec![worker.entry()])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for (entry, version) in [
        (worker.entry(), Version::HTTP_11),
        (h2c(&worker), Version::HTTP_2),
        (worker.entry(), Version::HTTP_11),
    ] {
        router.proxy().backends().change(&entry).unwrap().unwrap();
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
        assert_eq!(worker.seen().last().unwrap().version, version);
    }
}

#[tokio::test]
async fn clients_and_workers_of_both_versions_mix() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let front = TlsFront::before(&worker, authority.issue().server(None, &["h2"])).await;
    let other = Upstream::saying("hello").await;
    let file = authority.file(dir.path());
    let router =
        router::start(router::config_with(vec![front.entry(), h2c(&other), worker.entry()], |config| {
            config.upstream.tls.ca_cert_paths = vec![file];
            config.server.http2.cleartext = true;
        }))
        .await;
    let new = Http2Client::connect(router.addresses().data).await;
    let mut old = TestClient::connect(router.addresses().data).await;
    for _ in 0..6 {
        assert_eq!(new.call(chat("hi")).await.text(), "hello");
        assert_eq!(old.call(chat("hi")).await.text(), "hello");
    }
    let versions = |worker: &Upstream| {
        let seen = worker.seen();
        let count = |version| seen.iter().filter(|seen| seen.version == version).count();
        (count(Version::HTTP_2), count(Version::HTTP_11))
    };
    assert_eq!((versions(&worker), versions(&other)), ((4, 4), (4, 0)));
}

#[tokio::test]
async fn refusals_and_retries_are_as_with_http_1() {
    let [full, well] = [Upstream::failing(503).await, Upstream::saying("well").await];
    let router = router::start(router::config(vec![h2c(&full), h2c(&well)])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..4 {
        assert_eq!(client.call(chat("hi")).await.text(), "well");
    }
    assert!(!full.seen().is_empty());
    let router = speaking_h2c(&full).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
