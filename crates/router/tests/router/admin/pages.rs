//! The operators' and the metrics listener are not for web pages.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sgl_testkit::client::{Whole, call, get, with_method};
use sgl_testkit::small_guests::guest_choosing;

use crate::admin::api::{Setup, json, put};

/// Everything that can be asked for and done, and the status that an operator gets.
fn every_endpoint() -> Vec<Request<Full<Bytes>>> {
    let worker = json!({"url": "http://127.0.0.1:1"});
    vec![
        get("/workers"),
        json("POST", "/workers", &worker),
        with_method("POST", "/workers/drain?url=http://127.0.0.1:1"),
        with_method("DELETE", "/workers?url=http://127.0.0.1:1"),
        get("/v1/plugins"),
        get("/v1/plugins/mine"),
        put("/v1/plugins/mine", guest_choosing(1)),
        json("PATCH", "/v1/plugins/mine/config", &json!({"max_execution_time_ms": 20})),
        with_method("POST", "/v1/plugins/mine/rollback"),
        with_method("POST", "/v1/plugins/mine/promote"),
        with_method("POST", "/v1/plugins/mine/pause"),
        with_method("POST", "/v1/plugins/mine/resume"),
        with_method("DELETE", "/v1/plugins/mine?force=true"),
        get("/v1/decisions"),
        get("/v1/queue"),
        get("/v1/status"),
        get("/v1/events"),
        get("/v1/openapi.json"),
        get("/nowhere"),
    ]
}

fn with(mut request: Request<Full<Bytes>>, name: &'static str, value: &'static str) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    request
}

fn refused(answer: &Whole, code: &str, says: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::FORBIDDEN, &json!(code)));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(says), "{detail}");
}

#[tokio::test]
async fn every_endpoint_is_refused_to_foreign_names_and_pages() {
    let setup = Setup::new().await;
    let before = setup.show("mine").await;
    for (name, value, code, says) in [
        ("host", "evil.example:29001", "foreign_host", "admin.allowed_hosts"),
        ("origin", "https://evil.example", "foreign_page", "evil.example"),
        ("origin", "null", "foreign_page", "null"),
        ("sec-fetch-site", "cross-site", "foreign_page", "cross-site"),
        ("sec-fetch-site", "same-site", "foreign_page", "same-site"),
    ] {
        for request in every_endpoint() {
            refused(&setup.admin(with(request, name, value)).await, code, says);
        }
        let metrics = with(get("/metrics"), name, value);
        let says = if name == "host" { "metrics.allowed_hosts" } else { says };
        refused(&call(setup.router.addresses().metrics, metrics).await, code, says);
    }
    assert_eq!(setup.show("mine").await, before, "nothing has changed");
    let workers = setup.admin(get("/workers")).await.json();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn listed_names_are_answered_to() {
    let setup = Setup::with(|config| {
        config.operations.admin_hosts = vec!["router.internal".to_owned()];
        config.operations.metrics_hosts = vec!["scraped.internal".to_owned()];
    })
    .await;
    let (admin, metrics) = (setup.router.addresses().admin, setup.router.addresses().metrics);
    for (address, path, host, status) in [
        (admin, "/workers", "router.internal:29001", StatusCode::OK),
        (admin, "/workers", "scraped.internal", StatusCode::FORBIDDEN),
        (metrics, "/metrics", "scraped.internal:29000", StatusCode::OK),
        (metrics, "/metrics", "router.internal", StatusCode::FORBIDDEN),
        (metrics, "/metrics", "localhost", StatusCode::OK),
    ] {
        assert_eq!(call(address, with(get(path), "host", host)).await.status, status, "{host} for {path}");
    }
}

#[tokio::test]
async fn with_a_token_any_name_will_do_and_without_it_nothing() {
    let setup = Setup::with(|config| config.admin_token = Some("secret".to_owned())).await;
    for request in every_endpoint() {
        let plain = setup.admin(with(request, "origin", "https://evil.example")).await;
        assert_eq!(plain.status, StatusCode::UNAUTHORIZED);
    }
    let named = with(get("/workers"), "host", "router.internal:29001");
    let named = with(named, "authorization", "Bearer secret");
    assert_eq!(setup.admin(named).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_need_their_content_type_and_415_says_which() {
    let setup = Setup::new().await;
    let worker = json!({"url": "http://127.0.0.1:1"});
    let patch = json!({"max_execution_time_ms": 20});
    let json_only = "application/json";
    for (request, wanted) in [
        (json("POST", "/workers", &worker), json_only),
        (json("PATCH", "/v1/plugins/mine/config", &patch), json_only),
        (put("/v1/plugins/mine", guest_choosing(1)), "application/wasm"),
    ] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
        {
            let mut sent = with(request.clone(), "content-type", kind);
            if kind.is_empty() {
                sent.headers_mut().remove("content-type");
            }
            let answer = setup.admin(sent).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}: {}", answer.text());
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(wanted) && detail.contains(kind), "{detail}");
        }
    }
    let as_module = with(json("POST", "/workers", &worker), "content-type", "application/wasm");
    assert_eq!(setup.admin(as_module).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let workers: Value = setup.admin(get("/workers")).await.json();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 2);
    let with_charset =
        with(json("POST", "/workers", &worker), "content-type", "Application/JSON; charset=utf-8");
    assert_eq!(setup.admin(with_charset).await.status, StatusCode::CREATED);
}
