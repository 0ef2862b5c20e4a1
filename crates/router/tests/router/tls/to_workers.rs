use std::time::Duration;

use http::{StatusCode, Version};
use serde_json::json;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, chat, get, post};
use sgl_testkit::process::{command, output, stderr};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::Worker;

use crate::tls::authority::Authority;
use crate::tls::rig::{TlsFront, stream_comes_and_ends, trusting};

/// What operators see of the worker's fault.
async fn fault(router: &sgl_router::RunningRouter, url: &str) -> String {
    let shown = router::shown(router, url).await.unwrap();
    shown["fault"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn worker_of_an_authority_that_is_trusted_is_checked_asked_and_used_over_connections_that_are_kept() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    worker.serve("/v1/models", 200, &json!({"data": [{"id": "m"}]}).to_string());
    worker.serve(
        "/get_load",
        200,
        &json!([{"num_reqs": 3, "num_waiting_reqs": 2, "num_tokens": 7}]).to_string(),
    );
    let front = TlsFront::before(&worker, authority.issue().server(None, &["http/1.1"])).await;
    let file = authority.file(dir.path());
    let mut config =
        router::config_with(vec![front.entry()], |config| config.upstream.tls.ca_cert_paths = vec![file]);
    config.proxy.health.interval = Some(Duration::from_millis(10));
    config.proxy.health.load_interval = Some(Duration::from_millis(10));
    config.proxy.health.poll_models = true;
    let router = router::start(config).await;
    until(async || router::target(&router, &front.url()).unwrap().worker().is_healthy()).await;
    until(async || router::shown(&router, &front.url()).await.unwrap()["report"]["waiting"] == 2).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..5 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    let seen = worker.seen();
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[0].headers["host"], front.url().strip_prefix("https://").unwrap());
    assert_eq!(seen[0].version, Version::HTTP_11);
    assert_eq!(fault(&router, &front.url()).await, "");
}

#[tokio::test]
async fn requests_reuse_a_connection() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    let front = TlsFront::before(&worker, authority.issue().server(None, &["http/1.1"])).await;
    let router = trusting(vec![front.entry()], &authority, dir.path()).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..5 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    assert_eq!(front.connections(), 1);
}

#[tokio::test]
async fn worker_that_cannot_be_trusted_gets_no_request_and_operators_are_told_why() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    let expired = authority.issue_for(&["127.0.0.1"], 2020).server(None, &[]);
    let other_name = authority.issue_for(&["worker.example"], 2096).server(None, &[]);
    let unknown = Authority::new("other").issue().server(None, &[]);
    let demanding = authority.issue().server(Some(&authority), &[]);
    let itself = authority.itself().server(None, &[]);
    let mut fronts = Vec::new();
    for config in [expired, other_name, unknown, demanding, itself] {
        fronts.push(TlsFront::before(&worker, config).await);
    }
    let no_tls = format!("https://{}", worker.address);
    let mut workers: Vec<WorkerEntry> = fronts.iter().map(TlsFront::entry).collect();
    workers.push(WorkerEntry { url: no_tls.clone(), ..WorkerEntry::default() });
    let file = authority.file(dir.path());
    let mut config = router::config_with(workers, |config| config.upstream.tls.ca_cert_paths = vec![file]);
    config.proxy.health.interval = Some(Duration::from_millis(10));
    let router = router::start(config).await;
    let urls = fronts.iter().map(TlsFront::url).chain([no_tls]);
    for (url, expected) in urls.zip([
        "TLS: its certificate has expired",
        "TLS: its certificate is for another name: found worker.example, expected 127.0.0.1",
        "TLS: its certificate is of an unknown issuer; --ca-cert-paths",
        "TLS: it demands a client certificate; --client-cert-path",
        "TLS: its certificate is an authority itself (CA:TRUE)",
        "TLS: what answers there speaks no TLS; is its URL `http://`?",
    ]) {
        until(async || !fault(&router, &url).await.is_empty()).await;
        let told = fault(&router, &url).await;
        assert!(told.starts_with(expected), "{told}");
    }
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(worker.seen().is_empty());
}

#[tokio::test]
async fn worker_that_speaks_tls_and_is_asked_without_is_told_of_as_that() {
    let authority = Authority::new("own");
    let worker = Upstream::saying("{}").await;
    let front = TlsFront::before(&worker, authority.issue().server(None, &[])).await;
    let url = front.url().replace("https://", "http://");
    let mut config = router::config(vec![WorkerEntry { url: url.clone(), ..WorkerEntry::default() }]);
    config.proxy.health.interval = Some(Duration::from_millis(10));
    let router = router::start(config).await;
    until(async || !fault(&router, &url).await.is_empty()).await;
    let told = fault(&router, &url).await;
    assert!(told.contains("speaks no HTTP/1.1; if it speaks TLS, its URL begins with `https://`"), "{told}");
    let mut status = command(&["status", "--admin-url", &url]);
    status.env_remove("SGL_ROUTER_ADMIN_TOKEN");
    let told = stderr(&output(status).await);
    assert!(told.contains("cannot be reached") && told.contains("its URL begins with `https://`"), "{told}");
}

#[tokio::test]
async fn without_checks_a_request_finds_out_and_another_worker_serves_it() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let [hidden, well] = [Upstream::saying("hidden").await, Upstream::saying("well").await];
    let unknown = Authority::new("other").issue();
    let front = TlsFront::before(&hidden, unknown.server(None, &[])).await;
    let router = trusting(vec![front.entry(), well.entry()], &authority, dir.path()).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..4 {
        assert_eq!(client.call(chat("hi")).await.text(), "well");
    }
    assert!(fault(&router, &front.url()).await.contains("unknown issuer"));
    router.proxy().backends().remove(&well.url());
    let answer = client.call(chat("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_connect_failed"));
}

#[tokio::test]
async fn worker_that_demands_a_certificate_gets_it() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    let front = TlsFront::before(&worker, authority.issue().server(Some(&authority), &[])).await;
    let file = authority.file(dir.path());
    let (certificate, key) = authority.issue_for(&["router"], 2096).files(dir.path(), "shown");
    let router = router::start(router::config_with(vec![front.entry()], |config| {
        config.upstream.tls.ca_cert_paths = vec![file];
        config.upstream.tls.client_cert_path = Some(certificate);
        config.upstream.tls.client_key_path = Some(key);
    }))
    .await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
    let page = router::metrics(&router).await;
    let line = r#"sgl_router_tls_certificate_not_after_seconds{certificate="workers"} "#;
    let value = page.text().lines().find_map(|text| text.strip_prefix(line)).unwrap();
    // The last day of 2096.
    assert_eq!(value.parse::<f64>().unwrap(), 4_007_750_400.0);
}

#[tokio::test]
async fn authority_that_is_replaced_is_trusted_without_a_restart() {
    let (before, after, dir) = (Authority::new("a"), Authority::new("b"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("{}").await;
    let front = TlsFront::before(&worker, after.issue().server(None, &[])).await;
    let file = before.file(dir.path());
    let mut config =
        router::config_with(vec![front.entry()], |config| config.upstream.tls.ca_cert_paths = vec![file]);
    config.tls.look_interval = Duration::from_millis(10);
    let router = router::start(config).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::BAD_GATEWAY);
    assert!(fault(&router, &front.url()).await.contains("unknown issuer"));
    after.file(dir.path());
    until(async || call(router.addresses().data, chat("hi")).await.status == StatusCode::OK).await;
    assert_eq!(fault(&router, &front.url()).await, "");
}

#[tokio::test]
async fn streams_come_piece_by_piece_and_a_client_that_hangs_up_ends_them() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (response, pieces, ended) = upstream::stream();
    let worker = Upstream::once(response).await;
    let front = TlsFront::before(&worker, authority.issue().server(None, &[])).await;
    let router = trusting(vec![front.entry()], &authority, dir.path()).await;
    let client = TestClient::connect(router.addresses().data).await;
    stream_comes_and_ends(client, pieces, ended).await;
    until(async || router::in_flight(&router, &front.url()) == 0).await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let text = "x".repeat(3 << 20);
    let body = json!({"model": "m", "prompt": text}).to_string();
    let worker =
        Upstream::start(|seen| async move { upstream::whole(200, std::str::from_utf8(&seen.body).unwrap()) })
            .await;
    let front = TlsFront::before(&worker, authority.issue().server(None, &["h2", "http/1.1"])).await;
    let plain = WorkerEntry { http_version: sgl_upstream::HttpVersion::Http1, ..front.entry() };
    for (entry, version) in [(front.entry(), Version::HTTP_2), (plain, Version::HTTP_11)] {
        let router = trusting(vec![entry], &authority, dir.path()).await;
        let answer = call(router.addresses().data, post("/v1/completions", &body)).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, body.len()));
        assert_eq!(worker.seen().last().unwrap().version, version);
    }
    assert_eq!(call(worker.address, get("/health")).await.status, StatusCode::OK);
}
