//! Workers by their ids, and by the endpoints that other routers have for them.

use http::StatusCode;
use sgl_testkit::client::{call, get, post, with_method};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;

#[tokio::test]
async fn worker_is_added_listed_and_removed_as_at_other_routers() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    let added = call(admin, post(&format!("/add_worker?url={}", worker.url()), "")).await;
    assert_eq!(
        (added.status, added.text()),
        (StatusCode::OK, &*format!("Successfully added worker: {}", worker.url()))
    );
    assert_eq!(call(admin, get("/list_workers")).await.json(), serde_json::json!({"urls": [worker.url()]}));
    for path in ["/get_loads", "/loads", "/v1/loads"] {
        let loads = call(admin, get(path)).await.json();
        assert_eq!(
            (&loads["workers"][0]["worker"], &loads["workers"][0]["load"]),
            (&worker.url().into(), &0.into())
        );
    }
    let again = call(admin, post(&format!("/add_worker?url={}", worker.url()), "")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let removed = call(admin, post(&format!("/remove_worker?url={}", worker.url()), "")).await;
    assert_eq!(
        (removed.status, removed.text()),
        (StatusCode::OK, &*format!("Successfully removed worker: {}", worker.url()))
    );
    let typo = call(admin, post(&format!("/add_worker?url={}&apikey=K", worker.url()), "")).await;
    assert_eq!(typo.status, StatusCode::BAD_REQUEST, "a key that nobody takes is not left out in silence");
    let audit = call(admin, get("/v1/audit")).await;
    assert!(audit.text().contains("&api***") && !audit.text().contains("=K"), "{}", audit.text());
    let unknown = call(admin, post("/remove_worker?url=http://127.0.0.1:1", "")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn worker_is_shown_drained_and_removed_by_its_id() {
    let (worker, other) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let router = router::over(&[&other]).await;
    let admin = router.addresses().admin;
    let added = call(admin, post("/workers", &serde_json::json!({"url": worker.url()}).to_string())).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let id = added.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(added.headers["location"], format!("/workers/{id}").as_str());
    for name in [id.clone(), worker.url(), worker.url().replace("://", "%3A%2F%2F")] {
        let shown = call(admin, get(&format!("/workers/{name}"))).await.json();
        assert_eq!((&shown["id"], &shown["url"]), (&id.as_str().into(), &worker.url().into()), "{name}");
    }
    let drained = call(admin, post(&format!("/workers/drain?url={id}"), "")).await;
    assert_eq!((drained.status, &drained.json()["draining"]), (StatusCode::ACCEPTED, &true.into()));
    assert_eq!(call(admin, post(&format!("/workers/undrain?url={id}"), "")).await.status, StatusCode::OK);
    let removed = call(admin, with_method("DELETE", &format!("/workers/{id}"))).await;
    let expected = serde_json::json!({"status": "accepted", "worker_id": id, "url": worker.url()});
    assert_eq!((removed.status, removed.json()), (StatusCode::ACCEPTED, expected));
    let none = "00000000-0000-8000-8000-000000000000";
    assert_eq!(call(admin, get(&format!("/workers/{none}"))).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        call(admin, with_method("DELETE", &format!("/workers/{none}"))).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn workers_are_registered_at_the_clients_port_by_who_has_the_token_where_that_is_wanted() {
    let worker = Upstream::saying("{}").await;
    let closed = router::start(router::config(Vec::new())).await;
    assert_eq!(call(closed.addresses().data, get("/workers")).await.status, StatusCode::NOT_FOUND);
    let mut config = router::config(Vec::new());
    config.proxy.calls.worker_api = true;
    config.admin_token = Some("secret".to_owned());
    let router = router::start(config).await;
    let data = router.addresses().data;
    let with_token = |mut request: http::Request<_>| {
        request.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
        request
    };
    let body = serde_json::json!({"url": worker.url()}).to_string();
    for request in [get("/workers"), post("/workers", &body), post("/add_worker?url=http://127.0.0.1:1", "")]
    {
        assert_eq!(call(data, request).await.status, StatusCode::UNAUTHORIZED);
    }
    let added = call(data, with_token(post("/workers", &body))).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
    assert_eq!(call(data, with_token(get("/list_workers"))).await.json()["urls"][0], worker.url());
    assert_eq!(call(data, sgl_testkit::client::chat("hi")).await.status, StatusCode::OK, "it serves");
    for path in ["/v1/plugins", "/flush_cache", "/v1/queue"] {
        assert_eq!(call(data, with_token(get(path))).await.code(), "not_found", "{path}");
    }
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let removed = call(data, with_token(with_method("DELETE", &format!("/workers/{id}")))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
}
