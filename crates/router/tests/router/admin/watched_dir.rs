//! The watched plugin directory.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{call, get};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::until;
use sglang_router_rs::policies::PolicyFactory;

async fn watching(dir: &Path) -> RunningRouter {
    let mut config = router::config(Vec::new());
    (config.plugin_dir, config.watch_plugin_dir) = (Some(dir.to_owned()), true);
    RunningRouter::start(config, &PolicyFactory::new(), Arc::new(Metrics::new())).await.expect("a router")
}

async fn show(router: &RunningRouter, name: &str) -> Value {
    call(router.addresses().admin, get(&format!("/v1/plugins/{name}"))).await.json()
}

/// A plugin whose appearance shows that everything before it was seen.
async fn mark(router: &RunningRouter, dir: &Path, name: &str) {
    std::fs::write(dir.join(format!("{name}.wasm")), guest_choosing(0)).expect("a file");
    until(async || show(router, name).await["state"] == "serving").await;
}

#[tokio::test]
async fn each_change_is_one_generation_whether_renamed_or_written_slowly() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let router = watching(dir).await;
    std::fs::write(dir.join("p.wasm"), guest_choosing(0)).unwrap();
    until(async || show(&router, "p").await["swaps"] == 0).await;
    let staged = dir.join(".p.new");
    std::fs::write(&staged, guest_choosing(1)).unwrap();
    std::fs::rename(&staged, dir.join("p.wasm")).unwrap();
    until(async || show(&router, "p").await["swaps"] == 1).await;
    // Byte by byte, in place.
    let mut file = std::fs::File::create(dir.join("p.wasm")).unwrap();
    for byte in guest_choosing(2) {
        file.write_all(&[byte]).unwrap();
        tokio::task::yield_now().await;
    }
    drop(file);
    until(async || show(&router, "p").await["swaps"] == 2).await;
    std::fs::write(dir.join("p.toml"), "max_execution_time_ms = 33").unwrap();
    until(async || show(&router, "p").await["config"]["max_execution_time_ms"] == 33).await;
    // The same content once more is no change.
    std::fs::write(dir.join("p.wasm"), guest_choosing(2)).unwrap();
    mark(&router, dir, "mark").await;
    assert_eq!(show(&router, "p").await["swaps"], 3);
}

#[tokio::test]
async fn bad_or_missing_file_leaves_what_serves() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let router = watching(dir).await;
    mark(&router, dir, "p").await;
    let before = show(&router, "p").await["generations"].clone();
    std::fs::write(dir.join("p.wasm"), "nonsense").unwrap();
    mark(&router, dir, "mark1").await;
    assert_eq!(show(&router, "p").await["generations"][0]["digest"], before[0]["digest"]);
    std::fs::remove_file(dir.join("p.wasm")).unwrap();
    mark(&router, dir, "mark2").await;
    let view = show(&router, "p").await;
    assert_eq!((&view["state"], &view["swaps"]), (&"serving".into(), &0.into()));
}

#[tokio::test]
async fn file_that_was_bad_at_the_start_is_told_once_and_settings_without_a_module_too() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    std::fs::write(dir.join("bad.wasm"), "nonsense").unwrap();
    std::fs::write(dir.join("worse.wasm"), guest_choosing(0)).unwrap();
    std::fs::write(dir.join("worse.toml"), "a = 1\nb = 2").unwrap();
    std::fs::write(dir.join("lonely.toml"), "").unwrap();
    let flags = ["--plugin-dir", dir.to_str().unwrap(), "--watch"];
    let (mut router, mut lines) = Process::serve_and_log(&flags).await;
    // The latest file comes first, so the second shows that all that was there at the start was seen.
    for mark in ["mark1.wasm", "mark2.wasm"] {
        std::fs::write(dir.join(mark), guest_choosing(0)).unwrap();
        lines.extend(router.lines_until("loaded the changed file").await);
    }
    for (name, level) in [("bad.wasm", "ERROR"), ("worse.wasm", "ERROR"), ("lonely.toml", "WARN")] {
        let file = |line: &&String| line.contains(&format!("/{name}\"")) && !line.contains("DEBUG");
        let told: Vec<_> = lines.iter().filter(file).collect();
        assert!(told.len() == 1 && told[0].contains(level), "{name}: {told:?}");
    }
    // Nothing served.
    std::fs::write(dir.join("bad.wasm"), "other nonsense").unwrap();
    let line = router.logged("not loaded").await;
    assert_eq!(line["fields"]["message"], "not loaded; nothing serves under this name", "{line}");
}

#[tokio::test]
async fn all_faults_of_changed_settings_are_told_at_once() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let flags = ["--plugin-dir", dir.to_str().unwrap(), "--watch"];
    let mut router = Process::serve(&flags).await;
    let settings = "max_memory_bytes = \"many\"\nallowed_syscalls = [\"clock\"]\n[options]\n\
                    rollout = { mode = \"shadow\", every = 0 }\nbreaker = { backoff_ms = 0 }\n";
    std::fs::write(dir.join("p.toml"), settings).unwrap();
    std::fs::write(dir.join("p.wasm"), guest_choosing(0)).unwrap();
    let line = router.logged("not loaded").await;
    let error = line["fields"]["error"].as_str().unwrap();
    for key in
        ["max_memory_bytes (line 1)", "allowed_syscalls[0]", "options.rollout.every", "options.breaker"]
    {
        assert!(error.contains(&format!("p.toml: {key}")), "{key} is missing in {error}");
    }
}
