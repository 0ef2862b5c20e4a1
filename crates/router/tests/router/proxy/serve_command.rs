//! The binary itself: flags, signals, exit codes.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sgl_testkit::client::{TestClient, call, chat, get, piece};
use sgl_testkit::process::{FREE_PORTS, Process, command, output, stderr};
use sgl_testkit::upstream;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::proxy::plugins::{SECOND_WORKER, guest};

#[tokio::test]
async fn router_serves_quietly_and_finishes_its_stream_on_sigterm() {
    let (send_script, mut scripts) = mpsc::channel(1);
    let worker = Upstream::start(move |seen: upstream::SeenRequest| {
        let (response, pieces, _) = upstream::stream();
        let streams = seen.body.windows(6).any(|window| window == b"stream");
        if streams {
            send_script.try_send(pieces).unwrap();
        }
        async move { if streams { response } else { upstream::whole(200, "{}") } }
    })
    .await;
    let mut router = Process::serve(&["--worker-urls", &worker.url()]).await;
    let mut client = TestClient::connect(router.data).await;
    router.ready().await;
    for _ in 0..50 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    let begun = async {
        let pieces = soon(scripts.recv()).await.unwrap();
        pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
        pieces
    };
    let (response, pieces) = tokio::join!(client.send(chat("stream")), begun);
    let mut body = response.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());

    router.signal("-TERM");
    pieces.send(Bytes::from_static(b"data: 2\n\n")).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 2\n\n"));
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    let log = router.lines_to_the_end().await;
    assert!(router.child.wait().unwrap().success());
    assert!(log.len() < 10, "no line for each request: {log:#?}");
}

#[tokio::test]
async fn router_is_not_ready_but_still_accepts_in_the_delay_after_sigterm() {
    let worker = Upstream::saying("ok").await;
    let mut router = Process::serve(&["--worker-urls", &worker.url(), "--shutdown-delay-secs", "2"]).await;
    router.ready().await;
    router.signal("-TERM");
    // New connections all the while.
    until(async || call(router.data, get("/readiness")).await.status != StatusCode::OK).await;
    assert_eq!(call(router.data, get("/readiness")).await.json()["reason"], "stopping");
    assert_eq!(call(router.data, chat("hi")).await.text(), "ok");
    let status = spawn_blocking(move || router.child.wait().unwrap()).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn log_in_a_file_has_no_colours_and_a_word_that_is_no_level_is_refused() {
    let worker = Upstream::saying("ok").await;
    let url = worker.url();
    let mut child =
        command(&["serve", "--log-level", "warning,sglang_router_rs=info", "--worker-urls", &url])
            .args(FREE_PORTS)
            .spawn()
            .unwrap();
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let first = spawn_blocking(move || {
        let mut line = String::new();
        log.read_line(&mut line).map(|_| line)
    });
    let line = timeout(Duration::from_secs(20), first).await;
    // Before anything is asserted: the end of the log frees the thread that reads it.
    child.kill().unwrap();
    child.wait().unwrap();
    let line = line.expect("a line in time").unwrap().unwrap();
    assert!(line.contains("INFO") && !line.contains('\u{1b}'), "{line:?}");
    let refused = output(command(&["serve", "--log-level", "loud"])).await;
    assert!(!refused.status.success());
    let text = stderr(&refused);
    assert!(text.contains("--log-level: found \"loud\"; allowed: error, warn"), "{text}");
}

#[tokio::test]
async fn faults_of_the_configuration_end_it_with_an_error_that_shows_them() {
    let output = output(command(&["serve", "--policy", "nobody", "--worker-urls", "w:1"])).await;
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(
        text.contains("2 faults")
            && text.contains("policy (--policy):")
            && text.contains("workers[0].url (--worker-urls):"),
        "{text}"
    );
}

#[tokio::test]
async fn plugin_that_is_named_twice_and_an_empty_token_are_told_as_what_they_are() {
    let mut command = command(&["serve", "--plugin", "a=x", "--plugin", "a=y"]);
    command.env("SGL_ROUTER_ADMIN_TOKEN", " ");
    let output = output(command).await;
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains("--plugin: found \"a\" twice"), "{text}");
    assert!(text.contains("SGL_ROUTER_ADMIN_TOKEN: found an empty token"), "{text}");
    let text = text.replace("No such file or directory (os error 2)", "");
    assert!(!text.contains("os error 2"), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn token_that_everybody_can_read_and_cache_that_is_no_directory_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let [token, cache] = ["token", "cache"].map(|name| dir.path().join(name));
    std::fs::write(&token, "a long secret of the operators").unwrap();
    std::fs::write(&cache, "").unwrap();
    let (file, folder) = (token.to_str().unwrap(), cache.to_str().unwrap());
    let warned = async |mode| {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
        let (_router, log) =
            Process::serve_and_log(&["--admin-token-file", file, "--aot-cache", folder]).await;
        let warns = |file: &str, text: &str| {
            log.iter().any(|line| line.contains("WARN") && line.contains(file) && line.contains(text))
        };
        (warns(file, "every user of this machine can read"), warns(folder, "cannot be kept here"))
    };
    assert_eq!(warned(0o644).await, (true, true));
    std::fs::remove_file(&cache).unwrap();
    assert_eq!(warned(0o640).await, (false, false));
}

#[tokio::test]
async fn address_that_is_taken_ends_it_with_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output =
        output(command(&["serve", "--port", &port, "--prometheus-port", "0", "--admin-port", "0"])).await;
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port} for clients (--port)")), "{text}");
    assert!(!text.contains("nor on"), "{text}");
}

#[tokio::test]
async fn second_router_of_a_machine_is_told_all_ports_that_are_taken_with_their_flags() {
    let taken: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let [metrics, admin] = [0, 1].map(|one: usize| taken[one].local_addr().unwrap().port().to_string());
    let flags = ["serve", "--port", "0", "--prometheus-port", &metrics, "--admin-port", &admin];
    let text = stderr(&output(command(&flags)).await);
    let expected = format!(
        "cannot listen on 127.0.0.1:{metrics} for metrics (--prometheus-port), nor on 127.0.0.1:{admin} for operators \
         (--admin-port)"
    );
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test]
async fn plugin_from_the_command_line_decides() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("any.wasm");
    std::fs::write(&module, guest(SECOND_WORKER)).unwrap();
    let plugin = format!("mine={}", module.display());
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let urls = [first.url(), second.url()];
    let arguments = ["--policy", "mine", "--plugin", &plugin, "--worker-urls", &urls[0], &urls[1]];
    let router = Process::serve(&arguments).await;
    // The second may be a moment later; the first serves until then.
    until(async || call(router.data, chat("hi")).await.text() == "second").await;
    for _ in 0..5 {
        assert_eq!(call(router.data, chat("hi")).await.text(), "second");
    }
}

#[tokio::test]
async fn plugin_that_does_not_load_ends_it_with_the_reason() {
    let output =
        output(command(&["serve", "--plugin", "mine=/nowhere/at/all.wasm", "--policy", "mine"])).await;
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("cannot load plugin mine:") && text.contains("/nowhere/at/all.wasm"), "{text}");
}

#[tokio::test]
async fn signal_while_plugins_are_loaded_ends_the_router_before_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..6 {
        std::fs::write(dir.path().join(format!("p{number}.wasm")), guest(SECOND_WORKER)).unwrap();
    }
    let mut command =
        command(&["serve", "--log-format", "json", "--plugin-dir", dir.path().to_str().unwrap()]);
    command.args(FREE_PORTS);
    let ended = spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let pid = child.id().to_string();
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("\"loaded\"") && !said.contains("\"loaded\"") {
                assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            }
            said.push_str(&line);
        }
        (child.wait().unwrap(), said)
    });
    let (status, said) = soon(ended).await.unwrap();
    assert!(status.success() && said.contains("stopped by a signal before it served"), "{said}");
    assert!(!said.contains("\"serving\""), "{said}");
}
