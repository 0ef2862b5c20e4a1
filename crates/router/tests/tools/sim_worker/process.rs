//! The subcommand as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use http::StatusCode;
use tokio::task::spawn_blocking;

use crate::sim_worker::client::{Client, chat, within};

/// A worker process, killed if a test ends before it does.
struct Process(Child);

impl Process {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sgl-router"));
        command.arg("sim-worker").args(flags).stdout(Stdio::piped());
        Self(command.spawn().expect("the binary starts"))
    }

    async fn first_line(&mut self) -> String {
        let stdout = self.0.stdout.take().expect("stdout is a pipe");
        let line = spawn_blocking(move || BufReader::new(stdout).lines().next());
        let line = within(line).await.expect("nothing panics");
        line.expect("there is a line").expect("it is text")
    }

    async fn signalled(mut self, signal: &str) -> ExitStatus {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
        let ended = spawn_blocking(move || self.0.wait());
        within(ended).await.expect("nothing panics").expect("it can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn process_prints_its_address_serves_and_ends_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let flags = ["--port", "0", "--time-scale", "0", "--worker-id", "p1", "--model", "m"];
        let mut process = Process::start(&flags);
        let line = process.first_line().await;
        let url = line.strip_prefix("listening on ").expect("the first line names the address");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let mut request = chat(2, true);
        request["model"] = "m".into();
        let client = Client::to(url.to_owned());
        let answer = client.post("/v1/chat/completions", &request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["x-sim-worker"], "p1");
        assert!(process.signalled(signal).await.success(), "SIG{signal}");
    }
}

#[test]
fn process_refuses_bad_flags_and_says_why() {
    for (flags, part) in [
        (["--role", "both"], "expected regular, prefill or decode"),
        (["--fail-rate", "1.5"], "fail-rate is 1.5"),
        (["--decode-ms=-1", "--seed=1"], "expected milliseconds"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sgl-router"));
        let output = command.arg("sim-worker").args(flags).output().expect("the binary runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flags:?}");
        assert!(stderr.contains(part), "{flags:?}: {stderr}");
    }
}
