use http::StatusCode;
use sgl_testkit::client::{TestClient, chat, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;

#[tokio::test]
async fn metrics_tell_requests_latencies_and_workers() {
    let [well, ill] = [Upstream::saying("{}").await, Upstream::failing(502).await];
    let router = router::over(&[&ill, &well]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    // Each retry takes a turn of round robin too, so both requests begin at the same worker.
    for _ in 0..2 {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
    }
    assert_eq!(client.call(post("/v1/nothing", "")).await.status, StatusCode::NOT_FOUND);
    let answer = router::metrics(&router).await;
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (well, ill) = (well.url(), ill.url());
    for line in [
        r#"sgl_router_requests_total{route="chat_completions",status="2xx"} 2"#.to_owned(),
        r#"sgl_router_request_duration_seconds_count{route="chat_completions"} 2"#.to_owned(),
        r#"sgl_router_request_duration_seconds_bucket{le="+Inf",route="chat_completions"} 2"#.to_owned(),
        r#"sgl_router_first_byte_seconds_count{route="chat_completions"} 2"#.to_owned(),
        r#"sgl_router_retries_total{reason="status"} 2"#.to_owned(),
        r#"sgl_router_client_disconnects_total{route="chat_completions"} 0"#.to_owned(),
        format!(r#"sgl_router_worker_in_flight{{worker="{well}"}} 0.0"#),
        format!(r#"sgl_router_worker_healthy{{worker="{well}"}} 1.0"#),
        format!(r#"sgl_router_worker_draining{{worker="{well}"}} 0.0"#),
        format!(r#"sgl_router_worker_circuit_state{{worker="{ill}"}} 0.0"#),
        format!(r#"sgl_router_worker_requests_total{{worker="{well}",outcome="success"}} 2"#),
        format!(r#"sgl_router_worker_requests_total{{worker="{ill}",outcome="failure"}} 2"#),
        "# EOF".to_owned(),
    ] {
        assert!(answer.text().lines().any(|found| found == line), "{line} is missing in\n{}", answer.text());
    }
}
