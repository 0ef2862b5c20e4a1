//! Command lines of other routers, run for real.

use http::{HeaderValue, StatusCode};
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::process::Process;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

#[tokio::test]
async fn first_example_of_sglang_router_serves_and_says_what_has_no_effect() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let (first, second) = (workers[0].url(), workers[1].url());
    let line =
        ["--worker-urls", &first, &second, "--policy", "cache_aware", "--retry-initial-backoff-ms", "9"];
    let (router, log) = Process::from_flags(&line).await;
    router.ready().await;
    let mut client = TestClient::connect(router.data).await;
    assert!(["a", "b"].contains(&client.call(chat("hi")).await.text()));
    let warned = log.iter().filter(|line| line.contains("\"WARN\"")).collect::<Vec<_>>();
    assert!(warned.len() == 1 && warned[0].contains("--retry-initial-backoff-ms"), "{log:#?}");
}

#[tokio::test]
async fn api_key_is_shown_to_workers_and_asked_of_clients() {
    let worker = Upstream::saying("ok").await;
    let url = worker.url();
    let (router, log) = Process::from_flags(&["--worker-urls", &url, "--api-key", "s3cret"]).await;
    router.ready().await;
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::UNAUTHORIZED);
    let mut request = chat("hi");
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer s3cret"));
    assert_eq!(call(router.data, request).await.text(), "ok");
    let seen = worker.seen();
    assert!(seen.iter().all(|seen| seen.headers["authorization"] == "Bearer s3cret"), "{seen:?}");
    assert!(!log.concat().contains("s3cret"), "{log:#?}");
    // For workers alone.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret").unwrap();
    let file = file.path().to_str().unwrap();
    let (router, _) = Process::from_flags(&["--worker-urls", &url, "--api-key-file", file]).await;
    router.ready().await;
    assert_eq!(call(router.data, chat("hi")).await.text(), "ok");
}

#[tokio::test]
async fn manual_keeps_a_key_at_its_worker_and_spreads_keys() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let (first, second) = (workers[0].url(), workers[1].url());
    let (router, _) = Process::from_flags(&["--worker-urls", &first, &second, "--policy", "manual"]).await;
    // Ready is a router with one of them.
    until(async || call(router.data, get("/readiness")).await.json()["healthy"] == 2).await;
    let mut client = TestClient::connect(router.data).await;
    let mut asked = async |key: &'static str| {
        let mut request = chat("hi");
        request.headers_mut().insert("x-smg-routing-key", HeaderValue::from_static(key));
        client.call(request).await.text().to_owned()
    };
    let homes = [asked("one").await, asked("two").await];
    assert_ne!(homes[0], homes[1], "a new key goes to the worker with the fewest");
    for _ in 0..5 {
        assert_eq!([asked("one").await, asked("two").await], homes);
    }
}
