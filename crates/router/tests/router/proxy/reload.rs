//! SIGHUP, and what a restart comes back with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use sgl_api::CircuitState;
use sgl_router::config::WorkerEntry;
use sgl_router::internals::{CircuitPass, Verdict};
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::process::Process;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::{Worker, WorkerRole};
use tokio::sync::Semaphore;

use crate::proxy::plugins::{SECOND_WORKER, guest};

/// Writes a configuration with these workers, and a plugin if there is one.
fn configure(file: &Path, workers: &[&str], rest: &str) {
    let workers: String = workers.iter().map(|url| format!("[[workers]]\nurl = \"{url}\"\n")).collect();
    std::fs::write(file, format!("{rest}\n{workers}")).unwrap();
}

async fn answers(router: &Process, text: &str) -> bool {
    call(router.data, chat("hi")).await.text() == text
}

#[tokio::test]
async fn hangup_reloads_workers_and_keeps_what_serves_if_the_file_is_bad() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&first.url()], "");
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    assert!(answers(&router, "first").await);

    configure(&file, &["not a url"], "");
    router.signal("-HUP");
    router.logged("nothing reloaded").await;
    assert!(answers(&router, "first").await);

    configure(&file, &[&second.url()], "");
    router.signal("-HUP");
    router.logged("draining, then removing").await;
    assert!(answers(&router, "second").await && !answers(&router, "first").await);

    router.signal("-TERM");
    assert!(router.child.wait().unwrap().success(), "it still ends by the other signals");
}

#[tokio::test]
async fn hangup_names_each_changed_key_that_needs_a_restart_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let (file, key) = (dir.path().join("router.toml"), dir.path().join("key"));
    std::fs::write(&key, "before").unwrap();
    std::fs::write(&file, format!("[keys]\nworker_api_key_file = {key:?}\n[health]\ninterval_secs = 9\n"))
        .unwrap();
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.signal("-HUP");
    router.logged("\"left\":0").await;

    std::fs::write(&key, "after").unwrap();
    std::fs::write(&file, format!("policy = \"random\"\n[keys]\nworker_api_key_file = {key:?}\n")).unwrap();
    for _ in 0..2 {
        router.signal("-HUP");
        router.logged("\"key\":\"health.interval_secs\",\"before\":\"9\",\"now\":\"10\"").await;
        router.logged("\"key\":\"policy\",\"before\":\"round_robin\",\"now\":\"random\"").await;
        router.logged("\"key\":\"keys.worker_api_key\",\"before\":\"***\",\"now\":\"***\"").await;
        router.logged("\"left\":3").await;
    }
}

#[tokio::test]
async fn worker_that_hangup_changes_serves_on_without_waiting_for_a_check() {
    let worker = Upstream::saying("fine").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&worker.url()], "");
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    // A new worker would never pass.
    worker.set_health(500);
    std::fs::write(&file, format!("[[workers]]\nurl = \"{}\"\nweight = 2.0\n", worker.url())).unwrap();
    router.signal("-HUP");
    router.logged("changed by the configuration").await;
    assert!(answers(&router, "fine").await);
}

#[tokio::test]
async fn changed_worker_is_the_same_in_all_that_was_not_changed() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    worker.serve("/v1/models", 200, r#"{"data": [{"id": "learnt"}]}"#);
    let mut config = router::learning(vec![worker.entry()]);
    config.proxy.circuit.failures = 1;
    config.proxy.shutdown = Duration::from_secs(60);
    let router = router::start(config).await;
    let (data, backends) = (router.addresses().data, router.proxy().backends());
    let lists = async || call(data, get("/v1/models")).await.text().contains("learnt");
    until(lists).await;
    worker.serve("/v1/models", 0, "");
    let mut client = TestClient::connect(data).await;
    let send = async { pieces.send("data: {}\n\n".into()).await.unwrap() };
    let (answer, ()) = soon(async { tokio::join!(client.send(chat("hi")), send) }).await;
    let before = router::target(&router, &worker.url()).unwrap();
    before.circuit().fail(CircuitPass::Ordinary);
    before.count(Verdict::Failed);

    let entry = WorkerEntry { weight: 3.0, ..worker.entry() };
    let after = backends.change(&entry).unwrap().unwrap();
    assert_eq!((after.worker().weight(), after.worker().load(), after.outcomes()), (3.0, 1, (0, 1)));
    assert_eq!(after.circuit().state(), CircuitState::Open);
    before.circuit().half_opened().await;
    assert!(lists().await, "its models are still known");

    // Who removes it means it also if it is changed meanwhile.
    let removed = backends.retire(&worker.url()).unwrap();
    let after = backends.change(&worker.entry()).unwrap().unwrap();
    assert!(after.worker().is_draining());
    drop((client, pieces, answer));
    soon(removed).await.unwrap();
    assert!(router::target(&router, &worker.url()).is_none());
    assert!(backends.change(&entry).unwrap().is_none(), "it is not there");
}

#[tokio::test]
async fn hangup_reads_modules_again_whatever_their_size_and_time_say() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("router.toml"), dir.path().join("mine.wasm"));
    let write = |index: u8| {
        let module =
            guest(&format!("(i32.store8 (i32.const 18) (i32.const {index})) (i64.const 0x12_0000_0001)"));
        let before = path.metadata().and_then(|facts| facts.modified()).ok();
        std::fs::write(&path, module).unwrap();
        if let Some(before) = before {
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
        }
        path.metadata().unwrap().len()
    };
    let length = write(0);
    let plugin = format!("[[plugins]]\nname = \"mine\"\nmodule_path = \"{}\"\n", path.display());
    configure(&file, &[&first.url(), &second.url()], &plugin);
    let mut router = Process::serve(&["--config", file.to_str().unwrap(), "--policy", "mine"]).await;
    router.ready().await;
    until(async || answers(&router, "first").await).await;
    assert_eq!(write(1), length);
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    until(async || answers(&router, "second").await).await;
}

#[tokio::test]
async fn hangup_reloads_a_plugin_whose_file_has_changed_and_unloads_one_that_is_gone() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let dir = tempfile::tempdir().unwrap();
    let (file, module) = (dir.path().join("router.toml"), dir.path().join("mine.wasm"));
    std::fs::write(&module, guest("(i32.store8 (i32.const 18) (i32.const 0)) (i64.const 0x12_0000_0001)"))
        .unwrap();
    let plugin =
        |name: &str| format!("[[plugins]]\nname = \"{name}\"\nmodule_path = \"{}\"\n", module.display());
    let urls = [first.url(), second.url()];
    let both = format!("{}{}", plugin("mine"), plugin("other"));
    let workers = [&*urls[0], &*urls[1]];
    configure(&file, &workers, &both);
    let arguments = ["--config", file.to_str().unwrap(), "--policy", "mine"];
    let mut router = Process::serve(&arguments).await;
    router.ready().await;
    until(async || answers(&router, "first").await).await;

    std::fs::write(&module, b"no module").unwrap();
    router.signal("-HUP");
    router.logged("not loaded; what served goes on").await;
    assert!(answers(&router, "first").await);

    std::fs::write(&module, guest(SECOND_WORKER)).unwrap();
    configure(&file, &workers, &plugin("mine"));
    router.signal("-HUP");
    router.logged("unloaded: not configured any more").await;
    until(async || answers(&router, "second").await).await;
}

#[tokio::test]
async fn worker_that_an_operator_added_is_there_after_a_restart_until_it_is_removed() {
    let worker = Upstream::saying("kept").await;
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--state-dir", dir.path().to_str().unwrap()];
    let router = Process::serve(&arguments).await;
    let body = format!("{{\"url\": \"{}\"}}", worker.url());
    let added = call(router.admin, change("POST", "/workers", &body)).await;
    assert_eq!(added.status, StatusCode::CREATED);
    // Killed, as a crash would.
    drop(router);

    let router = Process::serve(&arguments).await;
    router.ready().await;
    assert!(answers(&router, "kept").await);
    let uri = format!("/workers?url={}", worker.url());
    let removed = call(router.admin, change("DELETE", &uri, "")).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    drop(router);

    let router = Process::serve(&arguments).await;
    let refused = call(router.data, chat("hi")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
}

/// Health checks ask another path, which a [`late`] worker answers when it is told to.
const CHECKS: &str = "[health]\nendpoint = \"/late\"\ninterval_secs = 1\ntimeout_secs = 60\n";

/// One check at the beginning is all there is within a test.
const CHECKS_ONCE: &str = "[health]\ninterval_secs = 3600\n";

/// A worker that answers its first health check once somebody adds a permit.
async fn late(body: &'static str) -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&gate);
    let worker = Upstream::start(move |seen| {
        let permits = Arc::clone(&permits);
        async move {
            if seen.uri.path() == "/late" {
                drop(permits.acquire().await.expect("it stays open"));
            }
            upstream::whole(200, body)
        }
    });
    (worker.await, gate)
}

#[tokio::test]
async fn no_request_is_refused_while_hangup_replaces_all_workers() {
    let first = Upstream::saying("first").await;
    let (second, gate) = late("second").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&first.url()], CHECKS);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;

    let (address, over) = (router.data, Arc::new(AtomicBool::new(false)));
    let is_over = Arc::clone(&over);
    let traffic = tokio::spawn(async move {
        let mut client = TestClient::connect(address).await;
        while !is_over.load(Ordering::SeqCst) {
            let answer = client.call(chat("hi")).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
    });
    configure(&file, &[&second.url()], CHECKS);
    router.signal("-HUP");
    router.logged("serves on until the configured can").await;
    router.logged("\"left\":0,\"leaving\":1").await;
    second.arrived(1).await;
    for _ in 0..3 {
        assert!(answers(&router, "first").await);
    }
    gate.add_permits(1);
    router.logged("draining, then removing").await;
    assert!(answers(&router, "second").await && answers(&router, "second").await);
    over.store(true, Ordering::SeqCst);
    soon(traffic).await.unwrap();
}

#[tokio::test]
async fn workers_leave_in_the_end_if_none_of_the_file_passes_its_checks() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    second.set_health(500);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    let checks = "[health]\ninterval_secs = 1\ntimeout_secs = 1\nfailure_threshold = 1\n";
    configure(&file, &[&first.url()], checks);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    configure(&file, &[&second.url()], checks);
    router.signal("-HUP");
    router.logged("serves on until the configured can").await;
    router.logged("cannot take their place").await;
    router.logged("draining, then removing").await;
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn second_hangup_replaces_what_the_first_one_waits_for() {
    let first = Upstream::saying("first").await;
    let (second, _gate) = late("second").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&first.url()], CHECKS);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    for _ in 0..2 {
        configure(&file, &[&second.url()], CHECKS);
        router.signal("-HUP");
        router.logged("\"leaving\":1").await;
        assert!(answers(&router, "first").await);
    }
    configure(&file, &[&first.url()], CHECKS);
    router.signal("-HUP");
    router.logged(&format!("\"worker\":\"{}\",\"is_there\":true", second.url())).await;
    router.logged("\"leaving\":0").await;
    assert!(answers(&router, "first").await);
}

#[tokio::test]
async fn hangup_takes_a_worker_back_that_still_has_requests() {
    let first = Upstream::start(|seen| async move {
        if seen.json().to_string().contains("hold") {
            std::future::pending().await
        }
        upstream::whole(200, "first")
    })
    .await;
    let second = Upstream::saying("second").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&first.url()], CHECKS_ONCE);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    let held = tokio::spawn(call(router.data, chat("hold")));
    first.arrived(1).await;
    configure(&file, &[&second.url()], CHECKS_ONCE);
    router.signal("-HUP");
    router.logged("draining, then removing").await;
    assert!(answers(&router, "second").await);
    configure(&file, &[&first.url()], CHECKS_ONCE);
    router.signal("-HUP");
    router.logged("added by the configuration").await;
    router.logged(&format!("\"worker\":\"{}\",\"is_there\":true", second.url())).await;
    assert!(answers(&router, "first").await);
    assert!(!held.is_finished(), "it goes on");
    held.abort();
}

#[tokio::test]
async fn worker_may_leave_once_others_are_judged_and_one_has_its_role_and_its_models() {
    let mut workers = Vec::new();
    for model in ["red", "blue", "red", "blue"] {
        let worker = Upstream::saying("fine").await;
        workers.push((WorkerEntry { model: Some(model.to_owned()), ..worker.entry() }, worker));
    }
    let entry = |index: usize| workers[index].0.clone();
    let urls = |indexes: &[usize]| indexes.iter().map(|index| workers[*index].1.url()).collect::<Vec<_>>();
    workers[3].1.set_health(500);
    let mut config = router::checking(vec![entry(0), entry(1)]);
    (config.proxy.health.timeout, config.proxy.health.failures) = (Duration::from_secs(1), 1);
    let router = router::start(config).await;
    let backends = router.proxy().backends();
    let is_fit = async |index: usize| router::target(&router, &workers[index].1.url()).unwrap().is_fit();
    until(async || is_fit(0).await && is_fit(1).await).await;
    backends.add(&entry(2)).unwrap();
    backends.add(&entry(3)).unwrap();
    let ready = |leaving: &[usize], staying: &[usize]| {
        let succession = backends.succession(urls(leaving), urls(staying));
        async move { soon(succession.ready()).await }
    };
    assert!(!backends.succession(urls(&[0]), urls(&[2, 3])).is_ready(), "none is judged");
    assert!(ready(&[0], &[2, 3]).await);
    assert!(!backends.succession(urls(&[1]), urls(&[2, 3])).is_ready(), "nobody else has blue");
    assert!(!ready(&[0, 1], &[2, 3]).await, "its time is over");
    assert!(backends.succession(urls(&[1]), urls(&[2])).is_ready(), "the file wants no blue");
    assert!(backends.succession(urls(&[0, 1]), urls(&[])).is_ready(), "the file wants nobody");
    let red_prefill = WorkerEntry { role: WorkerRole::Prefill, bootstrap_port: Some(1), ..entry(2) };
    backends.change(&red_prefill).unwrap();
    assert!(!backends.succession(urls(&[0]), urls(&[2, 3])).is_ready(), "nobody else has its role");
    backends.drain(&workers[0].1.url());
    assert!(backends.succession(urls(&[0]), urls(&[2, 3])).is_ready(), "it serves nobody");
}

/// A request of an operator.
fn change(method: &str, uri: &str, body: &str) -> Request<http_body_util::Full<bytes::Bytes>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(http_body_util::Full::new(bytes::Bytes::from(body.to_owned())))
        .unwrap()
}

#[tokio::test]
async fn worker_that_an_operator_added_stays_though_the_file_names_it_for_a_while() {
    let worker = Upstream::saying("operator's").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[], CHECKS_ONCE);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    let body = format!("{{\"url\": \"{}\", \"weight\": 2.0}}", worker.url());
    assert_eq!(call(router.admin, change("POST", "/workers", &body)).await.status, StatusCode::CREATED);
    router.ready().await;
    for workers in [&[&*worker.url()][..], &[]] {
        configure(&file, workers, CHECKS_ONCE);
        router.signal("-HUP");
        let lines = router.lines_until("reloaded the configuration").await;
        assert!(!lines.iter().any(|line| line.contains("ERROR")), "{lines:?}");
    }
    let listed = &call(router.admin, get("/workers")).await.json()["workers"][0];
    assert_eq!((&listed["weight"], &listed["draining"]), (&2.0.into(), &false.into()), "{listed}");
    assert!(answers(&router, "operator's").await);
}

#[tokio::test]
async fn entry_that_changes_while_an_operator_removes_its_worker_takes_it_back() {
    let worker = Upstream::start(|seen| async move {
        if seen.json().to_string().contains("hold") {
            std::future::pending().await
        }
        upstream::whole(200, "fine")
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&worker.url()], CHECKS_ONCE);
    let mut router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    let held = tokio::spawn(call(router.data, chat("hold")));
    worker.arrived(1).await;
    let removed = call(router.admin, change("DELETE", &format!("/workers?url={}", worker.url()), "")).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    configure(&file, &[&worker.url()], CHECKS_ONCE);
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    assert!(!answers(&router, "fine").await, "an unchanged entry does not speak against an operator");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}weight = 2.0\n")).unwrap();
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    assert!(answers(&router, "fine").await);
    held.abort();
}
