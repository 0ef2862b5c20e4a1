//! What the router learns of engines that speak their own dialects, and of those that lie.

use sgl_router::config::{EngineSetting, WorkerEntry};
use sgl_testkit::client::{call, chat, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::core::Worker;

const SGLANG_INFO: &str = r#"{"model_path": "/m", "tp_size": 1, "dp_size": 1, "page_size": 64, "version": "0.5.23",
    "max_total_num_tokens": 9}"#;
const SGLANG_LOADS: &str = r#"{"version": "0.5.23", "loads": [
    {"dp_rank": 0, "num_running_reqs": 4, "num_waiting_reqs": 3, "num_waiting_uncached_tokens": 70, "token_usage": 0.5,
     "gen_throughput": 12.5, "max_total_num_tokens": 65536, "max_running_requests": 48},
    {"dp_rank": 1, "num_running_reqs": 1, "num_waiting_reqs": 0, "num_waiting_uncached_tokens": 5, "token_usage": 0.25,
     "gen_throughput": 2.5, "max_total_num_tokens": 65536, "max_running_requests": 48}]}"#;
const VLLM_METRICS: &str = "# TYPE vllm:num_requests_running gauge\n\
    vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 4.0\nvllm:num_requests_waiting{engine=\"0\"} 3.0\n\
    vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:generation_tokens_total{engine=\"0\"} 1000\n\
    vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"256\"} 1.0\n";
const LLAMA_PROPS: &str =
    r#"{"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2, "build_info": "b1"}"#;
const LLAMA_METRICS: &str = "llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n";
const LLAMA_SLOTS: &str = r#"[{"id": 0, "is_processing": true}, {"id": 1, "is_processing": false}]"#;

/// The view of the only worker, once `is_so` holds of it.
async fn shown_once(
    router: &sgl_router::RunningRouter,
    worker: &Upstream,
    is_so: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    until(async || router::shown(router, &worker.url()).await.is_some_and(|view| is_so(&view))).await;
    router::shown(router, &worker.url()).await.unwrap()
}

fn fails(metrics: &str, worker: &Upstream, cause: &str) -> u64 {
    let line = format!("worker_reports_failed_total{{worker=\"{}\",cause=\"{cause}\"}} ", worker.url());
    let rest = metrics.split(&line).nth(1).unwrap_or_else(|| panic!("{line} is missing in {metrics}"));
    rest.lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn sglang_is_found_out_and_its_load_and_facts_are_known() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/server_info", 200, SGLANG_INFO);
    worker.serve("/v1/loads", 200, SGLANG_LOADS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let shown = shown_once(&router, &worker, |view| view["engine"]["kv_capacity_tokens"] == 131_072).await;
    let engine = serde_json::json!({"setting": "auto", "name": "sglang", "version": "0.5.23",
        "kv_capacity_tokens": 131_072, "block_size": 64, "max_running_requests": 96,
        "load_path": "/v1/loads?include=core", "models": null});
    assert_eq!(shown["engine"], engine);
    let report = &shown["report"];
    assert_eq!(
        (&report["running"], &report["waiting"], &report["queued_tokens"]),
        (&5.into(), &3.into(), &75.into())
    );
    assert_eq!((&report["kv_usage"], &report["throughput"]), (&0.375.into(), &15.0.into()));
    assert!(report["report_age_ms"].as_i64().unwrap() >= 0);
    let table = router.proxy().backends().snapshot().table().clone();
    assert_eq!(table.workers()[0].engine().block_size, Some(64));
    assert_eq!(worker.asked("/metrics"), 0, "nobody else is asked for");
}

#[tokio::test]
async fn vllm_is_found_out_and_its_throughput_worked_out() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/version", 200, r#"{"version": "0.32.0"}"#);
    worker.serve("/metrics", 200, VLLM_METRICS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let shown = shown_once(&router, &worker, |view| view["engine"]["kv_capacity_tokens"] == 4096).await;
    let engine = serde_json::json!({"setting": "auto", "name": "vllm", "version": "0.32.0",
        "kv_capacity_tokens": 4096, "block_size": 16, "max_running_requests": null, "load_path": "/metrics",
        "models": null});
    assert_eq!(shown["engine"], engine);
    let report = &shown["report"];
    assert_eq!(
        (&report["running"], &report["waiting"], &report["kv_usage"]),
        (&4.into(), &3.into(), &0.5.into())
    );
    assert!(report["queued_tokens"].is_null());
    // Two of the same: nothing was generated in between.
    shown_once(&router, &worker, |view| view["report"]["throughput"] == 0.0).await;
    worker.serve("/metrics", 200, &VLLM_METRICS.replace(" 1000\n", " 2000\n"));
    shown_once(&router, &worker, |view| view["report"]["throughput"].as_f64().is_some_and(|rate| rate > 0.0))
        .await;
}

#[tokio::test]
async fn llama_cpp_is_found_out_with_and_without_its_metrics() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/props", 200, LLAMA_PROPS);
    worker.serve("/metrics", 501, "");
    worker.serve("/slots", 200, LLAMA_SLOTS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let shown = shown_once(&router, &worker, |view| view["report"]["running"] == 1).await;
    let engine = serde_json::json!({"setting": "auto", "name": "llamacpp", "version": "b1",
        "kv_capacity_tokens": 4096, "block_size": null, "max_running_requests": 2, "load_path": "/slots",
        "models": null});
    assert_eq!(shown["engine"], engine);
    worker.serve("/slots", 501, "");
    worker.serve("/metrics", 200, LLAMA_METRICS);
    shown_once(&router, &worker, |view| view["report"]["waiting"] == 5).await;
}

#[tokio::test]
async fn engine_that_comes_back_as_another_is_found_out_again_and_makes_a_new_table() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/server_info", 200, SGLANG_INFO);
    worker.serve("/v1/loads", 200, SGLANG_LOADS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    shown_once(&router, &worker, |view| view["engine"]["max_running_requests"] == 96).await;
    let version = || router.proxy().backends().snapshot().table().clone();
    let before = version();
    worker.set_health(500);
    shown_once(&router, &worker, |view| view["passing"] == false && view["report"]["running"].is_null())
        .await;
    worker.serve("/server_info", 404, "");
    worker.serve("/v1/loads", 404, "");
    worker.serve("/version", 200, r#"{"version": "0.32.0"}"#);
    worker.serve("/metrics", 200, VLLM_METRICS);
    worker.set_health(200);
    let shown = shown_once(&router, &worker, |view| view["engine"]["kv_capacity_tokens"] == 4096).await;
    assert_eq!(
        (&shown["engine"]["name"], &shown["engine"]["max_running_requests"]),
        (&"vllm".into(), &serde_json::Value::Null)
    );
    let after = version();
    assert_ne!(format!("{:?}", before.workers()[0].engine()), format!("{:?}", after.workers()[0].engine()));
    assert_ne!(
        sglang_router_rs::core::CandidateWorkers::version(&*before),
        sglang_router_rs::core::CandidateWorkers::version(&*after)
    );
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "{}");
}

#[tokio::test]
async fn load_is_asked_for_without_health_checks_too() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/v1/loads", 200, SGLANG_LOADS);
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.health.load_interval = Some(std::time::Duration::from_millis(10));
    let router = router::start(config).await;
    shown_once(&router, &worker, |view| view["report"]["running"] == 5).await;
    worker.checks(0).await;
}

#[tokio::test]
async fn named_engine_is_asked_in_its_own_way_only_and_none_not_at_all() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/get_load", 200, r#"{"load": 7}"#);
    worker.serve("/metrics", 200, VLLM_METRICS);
    let entry = |engine| WorkerEntry { engine, ..worker.entry() };
    let router = router::start(router::checking(vec![entry(EngineSetting::Vllm)])).await;
    let shown = shown_once(&router, &worker, |view| view["report"]["running"] == 4).await;
    assert_eq!((&shown["engine"]["setting"], &shown["engine"]["name"]), (&"vllm".into(), &"vllm".into()));
    assert_eq!(worker.asked("/get_load") + worker.asked("/server_info") + worker.asked("/slots"), 0);
    drop(router);

    let quiet = Upstream::saying("{}").await;
    quiet.serve("/get_load", 200, r#"{"load": 7}"#);
    let router = router::start(router::checking(Vec::new())).await;
    let body = serde_json::json!({"url": quiet.url(), "engine": "none"}).to_string();
    assert_eq!(
        call(router.addresses().admin, post("/workers", &body)).await.json()["engine"]["setting"],
        "none"
    );
    quiet.checks(5).await;
    assert_eq!(quiet.asked("/get_load") + quiet.asked("/server_info") + quiet.asked("/metrics"), 0);
    assert!(!router::metrics(&router).await.text().contains("worker_report_age_seconds{"), "nobody asks it");
    let refused = serde_json::json!({"url": "http://127.0.0.1:1", "engine": "ollama"}).to_string();
    assert_eq!(call(router.addresses().admin, post("/workers", &refused)).await.status, 400);
}

#[tokio::test]
async fn worker_that_never_reports_is_told_of_by_metrics() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::checking(vec![worker.entry()])).await;
    until(async || fails(router::metrics(&router).await.text(), &worker, "absent") >= 2).await;
    let age = format!("worker_report_age_seconds{{worker=\"{}\"}} ", worker.url());
    let page = router::metrics(&router).await.text().to_owned();
    assert!(page.contains(&format!("{age}inf")) || page.contains(&format!("{age}+Inf")), "{page}");
    worker.serve("/get_load", 200, r#"{"load": 7}"#);
    shown_once(&router, &worker, |view| view["report"]["running"] == 7).await;
    let page = router::metrics(&router).await.text().to_owned();
    let seconds: f64 = page.split(&age).nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((0.0..60.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn nonsense_is_unknown_and_counted_and_harms_nobody() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/server_info", 200, SGLANG_INFO);
    worker.serve("/v1/loads", 200, SGLANG_LOADS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let lies = [
        (r#"{"loads": [{"num_running_reqs": -4, "num_waiting_reqs": 1}]}"#.to_owned(), "nonsense"),
        (r#"{"loads": [{"num_running_reqs": 1e300, "num_waiting_reqs": 1}]}"#.to_owned(), "nonsense"),
        (r#"{"loads": [{"num_running_reqs": "4", "num_waiting_reqs": 1}]}"#.to_owned(), "nonsense"),
        (
            r#"{"loads": [{"num_running_reqs": [4], "num_waiting_reqs": 1, "token_usage": NaN}]}"#.to_owned(),
            "unreadable",
        ),
        (format!("{{\"loads\": [{}{{}}]}}", r#"{"num_running_reqs": 1},"#.repeat(20_000)), "unreadable"),
        (format!("{{\"loads\": {}}}", "[".repeat(200_000)), "unreadable"),
        ("x".repeat(5 << 20), "unreadable"),
    ];
    for (lie, cause) in lies {
        worker.serve("/v1/loads", 200, SGLANG_LOADS);
        shown_once(&router, &worker, |view| view["report"]["running"] == 5).await;
        let before = fails(router::metrics(&router).await.text(), &worker, cause);
        worker.serve("/v1/loads", 200, &lie);
        shown_once(&router, &worker, |view| view["report"]["running"].is_null()).await;
        assert!(fails(router::metrics(&router).await.text(), &worker, cause) > before, "{cause}: {lie:.60}");
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "{}");
    }
}

#[tokio::test]
async fn facts_that_stay_the_same_make_no_new_table() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/server_info", 200, SGLANG_INFO);
    worker.serve("/v1/loads", 200, SGLANG_LOADS);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    shown_once(&router, &worker, |view| view["engine"]["kv_capacity_tokens"] == 131_072).await;
    let table =
        || sglang_router_rs::core::CandidateWorkers::version(&**router.proxy().backends().snapshot().table());
    let before = table();
    let asked = worker.asked("/v1/loads");
    until(async || worker.asked("/v1/loads") >= asked + 5).await;
    assert_eq!(table(), before, "the same facts make no new table");
}
