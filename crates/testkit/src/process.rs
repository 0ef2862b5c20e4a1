//! The binary as a process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use http::StatusCode;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::client::{TestClient, get};
use crate::waits::{soon, until};

/// Where the binary is. Cargo builds it for the tests of its package, and tells only them.
pub fn binary() -> OsString {
    std::env::var_os("CARGO_BIN_EXE_sgl-router").expect("a test that cargo runs, of the router's package")
}

/// The binary with these arguments, and without a token from the environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = quiet(Command::new(binary()));
    command.args(arguments);
    command
}

/// The same under limits of the shell, such as `ulimit -n 256`.
fn command_under(limits: &str, arguments: &[&str]) -> Command {
    let mut shell = quiet(Command::new("sh"));
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(binary()).args(arguments);
    shell
}

fn quiet(mut command: Command) -> Command {
    command.env_remove("SGL_ROUTER_ADMIN_TOKEN");
    command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Runs a command to its end.
pub async fn output(mut command: Command) -> Output {
    spawn_blocking(move || command.output().expect("the binary")).await.expect("a thread")
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Has a router take ports that are free.
pub const FREE_PORTS: [&str; 6] = ["--port", "0", "--prometheus-port", "0", "--admin-port", "0"];

const SERVE: [&str; 3] = ["serve", "--log-format", "json"];

/// A running router; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    /// The process.
    pub child: Child,
    /// Where clients connect.
    pub data: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Where Prometheus connects.
    pub metrics: SocketAddr,
    log: mpsc::UnboundedReceiver<String>,
}

impl Process {
    /// Starts a router on free ports and reads from its log where it listens.
    pub async fn serve(arguments: &[&str]) -> Self {
        Self::serve_and_log(arguments).await.0
    }

    /// As [`serve_and_log`](Self::serve_and_log), by flags alone, without a command before them.
    pub async fn from_flags(arguments: &[&str]) -> (Self, Vec<String>) {
        Self::spawn(command(&SERVE[1..]), arguments).await
    }

    /// The same under limits of the shell, such as `ulimit -n 256`.
    pub async fn serve_under(limits: &str, arguments: &[&str]) -> Self {
        Self::spawn(command_under(limits, &SERVE), arguments).await.0
    }

    /// As [`serve`](Self::serve), with the lines of the log until then.
    pub async fn serve_and_log(arguments: &[&str]) -> (Self, Vec<String>) {
        Self::spawn(command(&SERVE), arguments).await
    }

    /// A picker for Envoy, on free ports but for these arguments.
    pub async fn pick(arguments: &[&str]) -> Self {
        Self::spawn(command(&["picker", "--log-format", "json"]), arguments).await.0
    }

    async fn spawn(mut command: Command, arguments: &[&str]) -> (Self, Vec<String>) {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        command.args(arguments).stdout(Stdio::null());
        // Of a flag that is given twice the last one counts.
        let is_given = |flag: &str| arguments.contains(&flag);
        let free = FREE_PORTS.chunks(2).filter(|pair| !is_given(pair[0]));
        command.args(free.flatten());
        let (send, log) = mpsc::unbounded_channel();
        let child = command.spawn().expect("the binary");
        let mut process = Self { child, data: nowhere, admin: nowhere, metrics: nowhere, log };
        let lines = BufReader::new(process.child.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let lines = process.lines_until("\"serving\"").await;
        let entry: Value = serde_json::from_str(&lines[lines.len() - 1]).expect("JSON");
        let address =
            |key: &str| entry["fields"][key].as_str().expect("an address").parse().expect("an address");
        (process.data, process.admin) = (address("clients"), address("admin"));
        process.metrics = address("metrics");
        (process, lines)
    }

    /// The lines of the log up to one that contains this text.
    pub async fn lines_until(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.last().is_none_or(|line| !line.contains(text)) {
            lines.push(soon(self.log.recv()).await.expect("a line that contains the text"));
        }
        lines
    }

    /// Waits for a log line that contains this text.
    pub async fn logged(&mut self, text: &str) -> Value {
        let lines = self.lines_until(text).await;
        serde_json::from_str(&lines[lines.len() - 1]).expect("JSON")
    }

    /// The rest of the log of a process that ends.
    pub async fn lines_to_the_end(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = soon(self.log.recv()).await {
            lines.push(line);
        }
        lines
    }

    /// Waits until the first health checks have passed.
    pub async fn ready(&self) {
        let mut client = TestClient::connect(self.data).await;
        until(async || client.call(get("/readiness")).await.status == StatusCode::OK).await;
    }

    /// Sends it a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("a shell's tool").success(), "{signal}");
    }

    /// SIGKILL, and until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already if it was killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
