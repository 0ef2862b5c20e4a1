//! Files of plugins and what is pushed meanwhile: a file counts when it has changed since it was loaded.

use std::path::Path;
use std::process::Command;

use http::StatusCode;
use serde_json::{Value, json};
use sgl_testkit::client::{call, get};
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::until;

use crate::admin::api::{generation_of, json, put};

/// A plugin `p` in a directory, and a router that has it from there.
struct Stage {
    root: tempfile::TempDir,
    router: Process,
}

impl Stage {
    async fn new(flags: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("p.wasm"), guest_choosing(0)).expect("a file");
        let dir = root.path().to_str().expect("UTF-8").to_owned();
        let router = Process::serve(&[&["--plugin-dir", &dir], flags].concat()).await;
        Self { root, router }
    }

    fn dir(&self) -> &Path {
        self.root.path()
    }

    async fn show(&self) -> Value {
        call(self.router.admin, get("/v1/plugins/p")).await.json()
    }

    async fn generation(&self) -> u64 {
        generation_of(&self.show().await, "stable").expect("one that serves")
    }

    /// Replaces the file and waits until that was noticed.
    async fn replace(&self, module: Vec<u8>) -> u64 {
        let before = self.generation().await;
        std::fs::write(self.dir().join("p.wasm"), module).expect("a file");
        until(async || self.generation().await != before).await;
        self.generation().await
    }

    async fn push(&self, module: Vec<u8>) -> u64 {
        let answer = call(self.router.admin, put("/v1/plugins/p", module)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["generation"].as_u64().expect("a number")
    }

    async fn hang_up(&mut self) {
        let pid = self.router.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
        self.router.logged("reloaded the configuration").await;
    }

    /// Waits until the watch has seen everything up to now. The latest file comes first, so the second
    /// shows that the look at the first has ended.
    async fn seen(&mut self) {
        for name in ["mark", "mark2"] {
            std::fs::write(self.dir().join(format!("{name}.wasm")), guest_choosing(0)).expect("a file");
            let path = format!("/v1/plugins/{name}");
            until(async || call(self.router.admin, get(&path)).await.status == StatusCode::OK).await;
        }
    }
}

#[tokio::test]
async fn hangup_leaves_what_was_pushed_whether_start_or_watch_loaded_the_file() {
    for flags in [&[][..], &["--watch"]] {
        let mut stage = Stage::new(flags).await;
        if !flags.is_empty() {
            stage.replace(guest_choosing(1)).await;
        }
        let pushed = stage.push(guest_choosing(2)).await;
        stage.hang_up().await;
        assert_eq!(stage.generation().await, pushed, "{flags:?}");
    }
}

#[tokio::test]
async fn hangup_leaves_settings_and_modules_that_came_over_http_to_a_watched_file() {
    let mut stage = Stage::new(&["--watch"]).await;
    stage.replace(guest_choosing(1)).await;
    let patch = json("PATCH", "/v1/plugins/p/config", &json!({"max_execution_time_ms": 77}));
    assert_eq!(call(stage.router.admin, patch).await.status, StatusCode::OK);
    stage.hang_up().await;
    assert_eq!(stage.show().await["config"]["max_execution_time_ms"], 77);

    let named = json("PUT", "/v1/plugins/p", &json!({"file": "p.wasm", "max_execution_time_ms": 78}));
    assert_eq!(call(stage.router.admin, named).await.status, StatusCode::OK);
    stage.hang_up().await;
    assert_eq!(stage.show().await["config"]["max_execution_time_ms"], 78);
}

#[tokio::test]
async fn changed_file_displaces_what_was_pushed_with_a_warning_that_names_it() {
    let mut stage = Stage::new(&["--watch"]).await;
    stage.seen().await;
    let pushed = stage.push(guest_choosing(2)).await;
    let now = stage.replace(guest_choosing(1)).await;
    let line = stage.router.logged("displaces what was pushed").await;
    let fields = &line["fields"];
    assert_eq!((&fields["plugin"], &fields["pushed"]), (&json!("p"), &json!(pushed)), "{line}");
    assert_eq!((&fields["generation"], &line["level"]), (&json!(now), &json!("WARN")), "{line}");
    // A file that displaces what came from the file before is nothing to warn of.
    stage.replace(guest_choosing(3)).await;
    stage.router.child.kill().expect("it runs");
    let rest = stage.router.lines_to_the_end().await;
    assert!(!rest.iter().any(|line| line.contains("displaces")), "{rest:?}");
}

#[tokio::test]
async fn push_right_after_the_start_is_not_taken_back_by_the_first_look_of_the_watch() {
    let mut stage = Stage::new(&["--watch"]).await;
    let pushed = stage.push(guest_choosing(2)).await;
    stage.seen().await;
    assert_eq!(stage.generation().await, pushed);
}

#[tokio::test]
async fn hangup_loads_a_module_again_whose_signature_alone_has_changed() {
    let mut stage = Stage::new(&[]).await;
    let before = stage.generation().await;
    std::fs::write(stage.dir().join("p.wasm.sig"), "of nobody").expect("a file");
    stage.hang_up().await;
    assert_ne!(stage.generation().await, before);
}

#[tokio::test]
async fn hangup_unloads_what_the_watch_loaded_once_its_file_is_gone() {
    let mut stage = Stage::new(&["--watch"]).await;
    stage.seen().await;
    std::fs::remove_file(stage.dir().join("mark.wasm")).expect("a file");
    stage.router.logged("is gone; the plugin goes on").await;
    stage.hang_up().await;
    assert_eq!(call(stage.router.admin, get("/v1/plugins/mark")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn file_that_is_back_after_its_plugin_was_removed_is_loaded_again() {
    let mut stage = Stage::new(&["--watch"]).await;
    stage.seen().await;
    let file = stage.dir().join("p.wasm");
    std::fs::remove_file(&file).expect("a file");
    stage.router.logged("is gone; the plugin goes on").await;
    let removed = json("DELETE", "/v1/plugins/p", &json!({}));
    assert_eq!(call(stage.router.admin, removed).await.status, StatusCode::NO_CONTENT);
    std::fs::write(&file, guest_choosing(0)).expect("a file");
    until(async || stage.show().await["state"] == "serving").await;
}

#[tokio::test]
async fn name_in_the_directory_that_the_configuration_has_given_away_stays_with_its_owner() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let module = elsewhere.path().join("other.wasm");
    std::fs::write(&module, guest_choosing(3)).expect("a file");
    let owner = format!("p={}", module.display());
    let mut stage = Stage::new(&["--watch", "--plugin", &owner]).await;
    let before = stage.generation().await;
    stage.seen().await;
    assert_eq!(stage.generation().await, before);
}

#[tokio::test]
async fn what_was_pushed_stays_when_the_file_is_gone_and_is_kept_over_a_restart() {
    for watch in [&[][..], &["--watch"]] {
        let state = tempfile::tempdir().expect("a directory");
        let flags = [&["--state-dir", state.path().to_str().expect("UTF-8")], watch].concat();
        let mut stage = Stage::new(&flags).await;
        if !watch.is_empty() {
            stage.replace(guest_choosing(1)).await;
        }
        let early = stage.push(guest_choosing(3)).await;
        std::fs::remove_file(stage.dir().join("p.wasm")).expect("a file");
        if watch.is_empty() {
            stage.hang_up().await;
        } else {
            stage.router.logged("is gone; the plugin goes on").await;
        }
        assert_eq!(stage.generation().await, early, "{watch:?}");
        let answer = call(stage.router.admin, put("/v1/plugins/p", guest_choosing(2))).await.json();
        assert_eq!(answer["after_restart"], "kept", "{watch:?} {answer}");
        stage.hang_up().await;
        stage.hang_up().await;
        assert_eq!(json!(stage.generation().await), answer["generation"], "{watch:?}");
        let Stage { root, router } = stage;
        router.kill();
        let flags = [&["--plugin-dir", root.path().to_str().expect("UTF-8")], &*flags].concat();
        let stage = Stage { router: Process::serve(&flags).await, root };
        assert_eq!(stage.show().await["generations"][0]["digest"], answer["digest"], "{watch:?}");
    }
}

#[tokio::test]
async fn file_that_is_back_as_it_was_displaces_nothing() {
    let mut stage = Stage::new(&["--watch"]).await;
    stage.replace(guest_choosing(1)).await;
    let pushed = stage.push(guest_choosing(2)).await;
    let (file, aside) = (stage.dir().join("p.wasm"), stage.dir().join("p.bak"));
    std::fs::rename(&file, &aside).expect("a file");
    stage.router.logged("is gone; the plugin goes on").await;
    std::fs::rename(&aside, &file).expect("a file");
    stage.seen().await;
    assert_eq!(stage.generation().await, pushed);
    let answer = call(stage.router.admin, put("/v1/plugins/p", guest_choosing(3))).await.json();
    assert_eq!(answer["after_restart"], "configured", "{answer}");
}
