//! The binary itself: flags, signals, exit codes.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sgl_testkit::client::{TestClient, call, chat, get, piece};
use sgl_testkit::upstream;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::proxy::plugins::{SECOND_WORKER, guest};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sgl-router"));
    command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) async fn output(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    spawn_blocking(move || command.output().expect("the binary")).await.expect("a thread")
}

/// A running router; killed when it is dropped.
pub(crate) struct Router {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// Where operators connect.
    pub(crate) admin: SocketAddr,
    log: mpsc::UnboundedReceiver<String>,
}

impl Router {
    /// Starts a router on free ports and reads from its log where it listens.
    pub(crate) async fn serve(arguments: &[&str]) -> Self {
        Self::spawn(command(&["serve"]), arguments).await
    }

    /// The same under limits of the shell, such as `ulimit -n 256`.
    pub(crate) async fn serve_under(limits: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("{limits}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_sgl-router"), "serve"]);
        shell.stderr(Stdio::piped()).stdout(Stdio::null());
        Self::spawn(shell, arguments).await
    }

    async fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let ports = ["--port", "0", "--prometheus-port", "0", "--admin-port", "0"];
        command.args(["--log-format", "json"]).args(arguments);
        let (send, log) = mpsc::unbounded_channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = command.args(ports).spawn().expect("the binary");
        let mut router = Self { child, address, admin: address, log };
        let lines = BufReader::new(router.child.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        while router.address.port() == 0 {
            let line = router.log.recv().await.expect("a line that says where it serves");
            let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if let Some(address) = entry.pointer("/fields/clients").and_then(|text| text.as_str()) {
                router.address = address.parse().expect("an address");
                let admin = entry.pointer("/fields/admin").and_then(|text| text.as_str());
                router.admin = admin.expect("in the same line").parse().expect("an address");
            }
        }
        router
    }

    /// Waits for a line of the log with this text.
    pub(crate) async fn logged(&mut self, text: &str) {
        while !soon(self.log.recv()).await.expect("a line").contains(text) {}
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until the first health checks have passed.
    pub(crate) async fn ready(&self) {
        let mut client = TestClient::connect(self.address).await;
        until(async || client.call(get("/readiness")).await.status == StatusCode::OK).await;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Gone already if the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    let mut router = Router::serve(&["--worker-urls", &worker.url()]).await;
    let mut client = TestClient::connect(router.address).await;
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

    let pid = router.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    pieces.send(Bytes::from_static(b"data: 2\n\n")).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: 2\n\n"));
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    let mut log = Vec::new();
    while let Some(line) = router.log.recv().await {
        log.push(line);
    }
    assert!(router.child.wait().unwrap().success());
    assert!(log.len() < 10, "no line for each request: {log:#?}");
}

#[tokio::test]
async fn router_is_not_ready_but_still_accepts_in_the_delay_after_sigterm() {
    let worker = Upstream::saying("ok").await;
    let mut router = Router::serve(&["--worker-urls", &worker.url(), "--shutdown-delay-secs", "2"]).await;
    router.ready().await;
    let pid = router.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // New connections all the while.
    until(async || call(router.address, get("/readiness")).await.status != StatusCode::OK).await;
    assert_eq!(call(router.address, get("/readiness")).await.json()["reason"], "stopping");
    assert_eq!(call(router.address, chat("hi")).await.text(), "ok");
    let status = spawn_blocking(move || router.child.wait().unwrap()).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn log_in_a_file_has_no_colours_and_a_word_that_is_no_level_is_refused() {
    let worker = Upstream::saying("ok").await;
    let url = worker.url();
    let ports = ["--port", "0", "--prometheus-port", "0", "--admin-port", "0"];
    let mut child =
        command(&["serve", "--log-level", "warning,sglang_router_rs=info", "--worker-urls", &url])
            .args(ports)
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
    let refused = output(&["serve", "--log-level", "loud"]).await;
    assert!(!refused.status.success());
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("--log-level: found \"loud\"; allowed: error, warn"), "{text}");
}

#[tokio::test]
async fn faults_of_the_configuration_end_it_with_an_error_that_shows_them() {
    let output = output(&["serve", "--policy", "nobody", "--worker-urls", "w:1"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("2 faults") && text.contains("policy:") && text.contains("workers[0].url:"),
        "{text}"
    );
}

#[tokio::test]
async fn plugin_that_is_named_twice_and_an_empty_token_are_told_as_what_they_are() {
    let mut command = command(&["serve", "--plugin", "a=x", "--plugin", "a=y"]);
    command.env("SGL_ROUTER_ADMIN_TOKEN", " ");
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("--plugin: found \"a\" twice"), "{text}");
    assert!(text.contains("SGL_ROUTER_ADMIN_TOKEN: found an empty token"), "{text}");
    let text = text.replace("No such file or directory (os error 2)", "");
    assert!(!text.contains("os error 2"), "{text}");
}

#[tokio::test]
async fn address_that_is_taken_ends_it_with_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = output(&["serve", "--port", &port, "--prometheus-port", "0", "--admin-port", "0"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port} for clients")), "{text}");
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
    let router = Router::serve(&arguments).await;
    // The second may be a moment later; the first serves until then.
    until(async || call(router.address, chat("hi")).await.text() == "second").await;
    for _ in 0..5 {
        assert_eq!(call(router.address, chat("hi")).await.text(), "second");
    }
}

#[tokio::test]
async fn plugin_that_does_not_load_ends_it_with_the_reason() {
    let output = output(&["serve", "--plugin", "mine=/nowhere/at/all.wasm", "--policy", "mine"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
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
    command.args(["--port", "0", "--prometheus-port", "0", "--admin-port", "0"]);
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
