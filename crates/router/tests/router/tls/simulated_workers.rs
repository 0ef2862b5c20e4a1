//! Simulated workers that speak TLS.

use std::path::PathBuf;

use http::StatusCode;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::router;
use sgl_tools::sim::{SimConfig, SimWorker};

use crate::tls::authority::Authority;

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}"#;

fn config(certificate: PathBuf, key: PathBuf) -> SimConfig {
    SimConfig { tls_cert: Some(certificate), tls_key: Some(key), time_scale: 0.0, ..SimConfig::default() }
}

#[tokio::test]
async fn simulated_worker_with_a_certificate_serves_who_trusts_it_and_ends_in_order() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.issue().files(dir.path(), "worker");
    let worker = SimWorker::start(config(certificate, key)).await.unwrap();
    assert!(worker.url().starts_with("https://"), "{}", worker.url());
    let entry = WorkerEntry { url: worker.url(), ..WorkerEntry::default() };
    let file = authority.file(dir.path());
    let settings = |trusts: bool| {
        let files = trusts.then(|| file.clone());
        router::config_with(vec![entry.clone()], |config| config.upstream.tls.ca_cert_paths.extend(files))
    };
    let router = router::start(settings(true)).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..3 {
        assert_eq!(client.call(post("/v1/chat/completions", CHAT)).await.status, StatusCode::OK);
    }
    let stranger = router::start(settings(false)).await;
    let mut client = TestClient::connect(stranger.addresses().data).await;
    assert_eq!(client.call(post("/v1/chat/completions", CHAT)).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(worker.requests(), 3);
    worker.shutdown().await;
}

#[tokio::test]
async fn simulated_worker_says_which_file_it_cannot_use() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.issue().files(dir.path(), "worker");
    for (certificate, key, part) in [
        (dir.path().join("nowhere.pem"), key, "nowhere.pem"),
        (certificate.clone(), certificate, "no private key"),
    ] {
        let error = SimWorker::start(config(certificate, key)).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(part), "{cause}");
    }
}
