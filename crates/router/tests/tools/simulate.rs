//! `sgl-router simulate` as its users run it.

use serde_json::{Value, json};
use sgl_testkit::process::{command, output, stderr, stdout};
use tempfile::NamedTempFile;

/// A file of JSON lines, for as long as it lives.
fn trace(lines: impl IntoIterator<Item = Value>) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(file.path(), text).expect("it is written");
    file
}

fn name(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

/// Simulates over two workers; gives exit code, standard output and standard error.
async fn simulated(flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = command(&["simulate", "--workers", "2"]);
    command.args(flags);
    let ended = output(command).await;
    (ended.status.code(), stdout(&ended), stderr(&ended))
}

/// A record with so many tokens in its prompt, and the hashes of its first blocks.
fn record(at: u64, tokens: u32, blocks: u32, recorded: u32) -> Value {
    let hashes: Vec<u32> = (1..=recorded).collect();
    json!({"time_unix_ms": at, "outcome": {"completion_tokens": 9}, "decisions": [{"request": {
        "prompt_tokens": tokens, "prompt_tokens_exact": true, "prefix_block_tokens": 16.0,
        "prefix_blocks": blocks, "prefix_hashes": hashes}}]})
}

#[tokio::test]
async fn what_of_a_trace_is_not_as_it_was_is_said() {
    let file = trace([record(1, 100, 6, 6), record(2, 3000, 187, 100), record(3, 3000, 187, 187)]);
    let flags = ["--trace", name(&file), "--policy", "least_load"];
    let (code, table, notes) = simulated(&flags).await;
    assert_eq!(code, Some(0), "{notes}");
    assert!(table.starts_with("policy") && table.contains("\nleast_load "), "{table}");
    for note in [
        "--trace: 1 of 3 prompts are shorter than a block of the modelled engine (512 tokens), so nothing of them",
        "--trace: of 1 prompts only the beginning is known, as their records have it (100 blocks): 22.9 % of all blocks",
    ] {
        assert!(notes.contains(note), "{notes}");
    }
    let model = NamedTempFile::new().unwrap();
    std::fs::write(model.path(), "block_tokens = 16\nkv_blocks = 64000").unwrap();
    let whole = trace([record(1, 100, 6, 6)]);
    let flags = ["--trace", name(&whole), "--policy", "least_load", "--model", name(&model)];
    let (code, _, notes) = simulated(&flags).await;
    assert_eq!((code, notes.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn groups_of_requests_have_rows_and_figures_of_their_own() {
    let line = |at: u32| json!({"timestamp": at * 200, "input_length": 500 + at * 100, "output_length": 20});
    let file = trace((0..40).map(line));
    let flags = ["--trace", name(&file), "--policy", "least_load", "--seeds", "2"];
    let traits = ["--header-mix", "Priority=high:0.25,low:0.5", "--long-from", "2500", "--max-tokens", "x2"];
    let labels = ["--worker-labels", "pool=short:1"];
    let (code, table, said) = simulated(&[&flags[..], &traits, &labels].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    let (_, below) = table.split_once("\n\n").expect("two tables");
    let rows: Vec<&str> = below.lines().collect();
    assert!(rows[0].starts_with("policy") && rows[0].contains("requests of"), "{table}");
    let names = ["priority: high", "priority: low", "no priority", "prompts below 2500", "prompts from 2500"];
    assert_eq!(rows.len(), 1 + names.len(), "{table}");
    for (row, name) in rows[1..].iter().zip(names) {
        assert!(row.contains(name) && row.contains('±'), "{table}");
    }
    let (_, json, _) = simulated(&[&flags[..], &traits, &labels, &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    let groups = report["runs"][0]["groups"].as_array().unwrap();
    let count = |at: usize| groups[at]["requests"].as_u64().unwrap();
    assert_eq!((count(0) + count(1) + count(2), count(3), count(4)), (40, 20, 20));
    assert_eq!(report["summary"][0]["groups"][3]["requests"]["mean"], 20.0);
    assert_eq!(report["settings"]["labels"], json!([{"pool": "short"}, {}]));
    assert_eq!(report["settings"]["requests"]["max_tokens"], json!({"times": 2.0}));
    let (code, _, said) = simulated(&[&flags[..], &["--worker-labels", "pool=short:3"]].concat()).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("--worker-labels: pool is for 3 workers, and there are 2"), "{said}");
}
