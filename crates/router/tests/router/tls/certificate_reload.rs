use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use sgl_router::RunningRouter;
use sgl_testkit::client::{TestClient, chat};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use tokio::task::JoinSet;

use crate::tls::authority::{Authority, Issued};
use crate::tls::rig::connect;

/// A router that looks at its files all the time.
async fn looking(worker: &Upstream, shown: &Issued, dir: &Path) -> RunningRouter {
    let (certificate, key) = shown.files(dir, "router");
    let mut config = router::config_with(vec![worker.entry()], |config| {
        config.server.tls.cert_path = Some(certificate);
        config.server.tls.key_path = Some(key);
    });
    config.tls.look_interval = Duration::from_millis(5);
    router::start(config).await
}

/// The certificate that new connections see.
async fn seen(address: std::net::SocketAddr, authority: &Authority) -> CertificateDer<'static> {
    let stream = connect(address, authority.client(None, &[])).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// How often files were read again, well and in vain.
async fn reloads(router: &RunningRouter) -> [u64; 2] {
    let page = router::metrics(router).await;
    ["done", "failed"].map(|result| {
        let start = format!(
            r#"sgl_router_tls_certificate_reloads_total{{certificate="clients",result="{result}"}} "#
        );
        page.text().lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn certificate_is_replaced_under_traffic_without_a_lost_request() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let mut last = authority.issue();
    let router = looking(&worker, &last, dir.path()).await;
    let address = router.addresses().data;
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
        let trusting = authority.client(None, &[]);
        clients.spawn(async move {
            // Half of them keep their connection, the others make a new one each time.
            let open =
                async || TestClient::over(connect(address, Arc::clone(&trusting)).await.unwrap()).await;
            let mut client = open().await;
            while !is_over.load(Ordering::SeqCst) {
                if number % 2 == 0 {
                    client = open().await;
                }
                assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for _ in 0..5 {
        let before = answered.load(Ordering::SeqCst);
        last = authority.issue();
        last.files(dir.path(), "router");
        until(async || seen(address, &authority).await == last.der()).await;
        until(async || answered.load(Ordering::SeqCst) > before + 8).await;
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(reloads(&router).await[0] >= 5);
}

#[tokio::test]
async fn what_cannot_be_used_is_not_taken_and_the_pair_before_goes_on() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let first = authority.issue();
    let router = looking(&worker, &first, dir.path()).await;
    let address = router.addresses().data;
    let (certificate, key) = (dir.path().join("router.pem"), dir.path().join("router.key"));
    let other = authority.issue();
    let expired = authority.issue_for(&["localhost"], 2020);
    let mut failures = 0;
    for (certificate_text, key_text) in [
        (&other.certificate, &first.key),
        (&first.certificate, &String::new()),
        (&expired.certificate, &expired.key),
    ] {
        std::fs::write(&key, key_text).unwrap();
        std::fs::write(&certificate, certificate_text).unwrap();
        until(async || reloads(&router).await[1] > failures).await;
        assert_eq!(seen(address, &authority).await, first.der());
        failures = reloads(&router).await[1];
    }
    std::fs::remove_file(&key).unwrap();
    until(async || reloads(&router).await[1] > failures).await;
    assert_eq!(seen(address, &authority).await, first.der());
    failures = reloads(&router).await[1];
    // Whoever opens a pipe waits for somebody who writes.
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
    until(async || reloads(&router).await[1] > failures).await;
    assert_eq!(seen(address, &authority).await, first.der());
    std::fs::remove_file(&key).unwrap();
    other.files(dir.path(), "router");
    until(async || seen(address, &authority).await == other.der()).await;
}

#[tokio::test]
async fn signal_has_files_read_at_once_and_a_broken_pair_is_one_clear_line() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let first = authority.issue();
    let (certificate, key) = first.files(dir.path(), "router");
    let arguments = ["--worker-urls", &worker.url(), "--tls-cert-path", certificate.to_str().unwrap()];
    let arguments = [&arguments[..], &["--tls-key-path", key.to_str().unwrap()]].concat();
    let mut process = Process::serve(&arguments).await;
    assert_eq!(seen(process.data, &authority).await, first.der());
    let second = authority.issue();
    std::fs::write(&key, &second.key).unwrap();
    process.signal("-HUP");
    // What is looked at by the clock is found twice before it is read, long after the signal is answered.
    let lines = process.lines_until("nothing reloaded").await;
    let line = lines.iter().find(|line| line.contains("not replaced; the one before goes on"));
    assert!(line.is_some_and(|line| line.contains("is not the key of the certificate in")), "{lines:#?}");
    assert_eq!(seen(process.data, &authority).await, first.der());
    second.files(dir.path(), "router");
    process.signal("-HUP");
    let lines = process.lines_until("reloaded the configuration").await;
    assert!(lines.iter().any(|line| line.contains("read the certificate's files again")), "{lines:#?}");
    assert_eq!(seen(process.data, &authority).await, second.der());
}

#[tokio::test]
async fn expired_certificate_serves_and_is_told_of() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let (certificate, key) = authority.issue_for(&["localhost"], 2020).files(dir.path(), "router");
    let arguments = ["--worker-urls", &worker.url(), "--tls-cert-path", certificate.to_str().unwrap()];
    let arguments = [&arguments[..], &["--tls-key-path", key.to_str().unwrap()]].concat();
    let (process, log) = Process::serve_and_log(&arguments).await;
    let told = log.iter().find(|line| line.contains("the certificate has expired")).unwrap();
    assert!(told.contains("Thu, 31 Dec 2020"), "{told}");
    assert!(connect(process.data, authority.client(None, &[])).await.is_err());
}
