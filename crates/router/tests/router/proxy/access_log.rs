//! The access log: a line for each request, whatever becomes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use sgl_router::RunningRouter;
use sgl_router::config::LineForm;
use sgl_testkit::client::{TestClient, call, chat, get, piece, post};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};
use sgl_testkit::waits::{soon, until};
use tempfile::TempDir;
use tokio::sync::Notify;

const EVENT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}]}\n\n";
const USAGE: &str =
    "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 12, \"completion_tokens\": 1}}\n\n";

async fn logging(worker: &Upstream, file: &Path, form: LineForm) -> RunningRouter {
    let file = file.to_str().expect("a path").to_owned();
    let config = router::config_with(vec![worker.entry()], |config| {
        config.metrics.tokens = true;
        config.access_log.file = Some(file);
        config.access_log.format = form;
    });
    router::start(config).await
}

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("access.log");
    (dir, file)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The lines, once there are so many.
async fn told(file: &Path, count: usize) -> Vec<Value> {
    until(async || lines(file).len() >= count).await;
    let lines = lines(file);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines.iter().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[tokio::test]
async fn request_is_told_of_with_its_worker_tokens_and_end() {
    let (_dir, file) = place();
    let worker = Upstream::start(|_| async {
        let (response, send, _) = upstream::stream();
        tokio::spawn(async move {
            for piece in [EVENT, USAGE, "data: [DONE]\n\n"] {
                let _ = send.send(Bytes::from(piece)).await;
            }
        });
        response
    })
    .await;
    let router = logging(&worker, &file, LineForm::Json).await;
    let mut request = chat("hi");
    for (name, value) in [("user-agent", "curl \"8\""), ("x-request-id", "r-1")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let answer = call(router.addresses().data, request).await;
    let line = &told(&file, 1).await[0];
    for (name, expected) in [
        ("client", Value::from("127.0.0.1")),
        ("method", "POST".into()),
        ("path", "/v1/chat/completions".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", answer.body.len().into()),
        ("end", "complete".into()),
        ("worker", worker.url().into()),
        ("prompt_tokens", 12.into()),
        ("completion_tokens", 1.into()),
        ("user_agent", "curl \"8\"".into()),
        ("request_id", "r-1".into()),
    ] {
        assert_eq!(line[name], expected, "{name} in {line}");
    }
    let (first, all) = (line["first_byte_ms"].as_f64().unwrap(), line["duration_ms"].as_f64().unwrap());
    assert!(first > 0.0 && all >= first, "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[tokio::test]
async fn refusals_and_answers_of_the_router_have_lines_too() {
    let (_dir, file) = place();
    let worker = Upstream::failing(503).await;
    let router = logging(&worker, &file, LineForm::Json).await;
    let data = router.addresses().data;
    assert_eq!(call(data, post("/v1/nothing?a=1", "")).await.code(), "not_found");
    call(data, get("/liveness")).await;
    call(data, chat("hi")).await;
    let lines = told(&file, 3).await;
    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/v1/nothing?a=1".into(), &404.into()));
    assert_eq!((&lines[0]["error"], &lines[0]["end"]), (&"not_found".into(), &"no_answer".into()));
    assert_eq!((&lines[1]["bytes"], &lines[1]["end"]), (&2.into(), &"complete".into()));
    // The worker's own.
    assert_eq!((&lines[2]["status"], &lines[2]["error"]), (&503.into(), &Value::Null));
    assert!(lines[2]["worker"].is_string(), "{}", lines[2]);
}

#[tokio::test]
async fn client_that_hangs_up_is_told_of_before_its_answer_and_within_it() {
    let (_dir, file) = place();
    let (hold, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (gate, came) = (Arc::clone(&hold), Arc::clone(&held));
    let worker = Upstream::start(move |seen| {
        let (gate, came) = (Arc::clone(&gate), Arc::clone(&came));
        async move {
            if seen.uri.path() == "/v1/completions" {
                came.notify_one();
                gate.notified().await;
            }
            let (response, send, dropped) = upstream::stream();
            tokio::spawn(async move {
                let _ = send.send(Bytes::from(EVENT)).await;
                dropped.notified().await;
                drop(send);
            });
            response
        }
    })
    .await;
    let router = logging(&worker, &file, LineForm::Json).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let mut body = soon(client.send(chat("hi"))).await.expect("an answer").into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some(EVENT));
    drop((client, body));
    let line = &told(&file, 1).await[0];
    assert_eq!((&line["status"], &line["end"]), (&200.into(), &"client_gone".into()));
    assert_eq!(line["bytes"], EVENT.len());
    let mut client = TestClient::connect(router.addresses().data).await;
    {
        let asking = client.send(post("/v1/completions", "{}"));
        tokio::select! {
            _ = asking => panic!("the worker does not answer"),
            () = held.notified() => {}
        }
    }
    drop(client);
    let line = &told(&file, 2).await[1];
    assert_eq!(
        (&line["status"], &line["end"], &line["bytes"]),
        (&499.into(), &"client_gone".into(), &0.into())
    );
    assert_eq!(line["worker"], worker.url(), "who kept it waiting is told");
}

#[tokio::test]
async fn form_of_web_servers_holds_the_request_in_its_fields() {
    let (_dir, file) = place();
    let worker = Upstream::saying("{}").await;
    let router = logging(&worker, &file, LineForm::Combined).await;
    call(router.addresses().data, chat("hi")).await;
    until(async || lines(&file).len() == 1).await;
    let line = lines(&file).remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"POST /v1/chat/completions HTTP/1.1\" 200 2 \"-\" \"-\""), "{line}");
}

#[tokio::test]
async fn file_that_is_renamed_or_removed_is_made_anew() {
    let (dir, file) = place();
    let worker = Upstream::saying("{}").await;
    let router = logging(&worker, &file, LineForm::Json).await;
    let data = router.addresses().data;
    call(data, chat("1")).await;
    told(&file, 1).await;
    let old = dir.path().join("access.log.1");
    std::fs::rename(&file, &old).unwrap();
    call(data, chat("2")).await;
    call(data, chat("3")).await;
    told(&file, 2).await;
    told(&old, 1).await;
    std::fs::remove_file(&file).unwrap();
    call(data, chat("4")).await;
    told(&file, 1).await;
    let page = router::metrics(&router).await;
    let written = "sgl_router_access_log_lines_total{outcome=\"written\"} 4";
    assert!(page.text().lines().any(|line| line == written), "{}", page.text());
}

#[tokio::test]
async fn line_that_only_a_removed_file_would_get_counts_as_failed_until_there_is_one_again() {
    let (dir, _) = place();
    let folder = dir.path().join("logs");
    let file = folder.join("access.log");
    std::fs::create_dir(&folder).unwrap();
    let worker = Upstream::saying("{}").await;
    let router = logging(&worker, &file, LineForm::Json).await;
    let data = router.addresses().data;
    let counted = async |outcome: &str, count: u32| {
        let line = format!("sgl_router_access_log_lines_total{{outcome=\"{outcome}\"}} {count}");
        until(async || router::metrics(&router).await.text().lines().any(|found| found == line)).await;
    };
    call(data, chat("1")).await;
    counted("written", 1).await;
    std::fs::remove_dir_all(&folder).unwrap();
    call(data, chat("2")).await;
    counted("failed", 1).await;
    std::fs::create_dir(&folder).unwrap();
    call(data, chat("3")).await;
    counted("written", 2).await;
    counted("failed", 1).await;
    told(&file, 1).await;
}

#[tokio::test]
async fn last_lines_are_written_when_the_router_stops() {
    let (_dir, file) = place();
    let worker = Upstream::saying("{}").await;
    let router = logging(&worker, &file, LineForm::Json).await;
    for _ in 0..20 {
        call(router.addresses().data, chat("hi")).await;
    }
    router.shut_down().await;
    told(&file, 20).await;
}

#[tokio::test]
async fn sighup_opens_a_renamed_file_anew_without_a_request() {
    let (dir, file) = place();
    let worker = Upstream::saying("{}").await;
    let (url, name) = (worker.url(), file.to_str().unwrap());
    let (router, _) = Process::from_flags(&["--worker-urls", &url, "--access-log", name]).await;
    router.ready().await;
    call(router.data, chat("hi")).await;
    until(async || lines(&file).iter().any(|line| line.contains("chat"))).await;
    std::fs::rename(&file, dir.path().join("access.log.1")).unwrap();
    router.signal("-HUP");
    until(async || file.exists()).await;
}
