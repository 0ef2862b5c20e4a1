//! Metrics of tokens and of the times that they take, of refusals, of the build and of the process.

use bytes::Bytes;
use http::StatusCode;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, chat, post};
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};

const EVENT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}], \"usage\": null}\n\n";
const USAGE: &str = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 12, \"completion_tokens\": 3, \"prompt_tokens_details\": {\"cached_tokens\": 8}}}\n\n";
const WHOLE: &str = r#"{"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}"#;

/// A worker that answers chats with a stream and completions with a whole answer.
async fn worker() -> Upstream {
    Upstream::start(|seen| async move {
        if seen.uri.path() == "/v1/completions" {
            return upstream::whole(200, WHOLE);
        }
        let (response, send, _) = upstream::stream();
        tokio::spawn(async move {
            for piece in [EVENT, EVENT, EVENT, USAGE, "data: [DONE]\n\n"] {
                let _ = send.send(Bytes::from(piece)).await;
            }
        });
        response
    })
    .await
}

fn serving(worker: &Upstream, model: &str) -> WorkerEntry {
    WorkerEntry { model: Some(model.to_owned()), ..worker.entry() }
}

fn assert_lines(page: &str, lines: &[String]) {
    for line in lines {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
}

fn completion(model: &str) -> http::Request<http_body_util::Full<Bytes>> {
    post("/v1/completions", &format!("{{\"prompt\": \"x\", \"model\": \"{model}\"}}"))
}

#[tokio::test]
async fn tokens_and_their_times_are_told_by_model_and_worker() {
    let [worker, other] = [worker().await, worker().await];
    let entries = vec![serving(&worker, "m"), serving(&other, "n")];
    let router = router::start(router::config_with(entries, |config| config.metrics.tokens = true)).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..2 {
        assert!(client.call(chat("hi")).await.text().contains("[DONE]"));
    }
    assert_eq!(client.call(completion("n")).await.text(), WHOLE);
    let page = router::metrics(&router).await;
    let (worker, other) = (worker.url(), other.url());
    let tokens = |worker: &str, model: &str, kind: &str, count: u32| {
        format!(
            "sgl_router_worker_tokens_total{{worker=\"{worker}\",model=\"{model}\",kind=\"{kind}\"}} {count}"
        )
    };
    assert_lines(
        page.text(),
        &[
            tokens(&worker, "m", "prompt", 24),
            tokens(&worker, "m", "cached", 16),
            tokens(&worker, "m", "completion", 6),
            tokens(&other, "n", "prompt", 10),
            tokens(&other, "n", "completion", 2),
            "sgl_router_time_to_first_token_seconds_count{model=\"m\"} 2".to_owned(),
            "sgl_router_time_per_token_seconds_count{model=\"m\"} 2".to_owned(),
        ],
    );
    // What came whole tells nothing of the time of one token.
    assert!(!page.text().contains("seconds_count{model=\"n\"}"), "{}", page.text());
}

#[tokio::test]
async fn only_times_to_first_tokens_are_told_where_nobody_reads_counts() {
    let worker = worker().await;
    let router = router::start(router::config(vec![serving(&worker, "m")])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    assert!(client.call(chat("hi")).await.text().contains("[DONE]"));
    let page = router::metrics(&router).await;
    assert_lines(page.text(), &["sgl_router_time_to_first_token_seconds_count{model=\"m\"} 1".to_owned()]);
    assert!(!page.text().contains("worker_tokens_total{"), "{}", page.text());
    assert!(!page.text().contains("time_per_token_seconds_count"), "{}", page.text());
}

#[tokio::test]
async fn names_that_clients_make_up_do_not_become_labels() {
    let [any, m, n] = [worker().await, worker().await, worker().await];
    // Two models have names matter; the third worker may serve any.
    let entries = vec![any.entry(), serving(&m, "m"), serving(&n, "n")];
    let router = router::start(router::config_with(entries, |config| config.metrics.tokens = true)).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for number in 0..5 {
        assert_eq!(client.call(completion(&format!("made-up-{number}"))).await.status, StatusCode::OK);
    }
    let page = router::metrics(&router).await;
    assert!(!page.text().contains("made-up"), "{}", page.text());
    let line = format!(
        "sgl_router_worker_tokens_total{{worker=\"{}\",model=\"other\",kind=\"prompt\"}} 50",
        any.url()
    );
    assert_lines(page.text(), &[line]);
}

#[tokio::test]
async fn refusals_are_told_by_code_and_the_build_and_the_process_of_themselves() {
    let router = router::over(&[]).await;
    let data = router.addresses().data;
    for _ in 0..2 {
        assert_eq!(call(data, chat("hi")).await.code(), "no_worker_available");
    }
    assert_eq!(call(data, post("/v1/nothing", "")).await.code(), "not_found");
    assert_eq!(call(data, post("/v1/models", "")).await.code(), "method_not_allowed");
    let page = router::metrics(&router).await;
    let refused =
        |code: &str, count: u32| format!("sgl_router_refused_requests_total{{code=\"{code}\"}} {count}");
    assert_lines(
        page.text(),
        &[refused("no_worker_available", 2), refused("not_found", 1), refused("method_not_allowed", 1)],
    );
    let build = format!("sgl_router_build_info{{version=\"{}\",commit=\"", env!("CARGO_PKG_VERSION"));
    let line = page.text().lines().find(|line| line.starts_with(&build)).expect("what was built");
    assert!(line.contains("abi=\"1\"") && line.contains("wasmtime=\"") && line.ends_with(" 1.0"), "{line}");
    if cfg!(target_os = "linux") {
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            let of_name = |line: &&str| line.split_whitespace().next() == Some(name);
            let line = page.text().lines().find(of_name).expect(name);
            let value: f64 = line.split_whitespace().last().unwrap().parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }
}
