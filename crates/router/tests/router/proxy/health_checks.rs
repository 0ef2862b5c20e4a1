use http::StatusCode;
use sgl_router::config::WorkerEntry;
use sgl_router::internals::{Shape, Shortage};
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::process::Process;
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{raw, router};
use sglang_router_rs::core::{Worker, WorkerRole};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn worker_that_fails_its_checks_gets_no_requests_until_it_is_back() {
    let [ill, well] = [Upstream::saying("ill").await, Upstream::saying("well").await];
    let router = router::start(router::checking(vec![ill.entry(), well.entry()])).await;
    let is_healthy = |url: String| router::target(&router, &url).unwrap().worker().is_healthy();
    until(async || is_healthy(ill.url()) && is_healthy(well.url())).await;

    ill.set_health(500);
    until(async || !is_healthy(ill.url())).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..6 {
        assert_eq!(client.call(chat("hi")).await.text(), "well");
    }
    assert!(ill.seen().is_empty());

    ill.set_health(200);
    until(async || is_healthy(ill.url())).await;
    let answers = [client.call(chat("hi")).await, client.call(chat("hi")).await];
    assert!(answers.iter().any(|answer| answer.text() == "ill"));
}

#[tokio::test]
async fn one_failed_check_is_not_enough() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::checking(vec![worker.entry()]);
    config.proxy.health.failures = u32::MAX;
    let router = router::start(config).await;
    let target = router::target(&router, &worker.url()).unwrap();
    until(async || target.worker().is_healthy()).await;
    worker.set_health(500);
    worker.checks(5).await;
    assert!(target.worker().is_healthy());
}

#[tokio::test]
async fn worker_that_does_not_listen_is_not_healthy_until_it_does() {
    let before = Upstream::saying("before").await;
    let address = before.address;
    let entry = before.entry();
    drop(before);
    until(async || tokio::net::TcpListener::bind(address).await.is_ok()).await;
    let router = router::start(router::checking(vec![entry])).await;
    let ready = async || call(router.addresses().data, get("/readiness")).await.status;
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let _worker = Upstream::start_at(address, |_| async { sgl_testkit::upstream::whole(200, "{}") }).await;
    until(async || ready().await == StatusCode::OK).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn worker_that_answers_only_over_connections_that_it_has_does_not_pass() {
    let worker = Raw::start(|_| Act::Say(raw::whole(""))).await;
    let mut config = router::checking(vec![worker.entry()]);
    // Would use the connection at the same time.
    config.proxy.health.load_interval = None;
    let router = router::start(config).await;
    let target = router::target(&router, &worker.entry().url).unwrap();
    until(async || target.is_passing()).await;
    worker.stop_listening();
    until(async || !target.is_passing()).await;
}

#[tokio::test]
async fn check_that_fails_for_want_of_descriptors_says_nothing_of_the_worker() {
    let worker = Upstream::saying("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    std::fs::write(&file, "[upstream]\nconnect_timeout_ms = 20\n").unwrap();
    let checks = ["--health-check-interval-secs", "1", "--health-failure-threshold", "1"];
    let rest = ["--config", file.to_str().unwrap(), "--worker-urls", &worker.url()];
    let arguments = [&checks[..], &rest, &["--max-connections", "100000"]].concat();
    let mut router = Process::serve_under("ulimit -n 64", &arguments).await;
    router.ready().await;
    // Idle ones would give way.
    let mut busy = Vec::new();
    for _ in 0..80 {
        let mut client = TcpStream::connect(router.data).await.unwrap();
        let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 9\r\n\r\n";
        client.write_all(head).await.unwrap();
        busy.push(client);
    }
    soon(router.logged("its health cannot be checked")).await;
    drop(busy);
    assert_eq!(call(router.data, get("/readiness")).await.status, StatusCode::OK);
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn liveness_does_not_ask_for_workers() {
    let router = router::start(router::config(Vec::new())).await;
    for path in ["/health", "/liveness"] {
        assert_eq!(call(router.addresses().data, get(path)).await.status, StatusCode::OK);
    }
    assert_eq!(
        call(router.addresses().data, get("/readiness")).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn load_of_an_sglang_worker_is_read_in_both_forms() {
    for (path, body) in [
        ("/get_load", r#"[{"dp_rank":0,"num_reqs":7,"num_waiting_reqs":3,"num_tokens":9}]"#),
        (
            "/v1/loads",
            r#"{"timestamp":"2026-11-27T07:00:00","version":"0.5.23","loads":[{"dp_rank":0,"num_running_reqs":4,
                "num_waiting_reqs":3,"num_used_tokens":10,"max_total_num_tokens":100}]}"#,
        ),
    ] {
        let worker = Upstream::saying("{}").await;
        worker.serve(path, 200, body);
        let router = router::start(router::checking(vec![worker.entry()])).await;
        let target = router::target(&router, &worker.url()).unwrap();
        until(async || target.worker().report().running == 4).await;
        let shown = router::shown(&router, &worker.url()).await.unwrap();
        assert_eq!(
            (shown["report"]["running"].as_i64(), shown["report"]["waiting"].as_i64()),
            (Some(4), Some(3))
        );
        assert!(shown["report"]["kv_usage"].is_null());
    }
}

#[tokio::test]
async fn load_is_unknown_when_a_healthy_worker_does_not_report_any_more() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let target = router::target(&router, &worker.url()).unwrap();
    // An error, a path that is gone, nonsense, silence.
    for (status, body) in [(500, ""), (404, ""), (200, "{\"num_reqs\": \"many\"}"), (0, "")] {
        worker.serve("/get_load", 200, r#"{"num_reqs": 7}"#);
        until(async || target.worker().report().running == 7).await;
        worker.serve("/get_load", status, body);
        until(async || target.worker().report().running == -1).await;
        assert!(target.worker().is_healthy());
    }
}

#[tokio::test]
async fn worker_without_a_load_path_is_asked_again_and_read_once_it_has_one() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let target = router::target(&router, &worker.url()).unwrap();
    until(async || worker.asked("/v1/loads") >= 3 && worker.asked("/get_load") >= 3).await;
    assert_eq!(target.worker().report().running, -1);
    worker.serve("/get_load", 200, r#"{"num_reqs": 7}"#);
    until(async || target.worker().report().running == 7).await;
    // Another engine at the same URL.
    worker.serve("/get_load", 404, "");
    worker.serve("/v1/loads", 200, r#"{"loads": [{"num_running_reqs": 2}]}"#);
    until(async || target.worker().report().running == 2).await;
}

#[tokio::test]
async fn worker_whose_first_check_is_not_over_is_not_called_unhealthy() {
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let router = router::start(router::checking(vec![router::entry(silent.local_addr().unwrap())])).await;
    let data = router.addresses().data;
    let refused = call(data, chat("hi")).await;
    assert_eq!(refused.json()["error"]["reason"], "none_checked", "{:?}", refused.json());
    assert_eq!(call(data, get("/readiness")).await.json()["reason"], "none_checked");
}

#[tokio::test]
async fn request_that_goes_round_in_a_ring_of_routers_ends_there() {
    let (one, other) =
        (router::start(router::config(Vec::new())).await, router::start(router::config(Vec::new())).await);
    for (router, next) in [(&one, &other), (&other, &one)] {
        router.proxy().backends().add(&router::entry(next.addresses().data)).unwrap();
    }
    let answer = call(one.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::LOOP_DETECTED, "loop_detected".to_owned()));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("21 proxies"), "{message}");
    let told = |page: &str| page.lines().filter(|line| line.contains("loop_detected")).count();
    assert!(told(router::metrics(&one).await.text()) + told(router::metrics(&other).await.text()) > 0);
    // As many as may be meant.
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let through = |hops: usize| {
        let mut request = chat("hi");
        let list = vec!["10.0.0.1"; hops].join(", ");
        request.headers_mut().insert("x-forwarded-for", list.parse().unwrap());
        request
    };
    assert_eq!(call(router.addresses().data, through(20)).await.status, StatusCode::OK);
    assert_eq!(call(router.addresses().data, through(21)).await.status, StatusCode::LOOP_DETECTED);
}

#[tokio::test]
async fn readiness_and_refusals_say_why_there_is_no_worker() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::checking(Vec::new())).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let why = async |expected: &str| {
        let readiness = call(data, get("/readiness")).await;
        assert_eq!(readiness.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (&readiness.json()["ready"], &readiness.json()["reason"]),
            (&false.into(), &expected.into())
        );
        for refused in [call(data, chat("hi")).await, call(data, get("/v1/models")).await] {
            assert_eq!(refused.code(), "no_worker_available");
            assert_eq!(refused.json()["error"]["reason"], expected);
            let message = readiness.json()["message"].as_str().unwrap().to_owned();
            assert!(refused.json()["error"]["message"].as_str().unwrap().ends_with(&message), "{message}");
        }
    };
    why("none_configured").await;

    worker.set_health(500);
    call(admin, sgl_testkit::client::post("/workers", &serde_json::json!({"url": worker.url()}).to_string()))
        .await;
    until(async || call(data, get("/readiness")).await.json()["reason"] == "none_healthy").await;
    why("none_healthy").await;

    worker.set_health(200);
    until(async || call(data, get("/readiness")).await.status == StatusCode::OK).await;
    let ready = call(data, get("/readiness")).await.json();
    let snapshot = router.proxy().backends().snapshot();
    assert_eq!(Shortage::of(&snapshot, Shape::Single, None), Shortage::PolicyChoseNone, "there was somebody");
    assert_eq!(
        Shortage::of(&snapshot, Shape::Pair, None),
        Shortage::NoneQualifies,
        "it serves no half of a pair"
    );
    assert_eq!(
        ready,
        serde_json::json!({"ready": true, "workers": 1, "healthy": 1, "draining": 0, "full": 0})
    );
    let drain = format!("/workers/drain?url={}&force=true", worker.url());
    call(admin, sgl_testkit::client::with_method("POST", &drain)).await;
    why("all_draining").await;

    let embeddings = call(data, sgl_testkit::client::post("/v1/embeddings", "{}")).await;
    assert_eq!(embeddings.json()["error"]["reason"], "all_draining");
    let metrics = router::metrics(&router).await;
    for (reason, count) in
        [("none_configured", 2), ("none_healthy", 2), ("all_draining", 3), ("policy_chose_none", 0)]
    {
        let line = format!("unplaced_requests_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.text().contains(&line), "{line} is missing in {}", metrics.text());
    }
}

#[tokio::test]
async fn readiness_and_refusals_say_that_no_worker_has_the_role_that_is_needed() {
    let half = Upstream::saying("{}").await;
    for role in [WorkerRole::Prefill, WorkerRole::Decode] {
        let entry = WorkerEntry { role, ..half.entry() };
        let router = router::start(router::config(vec![entry])).await;
        let readiness = call(router.addresses().data, get("/readiness")).await;
        assert_eq!(readiness.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(readiness.json()["reason"], "none_qualifies");
        for path in ["/v1/chat/completions", "/v1/embeddings"] {
            let refused = call(router.addresses().data, sgl_testkit::client::post(path, "{}")).await;
            assert_eq!(refused.json()["error"]["reason"], "none_qualifies", "{path}");
        }
    }
}
