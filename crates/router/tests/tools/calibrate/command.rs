//! What it measures of a worker that takes known times, and what it refuses.

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use sgl_simulate::engine::{EngineModel, ReportedLoad};
use sgl_testkit::process::{command, output, stderr, stdout};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};

use crate::sim_worker::client::Client;

async fn calibrate(arguments: &[&str]) -> Output {
    let mut command = command(&["calibrate"]);
    command.args(arguments);
    output(command).await
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

/// A worker that speaks as vLLM.
async fn worker(config: SimConfig) -> SimWorker {
    let config = SimConfig { engine: Some(Dialect::Vllm), jitter: 0.0, ..config };
    SimWorker::start(config).await.expect("a worker")
}

#[tokio::test]
async fn model_has_what_the_worker_tells_and_times_for_the_rest() {
    let worker = worker(SimConfig {
        prefill_base: Duration::from_millis(30),
        prefill_tokens_per_second: 8000.0,
        decode_step: Duration::from_millis(8),
        cache_tokens: 64_000,
        block_tokens: 16,
        ..SimConfig::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.toml");
    let limits = ["--rounds", "2", "--max-batch", "4", "--max-prompt-tokens", "1024"];
    let url = worker.url();
    let flags = [&["--url", &url, "--out", file.to_str().unwrap(), "--json"][..], &limits].concat();
    let output = soon(calibrate(&flags)).await;
    assert_eq!(code(&output), 0, "{output:?}");
    let model = EngineModel::from_toml(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let told = (model.kv_blocks, model.block_tokens, model.prefix_cache, model.reports);
    assert_eq!(told, (4000, 16, true, ReportedLoad::Vllm));
    // How long a busy machine makes them is not judged here: the fit has tests of its own.
    let times = [model.step_ms + model.sequence_ms, model.request_ms + model.step_ms + model.prompt_ms];
    assert!(times.iter().all(|time| *time > 0.0 && time.is_finite()), "{model:?}");
    assert!(model.prompt_tokens_per_second > 0.0 && model.prompt_tokens_per_second.is_finite(), "{model:?}");
    let said = stderr(&output);
    assert!(said.contains("vllm") && said.contains("round 2 of 2") && said.contains("step_ms"), "{said}");
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["calibration"]["model"], json!(model));
    assert!(report["measured"]["prompts"].as_array().unwrap().len() >= 10, "{report}");
}

#[tokio::test]
async fn engine_that_somebody_uses_is_measured_only_by_force() {
    let worker = worker(SimConfig { decode_step: Duration::from_secs(600), ..SimConfig::default() }).await;
    let url = worker.url();
    let request = Client::new(&worker);
    let body = json!({
        "model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "stream": true,
    });
    let _stream = soon(request.open_stream(&body)).await;
    until(async || worker.running() == 1).await;
    let output = soon(calibrate(&["--url", &url])).await;
    assert_eq!(code(&output), 3, "{output:?}");
    assert!(stderr(&output).contains("1 requests running and 0 waiting"), "{output:?}");
    assert_eq!(worker.requests(), 1, "nothing was sent");
}

#[tokio::test]
async fn limits_hold_and_the_model_goes_to_standard_output() {
    let worker = worker(SimConfig { time_scale: 0.0, ..SimConfig::default() }).await;
    let url = worker.url();
    let output = soon(calibrate(&["--url", &url, "--max-requests", "30"])).await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!((10..=30).contains(&worker.requests()), "{}", worker.requests());
    EngineModel::from_toml(&stdout(&output)).unwrap();
    assert!(stderr(&output).contains("the limit of time or of requests is reached"), "{output:?}");
}

#[tokio::test]
async fn what_cannot_be_measured_is_said() {
    let failing = worker(SimConfig { fail_rate: 1.0, ..SimConfig::default() }).await;
    let output = soon(calibrate(&["--url", &failing.url()])).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""), "{output:?}");
    assert!(stderr(&output).contains("a request failed: "), "{output:?}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", silent.local_addr().unwrap());
    drop(silent);
    let unanswered = format!("--url: nobody answers at {nobody} (no connection); expected: an engine");
    // It answers, and lists nothing.
    let file_server = Upstream::saying("no models").await;
    for (flags, expected, message) in [
        (&["--url", "ftp://x"][..], 2, "--url: found \"ftp://x\""),
        (&["--url", &nobody], 1, &unanswered),
        (&["--url", &nobody, "--model", "m"], 1, &unanswered),
        (&["--url", &file_server.url()], 2, "--model: needed"),
    ] {
        let output = soon(calibrate(flags)).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (expected, ""), "{output:?}");
        assert!(stderr(&output).contains(message), "{output:?}");
    }
}

#[tokio::test]
async fn nothing_is_written_of_an_engine_of_which_nothing_was_measured() {
    // Each request takes longer than all of them may.
    let worker =
        worker(SimConfig { prefill_base: Duration::from_millis(1200), ..SimConfig::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.toml");
    let url = worker.url();
    let flags = ["--url", &url, "--max-secs", "1", "--out", file.to_str().unwrap(), "--json"];
    let output = soon(calibrate(&flags)).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""), "{output:?}");
    assert!(
        stderr(&output).contains("nothing was measured, so no model is written: found 0 prompts"),
        "{output:?}"
    );
    assert!(!file.exists());
}
