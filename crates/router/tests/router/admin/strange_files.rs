//! Files that are no modules, or are not even files, where modules are looked for.

use std::path::Path;
use std::process::{Command, ExitStatus};

use sgl_testkit::client::{call, get};
use sgl_testkit::process::{FREE_PORTS, Process, command, output, stderr};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::{soon, until};
use tokio::task::spawn_blocking;

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

async fn is_there(router: &Process, name: &str) -> bool {
    call(router.admin, get(&format!("/v1/plugins/{name}"))).await.status == 200
}

/// Sends SIGTERM and waits for the end.
async fn terminated(mut router: Process) -> ExitStatus {
    let pid = router.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    soon(spawn_blocking(move || router.child.wait().expect("it ends"))).await.expect("a thread")
}

#[tokio::test]
async fn pipes_devices_and_giants_in_the_watched_directory_stop_nobody() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut router = Process::serve(&["--watch", "--plugin-dir", dir.to_str().unwrap()]).await;
    pipe(&dir.join("module.wasm"));
    for (name, beside) in [("settings", "settings.toml"), ("signature", "signature.wasm.sig")] {
        pipe(&dir.join(beside));
        std::fs::write(dir.join(format!("{name}.wasm")), guest_choosing(0)).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", dir.join("endless.wasm")).unwrap();
    std::fs::File::create(dir.join("giant.wasm")).unwrap().set_len(3 << 30).unwrap();
    std::fs::write(dir.join("good.wasm"), guest_choosing(0)).unwrap();
    until(async || is_there(&router, "good").await).await;
    assert_eq!(call(router.data, get("/liveness")).await.status, 200);
    // A swap goes through beside them.
    std::fs::write(dir.join("good.wasm"), guest_choosing(1)).unwrap();
    until(async || call(router.admin, get("/v1/plugins/good")).await.json()["swaps"] == 1).await;
    for name in ["module", "settings", "signature", "endless", "giant"] {
        assert!(!is_there(&router, name).await, "{name}");
    }
    // Each was reported once, with what was found.
    let mut said = Vec::new();
    while said.len() < 5 {
        let line = router.logged("not loaded").await;
        said.push(line["fields"]["error"].as_str().expect("why").to_owned());
    }
    for (found, times) in [("it is a named pipe", 3), ("it is a device", 1), ("3221225472 bytes", 1)] {
        assert_eq!(said.iter().filter(|said| said.contains(found)).count(), times, "{found}: {said:#?}");
    }
    assert!(terminated(router).await.success());
}

#[tokio::test]
async fn pipe_for_decision_records_is_named_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("records");
    pipe(&file);
    let records = ["--record-sample", "1", "--record-file", file.to_str().unwrap()];
    let mut command = command(&["serve"]);
    command.args(FREE_PORTS).args(records);
    let ended = soon(output(command)).await;
    assert_eq!(ended.status.code(), Some(1));
    let why = stderr(&ended);
    assert!(why.contains("it is a named pipe; expected a regular file"), "{why}");
}

#[tokio::test]
async fn file_names_do_not_look_like_lines_of_the_log() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut router = Process::serve(&["--watch", "--plugin-dir", dir.to_str().unwrap()]).await;
    std::fs::write(dir.join("a\n\u{1b}[2Jforged.wasm"), "nonsense").unwrap();
    let line = router.logged("not loaded").await;
    let file = line["fields"]["file"].as_str().unwrap();
    assert!(file.ends_with(r"a\n\u{1b}[2Jforged.wasm"), "{file}");
}

#[tokio::test]
async fn router_starts_beside_bad_files_unless_one_is_its_policy() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    std::fs::write(dir.join("nonsense.wasm"), "nonsense").unwrap();
    pipe(&dir.join("pipe.wasm"));
    std::fs::write(dir.join("settings.wasm"), guest_choosing(0)).unwrap();
    std::fs::write(dir.join("settings.toml"), "max_memory_bytes = 1").unwrap();
    std::fs::write(dir.join("good.wasm"), guest_choosing(0)).unwrap();
    std::fs::write(dir.join("a stray file.wasm"), "").unwrap();
    let plugins = dir.to_str().unwrap();
    let router = Process::serve(&["--plugin-dir", plugins, "--policy", "good"]).await;
    let list = call(router.admin, get("/v1/plugins")).await.json();
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1, "{list}");
    for (policy, why) in [
        ("nonsense", "nonsense"),
        ("pipe", "a named pipe"),
        ("settings", "max_memory_bytes"),
        ("none", "policy"),
    ] {
        let mut command = command(&["serve", "--plugin-dir", plugins, "--policy", policy]);
        command.args(FREE_PORTS);
        let ended = output(command).await;
        assert_eq!(ended.status.code(), Some(1), "{policy}");
        assert!(stderr(&ended).contains(why), "{policy}: {}", stderr(&ended));
    }
}
