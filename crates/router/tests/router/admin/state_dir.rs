//! A router that was killed comes back with the last good set.

use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use serde_json::Value;
use sgl_testkit::client::{TestClient, call, get, post};
use sgl_testkit::process::{FREE_PORTS, Process, command, output, stderr};
use sgl_testkit::small_guests::{BASICS, guest_choosing};

use crate::admin::api::{options, put};

/// A guest whose `init` never comes to an end by itself.
fn endless() -> Vec<u8> {
    let text = format!(
        r#"(module {BASICS} (func (export "init") (loop $again (br $again)))
             (func (export "select_worker") (param i32 i32) (result i64) (i64.const 0)))"#
    );
    wat::parse_str(&text).expect("a module")
}

async fn show(router: &Process, name: &str) -> Value {
    call(router.admin, get(&format!("/v1/plugins/{name}"))).await.json()
}

async fn push(router: &Process, path: &str, wasm: Vec<u8>) -> Value {
    let answer = call(router.admin, put(path, wasm)).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    answer.json()
}

fn module_of(dir: &Path, pushed: &Value) -> PathBuf {
    dir.join("modules").join(format!("{}.wasm", pushed["digest"].as_str().expect("a digest")))
}

#[tokio::test]
async fn router_killed_during_a_push_comes_back_with_what_served() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    let router = Process::serve(&["--state-dir", dir]).await;
    push(&router, "/v1/plugins/p?max_execution_time_ms=44", guest_choosing(0)).await;
    let kept = push(&router, "/v1/plugins/p", guest_choosing(1)).await;
    let mut client = TestClient::connect(router.admin).await;
    let mut request = put("/v1/plugins/p?max_execution_time_ms=30000", endless());
    request.headers_mut().insert("accept", "application/x-ndjson".parse().unwrap());
    let mut body = client.send(request).await.unwrap().into_body();
    let mut seen = String::new();
    while !seen.contains("self_test") {
        let frame = body.frame().await.expect("a step").expect("a step");
        seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    router.kill();
    let router = Process::serve(&["--state-dir", dir, "--policy", "p"]).await;
    let view = show(&router, "p").await;
    assert_eq!(view["generations"][0]["digest"], kept["digest"]);
    assert_eq!(view["config"]["max_execution_time_ms"], 44);
    // The next change removes what the killed process left behind.
    push(&router, "/v1/plugins/q", guest_choosing(0)).await;
    assert_eq!(std::fs::read_dir(root.path().join("modules")).unwrap().count(), 2);
}

#[tokio::test]
async fn bad_file_of_the_policy_is_named_and_the_router_does_not_start() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    let router = Process::serve(&["--state-dir", dir]).await;
    let kept = push(&router, "/v1/plugins/p", guest_choosing(0)).await;
    push(&router, "/v1/plugins/q", guest_choosing(1)).await;
    router.kill();
    let bad = module_of(root.path(), &kept);
    std::fs::write(&bad, "nonsense").unwrap();
    let mut command = command(&["serve", "--state-dir", dir, "--policy", "p"]);
    command.args(FREE_PORTS);
    let ended = output(command).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains(bad.to_str().unwrap()), "{}", stderr(&ended));
    let mut router = Process::serve(&["--state-dir", dir, "--policy", "q"]).await;
    assert_eq!(call(router.admin, get("/v1/plugins/p")).await.status.as_u16(), 404);
    assert_eq!(show(&router, "q").await["in_use"], true);
    // Its log has said which file, before it served.
    push(&router, "/v1/plugins/p", guest_choosing(0)).await;
    router.logged("plugin loaded").await;
    router.kill();
    let router = Process::serve(&["--state-dir", dir, "--policy", "p"]).await;
    assert_eq!(show(&router, "p").await["generations"][0]["digest"], kept["digest"]);
}

#[tokio::test]
async fn rollbacks_and_removals_are_kept_too() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    let router = Process::serve(&["--state-dir", dir]).await;
    let first = push(&router, "/v1/plugins/p", guest_choosing(0)).await;
    push(&router, "/v1/plugins/p", guest_choosing(1)).await;
    push(&router, "/v1/plugins/q", guest_choosing(1)).await;
    let canary = options(&serde_json::json!({"rollout": {"mode": "canary", "min_secs": 600}}));
    call(router.admin, sgl_testkit::client::with_method("POST", "/v1/plugins/p/rollback")).await;
    call(router.admin, sgl_testkit::client::with_method("DELETE", "/v1/plugins/q")).await;
    push(&router, &format!("/v1/plugins/p?{canary}"), guest_choosing(1)).await;
    router.kill();
    let router = Process::serve(&["--state-dir", dir]).await;
    let list = call(router.admin, get("/v1/plugins")).await.json();
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["plugins"][0]["digest"], first["digest"]);
}

/// Pushes a plugin; what was answered, unless the router was gone first.
async fn try_push(admin: std::net::SocketAddr, name: String, wasm: Vec<u8>) -> Option<(String, Value)> {
    let mut client = TestClient::connect(admin).await;
    let answer = client.send(put(&format!("/v1/plugins/{name}"), wasm)).await.ok()?;
    let is_loaded = answer.status().is_success();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    is_loaded.then(|| (name, serde_json::from_slice(&body).expect("JSON")))
}

#[tokio::test]
async fn routers_killed_in_the_middle_of_pushes_come_back_with_all_that_was_answered() {
    let root = tempfile::tempdir().unwrap();
    let arguments = ["--state-dir", root.path().to_str().unwrap()];
    let mut kept: std::collections::BTreeMap<String, Value> = std::collections::BTreeMap::new();
    for round in 0..4_usize {
        let router = Process::serve(&arguments).await;
        let list = call(router.admin, get("/v1/plugins")).await.json();
        for (name, digest) in &kept {
            let is_it = |plugin: &&Value| plugin["name"] == **name;
            let found = list["plugins"].as_array().unwrap().iter().find(is_it);
            assert_eq!(
                found.map(|plugin| &plugin["digest"]),
                Some(digest),
                "{name} in round {round}: {list}"
            );
        }
        let mut pushes = tokio::task::JoinSet::new();
        for number in 0..6 {
            // Two modules under many names, and one that is refused.
            let wasm = guest_choosing(number % 2);
            pushes.spawn(try_push(router.admin, format!("r{round}-{number}"), wasm));
            pushes.spawn(try_push(router.admin, format!("bad{number}"), b"nonsense".to_vec()));
        }
        let mut answered = 0;
        while let Some(push) = pushes.join_next().await {
            let Some((name, view)) = push.expect("a task") else { continue };
            kept.insert(name, view["digest"].clone());
            answered += 1;
            if answered > round {
                break;
            }
        }
        router.kill();
        // Answers that had come before the end count, too.
        while let Some(push) = pushes.join_next().await {
            kept.extend(push.expect("a task").map(|(name, view)| (name, view["digest"].clone())));
        }
    }
    let router = Process::serve(&arguments).await;
    let list = call(router.admin, get("/v1/plugins")).await.json();
    let names: Vec<&str> =
        list["plugins"].as_array().unwrap().iter().filter_map(|plugin| plugin["name"].as_str()).collect();
    assert!(kept.keys().all(|name| names.contains(&name.as_str())), "{names:?} {kept:?}");
    assert!(names.iter().all(|name| name.starts_with('r')), "refused plugins are kept: {names:?}");
    let left = |folder: &Path| {
        std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"))
    };
    assert!(!left(root.path()) && !left(&root.path().join("modules")));
}

#[tokio::test]
async fn push_that_the_flags_outlive_says_so_and_the_restart_warns_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (state, file) = (root.path().join("state"), root.path().join("p.wasm"));
    std::fs::write(&file, guest_choosing(0)).unwrap();
    let (state, plugin) = (state.to_str().unwrap(), format!("p={}", file.display()));
    let flags = ["--state-dir", state, "--plugin", &plugin, "--policy", "p"];
    let router = Process::serve(&flags).await;
    let pushed = push(&router, "/v1/plugins/p", guest_choosing(1)).await;
    assert_eq!((&pushed["after_restart"], &pushed["in_use"]), (&"configured".into(), &true.into()));
    let other = push(&router, "/v1/plugins/q", guest_choosing(1)).await;
    assert_eq!((&other["after_restart"], &other["in_use"]), (&"kept".into(), &false.into()));
    router.kill();
    let (router, log) = Process::serve_and_log(&flags).await;
    let line = log.iter().find(|line| line.contains("wins over the state directory")).expect("a line");
    assert!(line.contains("\"WARN\"") && line.contains(pushed["digest"].as_str().unwrap()), "{line}");
    drop(router);
}

#[tokio::test]
async fn plugin_of_the_flags_is_not_kept_though_its_module_was_pushed_under_another_name() {
    let root = tempfile::tempdir().unwrap();
    let (state, file) = (root.path().join("state"), root.path().join("flags.wasm"));
    std::fs::write(&file, guest_choosing(0)).unwrap();
    let state = state.to_str().unwrap();
    let plugin = format!("flags={}", file.display());
    let router = Process::serve(&["--state-dir", state, "--plugin", &plugin]).await;
    push(&router, "/v1/plugins/pushed", guest_choosing(0)).await;
    router.kill();
    let router = Process::serve(&["--state-dir", state]).await;
    let list = call(router.admin, get("/v1/plugins")).await.json();
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["plugins"][0]["name"], "pushed");
}

#[tokio::test]
async fn worker_that_is_not_kept_is_added_with_a_warning() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let router = Process::serve(&["--state-dir", dir.to_str().unwrap()]).await;
    std::fs::remove_dir_all(&dir).unwrap();
    let body = || serde_json::json!({"url": "http://127.0.0.1:1"});
    let added = call(router.admin, post("/workers", &body().to_string())).await;
    assert_eq!(added.status, http::StatusCode::CREATED);
    let warning = added.json()["warnings"][0].as_str().expect("a warning").to_owned();
    assert!(warning.starts_with("not kept for a restart: ") && warning.contains("workers.json"), "{warning}");
    let admin = format!("http://{}", router.admin);
    let said = output(command(&["worker", "--admin-url", &admin, "rm", "http://127.0.0.1:1"])).await;
    assert!(said.status.success(), "{}", stderr(&said));
    let said = sgl_testkit::process::stdout(&said);
    assert!(said.starts_with("warning: not kept for a restart: "), "{said}");
}
