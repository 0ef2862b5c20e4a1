//! `sgl-router load` as a process.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use sgl_testkit::client::{call, get};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::{soon, until};
use sgl_tools::sim::{SimConfig, SimWorker};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::load::plans::{sim, sim_with};

async fn load(arguments: &[&str]) -> Output {
    let mut command = command(&["load"]);
    command.args(arguments);
    soon(output(command)).await
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn path(dir: &Path, name: &str) -> (std::path::PathBuf, String) {
    let path = dir.join(name);
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn run_prints_a_table_and_writes_json_and_page() {
    let worker = sim("w").await;
    let dir = tempfile::tempdir().unwrap();
    let ((page, page_text), (report, report_text)) =
        (path(dir.path(), "report.html"), path(dir.path(), "report.json"));
    let url = worker.url();
    let files = ["--html", &page_text, "--json", &report_text, "--progress"];
    let output =
        load(&[&["--url", &url, "--requests", "50", "--connections", "4", "--stream"], &files[..]].concat())
            .await;
    assert_eq!(code(&output), 0, "{output:?}");
    let table = stdout(&output);
    assert!(table.contains("50 requests: 50 answered") && table.contains("first token"), "{table}");
    assert!(stderr(&output).contains("in flight"), "{output:?}");
    assert!(std::fs::read_to_string(page).unwrap().contains("<svg "));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!((&report["targets"][0]["requests"], worker.requests()), (&50.into(), 50));
}

#[tokio::test]
async fn routers_are_compared_and_json_goes_to_standard_output_alone() {
    let (a, b) = (sim("a").await, sim("b").await);
    let compare = [format!("--compare=old={}", a.url()), format!("--compare=new={}", b.url())];
    let output = load(&[&compare[0], &compare[1], "--requests", "20", "--rate", "2000", "--json"]).await;
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let report = json(&output);
    assert_eq!(stdout(&output).lines().count(), 1);
    assert_eq!(report["comparison"][0]["name"], "new");
    assert_eq!(report["settings"]["pace"]["kind"], "poisson");
    assert_eq!((a.requests(), b.requests()), (60, 60), "three rounds of 20");
}

#[tokio::test]
async fn trace_is_replayed_and_a_bad_one_is_refused_with_the_line() {
    let worker = sim("w").await;
    let dir = tempfile::tempdir().unwrap();
    let (file, text) = path(dir.path(), "trace.jsonl");
    let line = r#"{"timestamp": 1000, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}"#;
    std::fs::write(&file, format!("{line}\n{}\n", line.replace("1000", "1250"))).unwrap();
    let url = worker.url();
    let output = load(&["--url", &url, "--trace", &text, "--trace-speed", "10", "--json"]).await;
    let report = json(&output);
    assert_eq!((worker.requests(), &report["targets"][0]["rounds"][0]["tokens"]), (2, &6.into()));
    std::fs::write(&file, format!("{line}\n{{\"timestamp\": 1}}\n")).unwrap();
    let output = load(&["--url", &url, "--trace", &text]).await;
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("line 2: missing field `input_length`"), "{output:?}");
    assert_eq!(worker.requests(), 2);
}

#[tokio::test]
async fn exit_code_tells_too_many_failures_from_a_run_that_was_not_made_and_wrong_usage() {
    let worker = sim_with(SimConfig { fail_rate: 1.0, ..SimConfig::default() }).await;
    let url = worker.url();
    let failing = ["--url", &url, "--requests", "10"];
    let output = load(&failing).await;
    assert_eq!(code(&output), 3, "a run without any answer is none");
    assert!(stderr(&output).contains("all 10 requests to router failed: status_500, such as"), "{output:?}");
    assert!(stdout(&output).contains("one status_500 said"), "{output:?}");
    let output = load(&[&failing[..], &["--max-error-rate", "0.5"]].concat()).await;
    assert_eq!(code(&output), 3);
    assert!(stdout(&output).contains("10 failed (100.00 %): 10 status_500"), "the report comes first");
    assert!(stderr(&output).contains("allowed: 0.5"), "{output:?}");
    assert_eq!(code(&load(&[&failing[..], &["--max-error-rate", "1"]].concat()).await), 0);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = format!("http://{free}");
    assert_eq!(code(&load(&["--url", &dead]).await), 1);
    assert_eq!(code(&load(&["--url", &url, "--html", "/nowhere/at/all.html"]).await), 1);
    let swaps = ["--url", &url, "--swap-plugin", "p", "--admin-url", &dead];
    assert_eq!(code(&load(&[&swaps[..], &["--swap-module", "Cargo.toml"]].concat()).await), 1);
    for wrong in [
        &["--url", "ftp://127.0.0.1:1"][..],
        &["--rate", "5", "--connections", "3"],
        &["--compare", "nameless"],
        &["--compare", "a=http://h:1", "--compare", "a=http://h:2"],
        &["--header", "no colon"],
        &["--body-fields", "[]"],
        &["--duration", "0s"],
        &["--prompt-tokens", "4000000", "--prompts", "100"],
        &["--swap-plugin", "p"],
        &["--swap-plugin", "p", "--swap-module", "/nowhere.wasm"],
        &["--compare", "a=http://h:1", "--swap-plugin", "p", "--swap-module", "m", "--swap-target", "b"],
        &["--max-error-rate", "2"],
        &["--trace", "/nowhere.jsonl"],
    ] {
        let output = load(wrong).await;
        assert_eq!(code(&output), 2, "{wrong:?}: {output:?}");
    }
}

#[tokio::test]
async fn key_comes_from_a_file_of_headers_and_a_router_that_asks_for_one_is_told_of() {
    let (worker, dir) = (sim("w").await, tempfile::tempdir().unwrap());
    let (key, key_text) = path(dir.path(), "worker.key");
    std::fs::write(&key, "s3cret").unwrap();
    let (keys, keys_text) = path(dir.path(), "keys.toml");
    // SHA-256 of the key.
    let digest = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    std::fs::write(&keys, format!("[[keys]]\nname = \"load\"\nsha256 = \"{digest}\"\n")).unwrap();
    let flags =
        ["--worker-urls", &worker.url(), "--client-keys-file", &keys_text, "--api-key-file", &key_text];
    let router = Process::serve(&flags).await;
    router.ready().await;
    let url = format!("http://{}", router.data);
    let run = ["--url", url.as_str(), "--requests", "5", "--connections", "1"];
    let refused = load(&run).await;
    assert_eq!(code(&refused), 3, "{refused:?}");
    assert!(
        stderr(&refused).contains("--header-file FILE, with a line `authorization: Bearer KEY`"),
        "{refused:?}"
    );
    let (headers, headers_text) = path(dir.path(), "headers");
    std::fs::write(&headers, "x-tenant: a\n\nAuthorization: Bearer s3cret\n").unwrap();
    let file = ["--header-file", headers_text.as_str()];
    let answered = load(&[&run[..], &file].concat()).await;
    assert!(code(&answered) == 0 && !stdout(&answered).contains("s3cret"), "{answered:?}");
    std::fs::write(&headers, "x-tenant: a\nBearer s3cret\n").unwrap();
    let wrong = load(&[&run[..], &file].concat()).await;
    let told = stderr(&wrong);
    assert!(code(&wrong) == 2 && told.contains("line 2") && !told.contains("s3cret"), "{told}");
}

#[tokio::test]
async fn plugin_of_a_running_router_is_swapped_until_the_operator_interrupts() {
    let worker = sim("w").await;
    let dir = tempfile::tempdir().unwrap();
    let (file, module) = path(dir.path(), "choose.wasm");
    std::fs::write(&file, guest_choosing(0)).unwrap();
    let plugin = format!("p={module}");
    let url = worker.url();
    let router = Process::serve(&["--policy", "p", "--plugin", &plugin, "--worker-urls", &url]).await;
    let (data, admin) = (format!("http://{}", router.data), format!("http://{}", router.admin));
    let mut run = command(&["load", "--url", &data, "--duration", "1h", "--connections", "2", "--json"]);
    run.args(["--swap-plugin", "p", "--swap-every", "10ms", "--admin-url", &admin]);
    run.args(["--swap-module", &module, "--swap-module", &module]);
    let run = Running::start(run);
    let generation = async || {
        let shown = call(router.admin, get("/v1/plugins/p")).await.json();
        let all = shown["generations"].as_array().expect("a list");
        all.iter().filter_map(|one| one["generation"].as_u64()).max().expect("one serves")
    };
    until(async || generation().await >= 4 && worker.requests() > 0).await;
    run.interrupt();
    let output = soon(run.output()).await;
    assert_eq!(code(&output), 0, "{output:?}");
    let report = json(&output);
    assert_eq!(report["interrupted"], true);
    let target = &report["targets"][0];
    assert_eq!((&target["failed"], &target["requests"]), (&0.into(), &worker.requests().into()));
    let swaps = target["rounds"][0]["swaps"].as_array().unwrap();
    let made: Vec<u64> = swaps.iter().map(|swap| swap["generation"].as_u64().expect("made")).collect();
    assert_eq!(made, (2..=generation().await).collect::<Vec<_>>());
}

#[tokio::test]
async fn second_interruption_cuts_off_requests_that_hang() {
    let worker: SimWorker = sim_with(SimConfig { stall_after: Some(1), ..SimConfig::default() }).await;
    let mut run = command(&["load", "--url", &worker.url(), "--connections", "3", "--stream", "--json"]);
    run.args(["--duration", "1h", "--timeout", "1h", "--drain", "1h"]).stdout(Stdio::piped());
    let run = Running::start(run);
    worker.wait_until(|worker| worker.requests() == 3).await;
    // One signal would wait for an hour. Two that come at once may count as one, so there may be
    // more than two; after the end there is nobody to get them.
    let mut ended = std::pin::pin!(run.ended());
    soon(async {
        loop {
            run.interrupt();
            tokio::select! {
                () = &mut ended => break,
                () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
    let output = run.output().await;
    assert_eq!(code(&output), 0, "{output:?}");
    let round = &json(&output)["targets"][0]["rounds"][0];
    assert_eq!((&round["interrupted_requests"], &round["ok"]), (&3.into(), &0.into()));
    assert_eq!(round["errors"], serde_json::json!({}));
}

/// A run that goes on for as long as it is let; killed when it is dropped.
struct Running {
    child: Arc<Mutex<Child>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        Self { child: Arc::new(Mutex::new(command.spawn().expect("the binary"))) }
    }

    fn interrupt(&self) {
        let id = self.child.lock().id().to_string();
        // Fails if the process has ended, which is as good.
        let _ = Command::new("kill").args(["-s", "INT", &id]).stderr(Stdio::null()).status();
    }

    /// Waits for its end.
    async fn ended(&self) {
        until(async || self.child.lock().try_wait().expect("it can be waited for").is_some()).await;
    }

    /// What it has written, after its end.
    async fn output(&self) -> Output {
        let child = Arc::clone(&self.child);
        let read = spawn_blocking(move || {
            let mut child = child.lock();
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            // Little goes to standard error, so that it cannot fill its pipe meanwhile.
            child.stdout.take().expect("piped").read_to_end(&mut stdout).expect("it is read");
            child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("it is read");
            Output { status: child.wait().expect("it ends"), stdout, stderr }
        });
        read.await.expect("nothing panics")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already after `output`; without that, reading it would hold the lock.
        if let Some(mut child) = self.child.try_lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
