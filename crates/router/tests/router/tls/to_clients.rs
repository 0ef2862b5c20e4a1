use std::io;
use std::time::Duration;

use http::{StatusCode, Version};
use sgl_router::cli::ServeArgs;
use sgl_router::internals::configuration;
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::authority::{Authority, Issued};
use crate::tls::rig::{connect, speaking_tls, stream_comes_and_ends};

/// A client over TLS asks, unless it is refused before or in place of an answer.
async fn asks(stream: io::Result<TlsStream<TcpStream>>) -> Option<StatusCode> {
    let mut client = TestClient::over(stream.ok()?).await;
    Some(soon(client.send(chat("hi"))).await.ok()?.status())
}

#[tokio::test]
async fn client_that_trusts_the_certificate_is_served_and_one_without_tls_is_not() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let router = speaking_tls(&worker, &authority.issue(), dir.path()).await;
    let address = router.addresses().data;
    for alpn in [&[][..], &["http/1.1"], &["http/1.1", "h2"]] {
        let stream = connect(address, authority.client(None, alpn)).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let expected =
            alpn.first().map(|_| if alpn.len() > 1 { b"h2".to_vec() } else { b"http/1.1".to_vec() });
        assert_eq!(agreed, expected, "{alpn:?}");
        if expected.as_deref() != Some(b"h2") {
            let mut client = TestClient::over(stream).await;
            let answers = [client.call(chat("hi")).await, client.call(chat("hi")).await];
            assert!(answers.iter().all(|answer| answer.text() == "hello"));
        }
    }
    assert_eq!(worker.seen()[0].version, Version::HTTP_11);
    assert!(connect(address, Authority::new("other").client(None, &[])).await.is_err());
    let mut plain = TestClient::connect(address).await;
    assert!(soon(plain.send(chat("hi"))).await.is_err());
    let failed = r#"sgl_router_tls_failed_handshakes_total{certificate="clients"} 2"#;
    until(async || router::metrics(&router).await.text().contains(failed)).await;
}

#[tokio::test]
async fn versions_that_are_too_old_are_refused() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let old = || {
        let builder = rustls::ClientConfig::builder_with_provider(sgl_upstream::crypto());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        std::sync::Arc::new(builder.with_root_certificates(authority.roots()).with_no_client_auth())
    };
    for (oldest, expected) in [("1.2", Some(StatusCode::OK)), ("1.3", None)] {
        let router = router::start(router::config_with(vec![worker.entry()], |config| {
            config.server.tls.cert_path = Some(certificate.clone());
            config.server.tls.key_path = Some(key.clone());
            config.server.tls.min_version = serde_json::from_value(oldest.into()).unwrap();
        }))
        .await;
        let address = router.addresses().data;
        assert_eq!(asks(connect(address, old()).await).await, expected, "{oldest}");
        assert_eq!(asks(connect(address, authority.client(None, &[])).await).await, Some(StatusCode::OK));
    }
}

#[tokio::test]
async fn clients_certificate_is_demanded_or_checked_where_there_is_one() {
    let (authority, clients, dir) =
        (Authority::new("own"), Authority::new("c"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let file = clients.file(dir.path());
    let [good, foreign] = [clients.issue_for(&["me"], 2096), Authority::new("x").issue_for(&["me"], 2096)];
    let expired = clients.issue_for(&["me"], 2020);
    for auth in ["required", "optional"] {
        let router = router::start(router::config_with(vec![worker.entry()], |config| {
            config.server.tls.cert_path = Some(certificate.clone());
            config.server.tls.key_path = Some(key.clone());
            config.server.tls.client_ca_path = Some(file.clone());
            config.server.tls.client_auth = serde_json::from_value(auth.into()).unwrap();
        }))
        .await;
        let asked = async |shown: Option<&Issued>| {
            asks(connect(router.addresses().data, authority.client(shown, &[])).await).await
        };
        assert_eq!(asked(Some(&good)).await, Some(StatusCode::OK), "{auth}");
        assert_eq!(asked(Some(&foreign)).await, None, "{auth}");
        assert_eq!(asked(Some(&expired)).await, None, "{auth}");
        let without = (auth == "optional").then_some(StatusCode::OK);
        assert_eq!(asked(None).await, without, "{auth}");
    }
}

#[tokio::test]
async fn streams_come_piece_by_piece_and_a_client_that_hangs_up_ends_them() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (response, pieces, ended) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = speaking_tls(&worker, &authority.issue(), dir.path()).await;
    let stream = connect(router.addresses().data, authority.client(None, &[])).await.unwrap();
    let client = TestClient::over(stream).await;
    stream_comes_and_ends(client, pieces, ended).await;
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
}

#[tokio::test]
async fn client_that_never_begins_its_handshake_is_closed_when_it_is_idle_for_too_long_and_at_the_end() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let mut config = router::config_with(vec![worker.entry()], |config| {
        config.server.tls.cert_path = Some(certificate);
        config.server.tls.key_path = Some(key);
    });
    config.proxy.client_idle = Duration::from_millis(50);
    let router = router::start(config.clone()).await;
    let mut silent = TcpStream::connect(router.addresses().data).await.unwrap();
    assert_eq!(soon(silent.read(&mut [0; 8])).await.unwrap(), 0);
    config.proxy.client_idle = Duration::from_secs(600);
    let router = router::start(config).await;
    let mut silent = TcpStream::connect(router.addresses().data).await.unwrap();
    until(async || router::metrics(&router).await.text().contains("sgl_router_client_connections 1")).await;
    soon(router.shut_down()).await;
    assert_eq!(soon(silent.read(&mut [0; 8])).await.unwrap(), 0);
}

#[tokio::test]
async fn operators_and_prometheus_have_tls_of_their_own() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::saying("hello").await;
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let router = router::start(router::config_with(vec![worker.entry()], |config| {
        for tls in [&mut config.admin.tls, &mut config.metrics.tls] {
            tls.cert_path = Some(certificate.clone());
            tls.key_path = Some(key.clone());
        }
    }))
    .await;
    let addresses = router.addresses();
    assert_eq!(call(addresses.data, chat("hi")).await.text(), "hello");
    for (address, path, expected) in [
        (addresses.admin, "/workers", "\"workers\""),
        (
            addresses.metrics,
            "/metrics",
            "sgl_router_tls_certificate_not_after_seconds{certificate=\"operators\"}",
        ),
    ] {
        let stream = connect(address, authority.client(None, &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = TestClient::over(stream).await.call(get(path)).await;
        assert!(answer.text().contains(expected), "{}", answer.text());
        assert!(soon(TestClient::connect(address).await.send(get(path))).await.is_err());
    }
}

/// The faults of these settings.
fn faults(set: impl FnOnce(&mut ServeArgs)) -> String {
    let mut args = ServeArgs::default();
    set(&mut args);
    configuration(&args).unwrap_err().to_string()
}

#[test]
fn files_that_cannot_be_used_are_told_by_flag_before_anything_starts() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let (_, other_key) = authority.issue().files(dir.path(), "other");
    let missing = dir.path().join("missing.pem");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let long = dir.path().join("long.pem");
    std::fs::write(&long, std::fs::read_to_string(&certificate).unwrap().repeat(11)).unwrap();
    let pair = |certificate: &std::path::Path, key: &std::path::Path| {
        faults(|args| {
            args.tls.tls_cert_path = Some(certificate.to_owned());
            args.tls.tls_key_path = Some(key.to_owned());
        })
    };
    for (told, expected) in [
        (pair(&certificate, &other_key), "(--tls-key-path): found"),
        (pair(&certificate, &other_key), "which is not the key of the certificate in"),
        (pair(&missing, &key), "(--tls-cert-path): found"),
        (pair(&missing, &key), "which cannot be read: No such file or directory"),
        (pair(&empty, &key), "which holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        (pair(&long, &key), "which holds 11 certificates: clients take chains of at most 10"),
        (pair(&certificate, &certificate), "which holds no private key in PEM form"),
        (pair(dir.path(), &key), "which cannot be read: it is no regular file"),
        (
            faults(|args| args.tls.tls_cert_path = Some(certificate.clone())),
            "server.tls.key_path: found none beside",
        ),
        (
            faults(|args| args.tls.client_key_path = Some(key.clone())),
            "upstream.tls.client_cert_path: found none",
        ),
        (
            faults(|args| args.tls.ca_cert_paths = vec![empty.clone()]),
            "ca_cert_paths[0] (--ca-cert-paths): found",
        ),
        (
            faults(|args| args.tls.tls_client_ca_path = Some(certificate.clone())),
            "only beside server.tls.cert_path",
        ),
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}
