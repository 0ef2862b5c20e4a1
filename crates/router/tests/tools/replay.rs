//! `sgl-router plugin replay`: records of a file through other policies.

use serde_json::{Value, json};
use sgl_testkit::process::{command, output, stderr, stdout};

/// A record whose second worker is the least loaded, and was chosen.
fn record(number: u64) -> String {
    let worker = |index: usize, load: usize| {
        json!({"index": index, "url": format!("http://w{index}"), "role": "regular", "healthy": true,
            "admitted": true, "load": load})
    };
    json!({
        "request_id": format!("r{number}"), "time_unix_ms": 1_700_000_000_000 + number, "route": "chat",
        "policy": "p", "outcome": {"end": "complete", "total_ms": 9.0}, "decisions": [{
            "chooser": "native", "table_version": 1, "workers": 2, "candidates": [worker(0, 3), worker(1, 1)],
            "chosen": [1], "cost_ns": 1}]})
    .to_string()
}

async fn replay(arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["plugin", "replay"]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("it ends"), stdout(&output), stderr(&output))
}

#[tokio::test]
async fn replay_says_how_many_decisions_are_alike_and_ends_accordingly() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("decisions.jsonl");
    let lines = [record(1), "no record".to_owned(), record(2), record(3)[..50].to_owned()];
    std::fs::write(&file, lines.join("\n")).expect("written");
    let file = file.to_str().expect("a plain path");

    let (code, json, error) = replay(&[file, "least_load", "--min-agreement", "1", "--json"]).await;
    assert_eq!(code, 0, "{error}");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let module = &report["modules"][0];
    assert_eq!((&module["name"], &module["agreement"]), (&json!("least_load"), &json!(1.0)));
    assert_eq!((&report["agrees"], &report["records"]["decisions"]), (&json!(true), &json!(2)));
    let skipped = &report["records"]["skipped"];
    assert_eq!((&skipped["count"], &skipped["first"][0]["line"]), (&json!(2), &json!(2)));

    let first = dir.path().join("first.wasm");
    std::fs::write(&first, sgl_testkit::small_guests::guest_choosing(0)).expect("written");
    let first = first.to_str().expect("a plain path");
    let (code, text, error) = replay(&[file, first, "--min-agreement", "0.95"]).await;
    assert!(code == 1 && error.contains("less than 0.95 of the decisions alike: first (0.0000)"), "{error}");
    for words in [
        "2 requests, Tue, 14 Nov 2023",
        "2 decisions over 2 workers",
        "line 2: ",
        "first decided 2 of 2 otherwise than recorded",
        "another worker: no number speaks for it",
        "recorded: http://w1 (load 1, not 3)",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let (code, text, _) = replay(&[file, first, "--against", "least_load"]).await;
    assert!(code == 0 && text.contains("otherwise than least_load"), "{code} {text}");
}

#[tokio::test]
async fn replay_without_decisions_or_with_unknown_policies_is_wrong_usage() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a plain path");
    for (arguments, words) in [
        (&[path, "least_load"][..], "no decision to make again"),
        (&[path, "nobody"], "there is no policy nobody"),
        (&["/nonexistent/records", "least_load"], "/nonexistent/records"),
        (&[path, "least_load", "--min-agreement", "2"], "0 to 1"),
        (&[path, "least_load", "--against", "least_load"], "twice"),
    ] {
        let (code, _, error) = replay(arguments).await;
        assert!(code == 2 && error.contains(words), "{arguments:?}: {code} {error}");
    }
}
