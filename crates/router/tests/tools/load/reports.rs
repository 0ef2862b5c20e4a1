//! The form of the reports.

use serde_json::Value;
use sgl_tools::load::{RunInfo, Summary, html_page, text_table};
use sgl_tools::sim::SimConfig;

use crate::load::plans::{made, plan, sim, sim_with, target};

/// Two streamed rounds of two targets, one of which has a name that is no HTML.
async fn summary() -> Summary {
    let (a, b) = (sim("worker-a").await, sim("worker-b").await);
    let mut plan = plan(&a.url(), 30);
    plan.shape.stream = true;
    plan.targets = vec![target("first", &a.url()), target("<second & last>", &b.url())];
    plan.rounds = 2;
    let run = RunInfo { started: "a day".to_owned(), command: "load <x>".to_owned(), ..RunInfo::default() };
    Summary::new(&plan, &made(&plan).await, run)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn json_has_this_form() {
    let json: Value = serde_json::from_str(&summary().await.to_json()).unwrap();
    assert_eq!(keys(&json), ["comparison", "interrupted", "run", "settings", "targets", "version"]);
    assert_eq!((&json["version"], &json["interrupted"]), (&1.into(), &false.into()));
    assert_eq!(json["settings"]["pace"], serde_json::json!({"kind": "closed", "connections": 3}));
    let target = &json["targets"][0];
    let expected = [
        "error_bodies",
        "error_rate",
        "errors",
        "failed",
        "median",
        "name",
        "requests",
        "rounds",
        "url",
        "workers",
    ];
    assert_eq!(keys(target), expected);
    assert_eq!((&target["requests"], &target["failed"]), (&60.into(), &0.into()));
    let worker = serde_json::json!({"worker": "worker-a", "requests": 60, "share": 1.0});
    assert_eq!(target["workers"], serde_json::json!([worker]));
    let figures = [
        "between_tokens_ms",
        "first_token_ms",
        "lag_ms",
        "latency_ms",
        "requests_per_second",
        "service_ms",
        "tokens_per_second",
    ];
    assert_eq!(keys(&target["median"]), figures);
    let round = &target["rounds"][1];
    let mut expected = [
        "errors",
        "interrupted_requests",
        "measured_seconds",
        "ok",
        "round",
        "swaps",
        "timeline",
        "tokens",
        "warmup_requests",
    ]
    .to_vec();
    expected.extend(figures);
    expected.sort_unstable();
    assert_eq!(keys(round), expected);
    assert_eq!((&round["ok"], &round["tokens"], &round["round"]), (&30.into(), &120.into(), &2.into()));
    let quantiles = ["count", "max", "mean", "p50", "p90", "p95", "p99", "p999"];
    assert_eq!(keys(&round["latency_ms"]), quantiles);
    assert_eq!(round["between_tokens_ms"]["count"], 90);
    assert_eq!(keys(&round["timeline"]), ["bin_seconds", "failed", "max_ms", "ok"]);
    let answered: u64 = round["timeline"]["ok"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(answered, 30);
    assert_eq!(round["timeline"]["bin_seconds"], 1.0);
    let compared = &json["comparison"][0];
    assert_eq!(compared["against"], "first");
    let (low, high) = (&compared["spread"]["latency_p99"]["low"], &compared["spread"]["latency_p99"]["high"]);
    let median = compared["latency_p99"].as_f64().unwrap();
    assert!((low.as_f64().unwrap()..=high.as_f64().unwrap()).contains(&median), "{compared}");
}

#[tokio::test]
async fn page_needs_nothing_else_and_has_every_plot() {
    let page = html_page(&summary().await);
    for loads in ["src=", "href=", "url(", "@import", "<script", "<link", "<img", "<iframe", "<object"] {
        assert!(!page.contains(loads), "{loads} loads something");
    }
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    // Answers, first tokens, gaps; then throughput and longest answers of both targets.
    assert_eq!(page.matches("<svg viewBox").count(), 3 + 2 * 2);
    // Those of the two names in the key besides.
    assert_eq!((page.matches("<svg ").count(), page.matches("</svg>").count()), (9, 9));
    assert_eq!(page.matches("<polyline ").count(), 3 * 2 + 2 * 2 + 2);
    assert_eq!(page.matches("<title>first</title>").count(), 3, "a line in each distribution");
    assert!(page.contains("&lt;second &amp; last&gt;") && !page.contains("<second"));
    for says in ["<dd>a day</dd>", "<code>load &lt;x&gt;</code>", "<dt>version</dt>", "<dt>machine</dt>"] {
        assert!(page.contains(says), "{says} is missing");
    }
    assert_eq!(page.matches("<p class=\"verdict\">").count(), 1);
    assert!(page.contains("too few rounds to tell a difference."));
    for worker in ["worker-a", "worker-b"] {
        assert!(page.contains(&format!("<td>{worker}</td><td>60</td><td>100.00 %</td>")), "{worker}");
    }
    let empty = page.split("points=\"").skip(1).filter(|points| points.starts_with('"')).count();
    assert_eq!(empty, 0, "every line has points");
}

#[tokio::test]
async fn page_of_a_run_without_an_answer_plots_failures_and_nothing_else() {
    let worker = sim_with(SimConfig { fail_rate: 1.0, ..SimConfig::default() }).await;
    let plan = plan(&worker.url(), 30);
    let page = html_page(&Summary::new(&plan, &made(&plan).await, RunInfo::default()));
    assert_eq!(page.matches("<figcaption>").count(), 1, "{page}");
    assert!(page.contains("<figcaption>Answers a second<") && page.contains("<title>failed</title>"));
    assert!(!page.contains("Distributions") && !page.contains("NaN"), "{page}");
}

#[tokio::test]
async fn table_tells_the_figures_of_every_target_and_how_they_compare() {
    let table = text_table(&summary().await);
    for part in [
        "first (http://127.0.0.1:",
        "60 requests: 60 answered, 0 failed (0.00 %)",
        "(medians of 2 rounds, max of all)",
        "whole answer",
        "first token",
        "between tokens",
        "workers: worker-b 100.0 %",
        "against first",
        "too few rounds to tell a difference.",
    ] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    assert!(!table.contains("sent late by"), "a closed loop is not late:\n{table}");
}
