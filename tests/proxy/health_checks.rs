use http::StatusCode;
use sglang_router_rs::core::Worker;

use crate::client::Client;
use crate::client::call;
use crate::client::chat;
use crate::client::get;
use crate::router;
use crate::upstream::Upstream;

#[tokio::test]
async fn worker_that_fails_its_checks_gets_no_requests_until_it_is_back() {
    let [ill, well] = [Upstream::saying("ill").await, Upstream::saying("well").await];
    let router = router::start(router::checking(vec![ill.entry(), well.entry()])).await;
    let is_healthy = |url: String| router::target(&router, &url).unwrap().worker().is_healthy();
    router::until(async || is_healthy(ill.url()) && is_healthy(well.url())).await;

    ill.set_health(500);
    router::until(async || !is_healthy(ill.url())).await;
    let mut client = Client::connect(router.addresses().data).await;
    for _ in 0..6 {
        assert_eq!(client.call(chat("hi")).await.text(), "well");
    }
    assert!(ill.seen().is_empty());

    ill.set_health(200);
    router::until(async || is_healthy(ill.url())).await;
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
    router::until(async || target.worker().is_healthy()).await;
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
    router::until(async || tokio::net::TcpListener::bind(address).await.is_ok()).await;
    let router = router::start(router::checking(vec![entry])).await;
    let ready = async || call(router.addresses().data, get("/readiness")).await.status;
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let _worker = Upstream::start_at(address, |_| async { crate::upstream::whole(200, "{}") }).await;
    router::until(async || ready().await == StatusCode::OK).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
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
async fn load_of_an_sglang_worker_is_read_with_its_health() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/get_load", 200, r#"[{"dp_rank":0,"num_reqs":7,"num_waiting_reqs":3,"num_tokens":9}]"#);
    let router = router::start(router::checking(vec![worker.entry()])).await;
    let target = router::target(&router, &worker.url()).unwrap();
    router::until(async || target.worker().report().running == 4).await;
    let shown = router::shown(&router, &worker.url()).await.unwrap();
    assert_eq!(
        (shown["report"]["running"].as_i64(), shown["report"]["waiting"].as_i64()),
        (Some(4), Some(3))
    );
    assert!(shown["report"]["kv_usage"].is_null());
}
