//! Calls by which operators steer engines, sent to workers.

use http::{HeaderValue, StatusCode};
use sgl_testkit::client::{call, get, post};
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};

#[tokio::test]
async fn call_reaches_every_worker_or_those_that_are_named() {
    let workers = [Upstream::saying(r#"{"ok": true}"#).await, Upstream::saying("done").await];
    let router = router::over(&[&workers[0], &workers[1]]).await;
    let admin = router.addresses().admin;
    let mut request = post("/sleep?level=1&timeout_secs=5", r#"{"x": 1}"#);
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer operators"));
    let all = call(admin, request).await;
    let told = all.json();
    assert_eq!(
        (all.status, &told["status"], &told["total_workers"]),
        (StatusCode::OK, &"success".into(), &2.into())
    );
    assert_eq!(told["successful"], serde_json::json!([workers[0].url(), workers[1].url()]));
    let bodies = [&told["workers"][0]["body"], &told["workers"][1]["body"]];
    assert_eq!(bodies, [&serde_json::json!({"ok": true}), &"done".into()]);
    for worker in &workers {
        let seen = &worker.seen()[0];
        assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("POST", "/sleep?level=1"));
        assert_eq!(seen.body, &br#"{"x": 1}"#[..]);
        assert_eq!(seen.headers["content-type"], "application/json");
        assert!(!seen.headers.contains_key("authorization"), "the operators' token is not the engine's");
    }
    let id = told["workers"][1]["id"].as_str().unwrap().to_owned();
    for name in [id, workers[1].url()] {
        let some = call(admin, post(&format!("/flush_cache?worker={name}"), "")).await.json();
        assert_eq!(some["successful"], serde_json::json!([workers[1].url()]));
    }
    assert_eq!((workers[0].seen().len(), workers[1].seen().len()), (1, 3));
    let any = call(admin, post("/v1/fanout/engine/of/the/future?a=b%20c", "{}")).await;
    assert_eq!(any.status, StatusCode::OK);
    assert_eq!(workers[0].seen()[1].uri, "/engine/of/the/future?a=b+c");
}

#[tokio::test]
async fn worker_that_does_not_do_it_is_told_beside_those_that_do() {
    let (does, refuses) =
        (Upstream::saying("{}").await, Upstream::start(|_| async { upstream::whole(500, "no") }).await);
    let (silent, _gate) = Upstream::behind_a_gate().await;
    let mut entries = vec![does.entry(), refuses.entry(), silent.entry()];
    let gone = router::entry("127.0.0.1:1".parse().unwrap());
    entries.push(gone.clone());
    let router = router::start(router::config(entries)).await;
    let admin = router.addresses().admin;
    let some = call(admin, post("/reset_prefix_cache?timeout_secs=1", "")).await;
    let told = some.json();
    assert_eq!(
        (some.status, &told["status"]),
        (StatusCode::PARTIAL_CONTENT, &"partial_success".into()),
        "{told}"
    );
    assert_eq!(told["successful"], serde_json::json!([does.url()]));
    let failed: Vec<(&str, &str)> = told["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| (failure["worker"].as_str().unwrap(), failure["error"].as_str().unwrap()))
        .collect();
    assert_eq!(failed[0], (&*refuses.url(), "it answered 500"));
    assert_eq!(failed[1].0, silent.url());
    assert!(failed[1].1.contains("did not answer in time"), "{failed:?}");
    assert!(failed[2].0 == gone.url && failed[2].1.contains("cannot be reached"), "{failed:?}");
    let none = call(admin, post(&format!("/flush_cache?worker={}", gone.url), "")).await;
    assert_eq!((none.status, &none.json()["status"]), (StatusCode::BAD_GATEWAY, &"failure".into()));
}

#[tokio::test]
async fn call_that_names_a_stranger_or_only_asks_to_change_by_get_is_sent_to_nobody() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let admin = router.addresses().admin;
    let path = format!("/flush_cache?worker={}&worker=http://127.0.0.1:1", worker.url());
    assert_eq!(call(admin, post(&path, "")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(call(admin, post("/flush_cache?timeout_secs=0", "")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(call(admin, get("/flush_cache")).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(worker.seen().is_empty());
    assert_eq!(call(admin, get("/is_sleeping")).await.status, StatusCode::OK);
    assert_eq!(worker.seen()[0].method, "GET");
    let empty = router::start(router::config(Vec::new())).await;
    assert_eq!(call(empty.addresses().admin, post("/flush_cache", "")).await.status, StatusCode::NOT_FOUND);
}
