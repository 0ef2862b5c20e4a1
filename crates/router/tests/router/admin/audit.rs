//! The audit log: who changed what, as it was and as it is.

use std::path::Path;

use http::StatusCode;
use serde_json::{Value, json};
use sgl_testkit::client::{call, get, with_method};
use sgl_testkit::process::{Process, command, output, stderr};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::until;
use tempfile::TempDir;

use crate::admin::api::{json as with_json, put};

/// The newest changes, the newest first.
async fn newest(router: &Process) -> Vec<Value> {
    let list = call(router.admin, get("/v1/audit")).await.json();
    list["entries"].as_array().expect("a list").clone()
}

fn written(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[tokio::test]
async fn changes_of_workers_and_plugins_are_told_with_before_and_after_and_are_in_the_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.jsonl");
    let mut router = Process::serve(&["--audit-file", file.to_str().unwrap()]).await;
    let admin = router.admin;
    let worker = json!({"url": "http://127.0.0.1:1", "weight": 2.0});
    let mut add = with_json("POST", "/workers", &worker);
    add.headers_mut().insert("user-agent", "agent/1".parse().unwrap());
    assert_eq!(call(admin, add).await.status, StatusCode::CREATED);
    let entry = &newest(&router).await[0];
    assert_eq!(
        (&entry["change"], &entry["done"], &entry["status"]),
        (&json!("POST /workers"), &json!(true), &json!(201))
    );
    assert!(entry["who"].as_str().unwrap().starts_with("127.0.0.1:"), "{entry}");
    assert_eq!((&entry["agent"], &entry["token"]), (&json!("agent/1"), &Value::Null));
    let changed = &entry["changed"][0];
    assert_eq!((&changed["what"], &changed["before"]), (&json!("worker http://127.0.0.1:1"), &Value::Null));
    assert_eq!((&changed["after"]["weight"], &changed["after"]["draining"]), (&json!(2.0), &json!(false)));

    call(admin, with_method("POST", "/workers/drain?url=http://127.0.0.1:1&force=true")).await;
    let changed = &newest(&router).await[0]["changed"];
    assert_eq!(
        (&changed[0]["before"]["draining"], &changed[0]["after"]["draining"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(changed.as_array().unwrap().len(), 1);

    assert!(call(admin, put("/v1/plugins/p", guest_choosing(0))).await.status.is_success());
    let changed = &newest(&router).await[0]["changed"][0];
    assert_eq!((&changed["what"], &changed["before"]), (&json!("plugin p"), &Value::Null));
    assert_eq!(changed["after"]["generations"][0]["digest"].as_str().unwrap().len(), 64);
    // A stream's status says nothing; the outcome is told all the same.
    let mut streamed = put("/v1/plugins/p", b"nonsense".to_vec());
    streamed.headers_mut().insert("accept", "application/x-ndjson".parse().unwrap());
    call(admin, streamed).await;
    until(async || newest(&router).await[0]["done"] == json!(false)).await;
    let entry = &newest(&router).await[0];
    assert_eq!((&entry["status"], &entry["changed"]), (&Value::Null, &Value::Null), "{entry}");
    assert!(!entry["reason"].as_str().unwrap().is_empty());
    let patch = with_json("PATCH", "/v1/plugins/p/config", &json!({"max_execution_time_ms": 20}));
    call(admin, patch).await;
    let entry = &newest(&router).await[0];
    assert_eq!(entry["change"], "PATCH /v1/plugins/p/config (max_execution_time_ms)");
    assert_eq!(entry["changed"][0]["before"]["generations"][0]["generation"], 1);

    let lines = written(&file);
    let told: Vec<Value> = newest(&router).await.into_iter().rev().collect();
    assert_eq!(lines, told);
    assert_eq!(lines.len(), 5);
    // What is there already stays, whoever starts next.
    router.signal("-TERM");
    router.lines_to_the_end().await;
    let router = Process::serve(&["--audit-file", file.to_str().unwrap()]).await;
    assert!(newest(&router).await.is_empty());
    call(router.admin, with_method("DELETE", "/workers?url=http://127.0.0.1:1")).await;
    let lines = written(&file);
    assert_eq!((lines.len(), &lines[5]["done"], &lines[5]["status"]), (6, &json!(false), &json!(404)));
}

#[tokio::test]
async fn trial_of_a_policy_is_told_with_its_name_share_and_bounds_also_if_it_is_refused() {
    let router = Process::serve(&[]).await;
    let choose = |name: &str| {
        let bounds = json!({"percent": 5.0, "min_secs": 3600, "min_decisions": 77});
        with_json("PUT", "/v1/policy", &json!({"name": name, "canary": bounds}))
    };
    call(router.admin, choose("least_load")).await;
    call(router.admin, choose("random")).await;
    let entries = newest(&router).await;
    for (entry, name, status) in [(&entries[1], "least_load", 200), (&entries[0], "random", 409)] {
        let what = entry["what"].as_str().unwrap_or_default();
        assert!(what.starts_with(&format!("{name}, 5 % first")), "{entry}");
        assert!(what.contains("3600 s") && what.contains("77 decisions"), "{what}");
        assert_eq!(entry["status"], status, "{entry}");
    }
}

#[tokio::test]
async fn commands_of_the_binary_say_what_they_are() {
    let router = Process::serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    let added = output(command(&["worker", "--admin-url", &admin, "add", "http://127.0.0.1:1"])).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let entry = &newest(&router).await[0];
    assert_eq!(entry["agent"], format!("sgl-router/{}", env!("CARGO_PKG_VERSION")), "{entry}");
}

#[tokio::test]
async fn audit_log_that_cannot_be_written_is_called_that() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    let mut router = Process::serve(&["--audit-file", folder.join("audit").to_str().unwrap()]).await;
    std::fs::remove_dir_all(&folder).unwrap();
    call(router.admin, with_json("POST", "/workers", &json!({"url": "http://127.0.0.1:1"}))).await;
    let line = router.logged("cannot be written").await;
    assert!(line.to_string().contains("the audit log cannot be written; the change stands"), "{line}");
    assert!(line.to_string().contains("was removed and cannot be made anew"), "{line}");
    assert!(!line.to_string().contains("access log"), "{line}");
}

#[tokio::test]
async fn token_is_told_by_its_name_only_if_it_is_the_right_one() {
    let dir = TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let router = Process::serve(&["--admin-token-file", token.to_str().unwrap()]).await;
    let with_token = |token: &str, mut request: http::Request<_>| {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let worker = json!({"url": "http://127.0.0.1:1", "api_key": "hush"});
    for token in ["wrong", "s3cret"] {
        call(router.admin, with_token(token, with_json("POST", "/workers", &worker))).await;
    }
    let list = call(router.admin, with_token("s3cret", get("/v1/audit"))).await;
    assert!(!list.text().contains("hush") && !list.text().contains("s3cret"), "{}", list.text());
    let list = list.json();
    let (right, wrong) = (&list["entries"][0], &list["entries"][1]);
    assert_eq!((&right["token"], &right["status"]), (&json!("admin"), &json!(201)));
    assert_eq!(
        (&wrong["token"], &wrong["status"], &wrong["changed"]),
        (&Value::Null, &json!(401), &Value::Null)
    );
    assert_eq!(call(router.admin, get("/v1/audit")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn reload_by_signal_is_told_with_what_it_changed() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("router.toml");
    std::fs::write(&config, "[[workers]]\nurl = \"http://127.0.0.1:1\"\n").unwrap();
    let router = Process::serve(&["--config", config.to_str().unwrap()]).await;
    std::fs::write(&config, "[[workers]]\nurl = \"http://127.0.0.1:1\"\nweight = 3.0\n").unwrap();
    router.signal("-HUP");
    until(async || !newest(&router).await.is_empty()).await;
    let entry = &newest(&router).await[0];
    assert_eq!((&entry["who"], &entry["change"]), (&json!("signal"), &json!("SIGHUP")));
    let changed = &entry["changed"][0];
    assert_eq!(changed["what"], "worker http://127.0.0.1:1");
    assert_eq!((&changed["before"]["weight"], &changed["after"]["weight"]), (&json!(1.0), &json!(3.0)));
}
