//! Keys: those that workers ask for, and those of clients.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use sgl_router::RunningRouter;
use sgl_router::config::{CheckedConfig, RouterConfig, Surroundings, WorkerEntry, check};
use sgl_testkit::client::{TestClient, Whole, call, chat, get, post};
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};
use sgl_testkit::waits::{soon, until};
use sha2::{Digest, Sha256};

fn checked(workers: Vec<WorkerEntry>, set: impl FnOnce(&mut RouterConfig)) -> CheckedConfig {
    let mut config = RouterConfig { workers, ..RouterConfig::default() };
    (config.server.port, config.metrics.port, config.admin.port) = (0, 0, 0);
    config.health.interval_secs = 0;
    config.health.poll_models = false;
    config.health.load_interval_ms = 0;
    set(&mut config);
    let surroundings = Surroundings { built_in_policies: &["round_robin"], ..Surroundings::default() };
    check(config, surroundings).expect("settings without faults")
}

fn with(request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    let mut request = request;
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

fn secret(text: &str) -> sgl_router::config::Secret {
    serde_json::from_value(text.into()).unwrap()
}

fn digest(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(name: &str, key: &str, limits: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{limits}\n", digest(key))
}

async fn guarded(worker: &Upstream, file: &Path, keys: &[String]) -> RunningRouter {
    std::fs::write(file, keys.concat()).unwrap();
    let file = file.to_owned();
    router::start(checked(vec![worker.entry()], |config| config.keys.clients_file = Some(file))).await
}

async fn ask(router: &RunningRouter, request: Request<Full<Bytes>>) -> Whole {
    call(router.addresses().data, request).await
}

fn bearer(key: &str) -> Request<Full<Bytes>> {
    with(chat("hi"), "authorization", &format!("Bearer {key}"))
}

#[tokio::test]
async fn workers_are_shown_their_key_with_requests_checks_and_questions() {
    let (all, own) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let entry = WorkerEntry { api_key: Some(secret("own-key")), ..own.entry() };
    let mut config = checked(vec![all.entry(), entry], |config| {
        config.keys.worker_api_key = Some(secret("key-of-all"));
        config.health.poll_models = true;
    });
    assert!(!format!("{config:?}").contains("key-of-all"), "{config:?}");
    assert!(!format!("{config:?}").contains("own-key"), "{config:?}");
    config.proxy.health.interval = Some(Duration::from_millis(10));
    let router = router::start(config).await;
    for worker in [&all, &own] {
        worker.checks(2).await;
        until(async || worker.asked("/v1/models") > 0).await;
    }
    for _ in 0..4 {
        assert_eq!(ask(&router, bearer("the clients own")).await.status, StatusCode::OK);
    }
    for (worker, key) in [(&all, "Bearer key-of-all"), (&own, "Bearer own-key")] {
        assert!(!worker.seen().is_empty());
        for seen in worker.seen() {
            assert_eq!(seen.headers["authorization"], key, "{}", seen.uri);
        }
        assert_eq!(worker.keys_of_checks(), [key], "health and models");
    }
    let told = call(router.addresses().admin, post("/flush_cache", "")).await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(own.seen().last().unwrap().headers["authorization"], "Bearer own-key");
    let shown = call(router.addresses().admin, get("/workers")).await;
    assert!(!shown.text().contains("own-key"), "{}", shown.text());
}

#[tokio::test]
async fn without_a_key_of_the_file_nothing_is_served_but_probes() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Upstream::saying("{}").await;
    let router = guarded(&worker, &dir.path().join("keys"), &[entry("team", "sk-1", "")]).await;
    for request in
        [chat("hi"), bearer("sk-2"), with(chat("hi"), "authorization", "Basic sk-1"), get("/v1/models")]
    {
        let refused = ask(&router, request).await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::UNAUTHORIZED, "invalid_api_key"));
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert!(!refused.text().contains("sk-2"), "{}", refused.text());
    }
    assert!(worker.seen().is_empty());
    for request in [bearer("sk-1"), with(post("/v1/messages", "{}"), "x-api-key", "sk-1")] {
        assert_eq!(ask(&router, request).await.status, StatusCode::OK);
    }
    for seen in worker.seen() {
        assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("x-api-key"));
    }
    for path in ["/health", "/readiness"] {
        assert_eq!(ask(&router, get(path)).await.status, StatusCode::OK, "{path}");
    }
    let page = router::metrics(&router).await;
    for line in ["sgl_router_unauthorized_requests_total 4", "key=\"team\",outcome=\"admitted\"} 2"] {
        assert!(page.text().contains(line), "{line} in {}", page.text());
    }
}

#[tokio::test]
async fn limits_of_a_key_are_its_own_and_say_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let usage = r#"{"usage": {"prompt_tokens": 700, "completion_tokens": 400}}"#;
    let worker = Upstream::start(move |_| async move { upstream::whole(200, usage) }).await;
    let keys = [
        entry("few", "sk-few", "requests_per_minute = 2"),
        entry("short", "sk-short", "tokens_per_minute = 1000"),
        entry("free", "sk-free", ""),
    ];
    let router = guarded(&worker, &dir.path().join("keys"), &keys).await;
    for (key, served, limit) in [("sk-few", 2, "requests_per_minute"), ("sk-short", 1, "tokens_per_minute")] {
        for _ in 0..served {
            assert_eq!(ask(&router, bearer(key)).await.status, StatusCode::OK);
        }
        let refused = ask(&router, bearer(key)).await;
        let expected = (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
        assert_eq!((refused.status, refused.code().as_str()), expected);
        assert!(refused.text().contains(limit), "{}", refused.text());
        let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }
    for _ in 0..5 {
        assert_eq!(ask(&router, bearer("sk-free")).await.status, StatusCode::OK);
    }
    let page = router::metrics(&router).await;
    for line in [
        "client_key_tokens_total{key=\"short\",kind=\"prompt\"} 700",
        "client_key_tokens_total{key=\"free\",kind=\"completion\"} 2000",
        "client_key_requests_total{key=\"few\",outcome=\"requests_per_minute\"} 1",
    ] {
        assert!(page.text().contains(line), "{line} in {}", page.text());
    }
}

#[tokio::test]
async fn tokens_of_a_stream_that_tells_no_usage_are_counted_by_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Upstream::start(|_| async {
        let mut events = upstream::whole(200, &"data: {\"choices\": []}\n\n".repeat(300));
        events.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        events
    })
    .await;
    let keys = [entry("short", "sk-1", "tokens_per_minute = 200")];
    let router = guarded(&worker, &dir.path().join("keys"), &keys).await;
    assert_eq!(ask(&router, bearer("sk-1")).await.status, StatusCode::OK);
    assert_eq!(ask(&router, bearer("sk-1")).await.code(), "rate_limit_exceeded");
}

#[tokio::test]
async fn request_counts_for_its_key_until_its_answer_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, gate) = Upstream::behind_a_gate().await;
    let keys = [entry("one", "sk-1", "max_concurrent_requests = 1"), entry("two", "sk-2", "")];
    let router = guarded(&worker, &dir.path().join("keys"), &keys).await;
    let mut first = TestClient::connect(router.addresses().data).await;
    let sending = first.call(bearer("sk-1"));
    let meanwhile = async {
        worker.arrived(1).await;
        let second = ask(&router, bearer("sk-1")).await;
        assert_eq!(
            (second.status, second.code().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")
        );
        gate.add_permits(3);
        assert_eq!(ask(&router, bearer("sk-2")).await.status, StatusCode::OK);
    };
    let (answer, ()) = tokio::join!(soon(sending), meanwhile);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(ask(&router, bearer("sk-1")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let worker = Upstream::saying("{}").await;
    let router = guarded(&worker, &file, &[entry("team", "sk-old", "")]).await;
    assert_eq!(ask(&router, bearer("sk-old")).await.status, StatusCode::OK);
    std::fs::write(&file, "nonsense sk-secret").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&router, bearer("sk-old")).await.status, StatusCode::OK, "those before go on");
    std::fs::write(&file, entry("team", "sk-new", "") + &entry("more", "sk-more", "")).unwrap();
    let is_new = async {
        while ask(&router, bearer("sk-new")).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(is_new).await;
    assert_eq!(ask(&router, bearer("sk-old")).await.status, StatusCode::UNAUTHORIZED);
    let page = router::metrics(&router).await;
    assert!(
        page.text().contains("key=\"team\",outcome=\"admitted\"} 3"),
        "it is the same key: {}",
        page.text()
    );
}

#[test]
fn key_file_of_a_worker_is_read_from_the_configuration_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let worker = WorkerEntry {
        url: "http://127.0.0.1:1".to_owned(),
        api_key_file: Some(file),
        ..WorkerEntry::default()
    };
    let config = checked(vec![worker], |_| {});
    assert_eq!(config.workers[0].api_key, Some(secret("from-a-file")));
}

#[test]
fn key_is_made_once_and_hashed_as_the_file_has_it() {
    let run = |args: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sgl-router"));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (_, made, _) = run(&["key", "new", "--name", "team-a", "--json"], "");
    let made: serde_json::Value = serde_json::from_str(&made).expect(&made);
    let key = made["key"].as_str().unwrap();
    assert_eq!(made["sha256"], digest(key).as_str());
    let (_, hashed, _) = run(&["key", "hash", "--name", "team-a"], &format!("{key}\n"));
    assert_eq!(hashed, format!("[[keys]]\nname = \"team-a\"\nsha256 = \"{}\"\n", digest(key)));
    let (_, told, beside) = run(&["key", "new", "--name", "team-a"], "");
    let key = beside.trim().rsplit(' ').next().unwrap();
    assert!(
        key.starts_with("sk-sgl-") && told.contains(&digest(key)) && !told.contains(key),
        "{told}{beside}"
    );
    assert!(!run(&["key", "hash", "--name", "team-a"], "").0, "there is no key");
    assert!(!run(&["key", "new", "--name", "a b"], "").0);
}

#[tokio::test]
async fn old_and_new_key_of_one_name_are_good_at_the_same_time_and_count_together() {
    let (dir, worker) = (tempfile::tempdir().unwrap(), Upstream::saying("{}").await);
    let file = dir.path().join("keys.toml");
    let both = format!("[[keys]]\nname = \"a\"\nsha256 = [\"{}\", \"{}\"]\n", digest("old"), digest("new"));
    let router = guarded(&worker, &file, &[both]).await;
    for key in ["old", "new", "old"] {
        assert_eq!(ask(&router, bearer(key)).await.status, StatusCode::OK, "{key}");
    }
    let page = router::metrics(&router).await;
    let lines: Vec<&str> = page
        .text()
        .lines()
        .filter(|line| line.contains("client_key_requests_total{key=\"a\",outcome=\"admitted\""))
        .collect();
    assert_eq!(lines, ["sgl_router_client_key_requests_total{key=\"a\",outcome=\"admitted\"} 3"]);
    std::fs::write(&file, entry("a", "new", "")).unwrap();
    until(async || ask(&router, bearer("old")).await.status == StatusCode::UNAUTHORIZED).await;
    assert_eq!(ask(&router, bearer("new")).await.status, StatusCode::OK);
}
