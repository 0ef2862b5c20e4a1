//! What surrounds requests at the clients' listener: CORS, ids, and which headers go on to workers.

use http::{HeaderValue, Request, StatusCode};
use sgl_router::RunningRouter;
use sgl_router::config::{CallSettings, RouterConfig, Surroundings, check};
use sgl_testkit::client::{Whole, call, chat, get, with_method};
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};

fn settings(set: impl FnOnce(&mut RouterConfig)) -> CallSettings {
    let mut config = RouterConfig::default();
    set(&mut config);
    let surroundings = Surroundings { built_in_policies: &["round_robin"], ..Surroundings::default() };
    check(config, surroundings).expect("settings without faults").proxy.calls
}

async fn with(worker: &Upstream, set: impl FnOnce(&mut RouterConfig)) -> RunningRouter {
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.calls = settings(set);
    router::start(config).await
}

fn header<B>(mut request: Request<B>, name: &'static str, value: &str) -> Request<B> {
    request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    request
}

fn preflight(path: &str, origin: &str) -> Request<http_body_util::Full<bytes::Bytes>> {
    let request = header(with_method("OPTIONS", path), "origin", origin);
    let request = header(request, "access-control-request-method", "POST");
    header(request, "access-control-request-headers", "authorization, content-type")
}

fn origin_of(answer: &Whole) -> Option<&str> {
    answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

/// A worker that lets every page read its answers, as vLLM does.
async fn lax() -> Upstream {
    Upstream::start(|_| async {
        let mut response = upstream::whole(200, "{}");
        response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
        response.headers_mut().insert("access-control-allow-credentials", HeaderValue::from_static("true"));
        response
    })
    .await
}

#[tokio::test]
async fn pages_of_allowed_origins_are_answered_by_the_router_and_others_are_not() {
    let worker = lax().await;
    let allowed = "https://chat.example.com";
    let router = with(&worker, |config| config.calls.cors_allowed_origins = vec![allowed.to_owned()]).await;
    let data = router.addresses().data;
    let told = call(data, preflight("/v1/chat/completions", allowed)).await;
    assert_eq!((told.status, origin_of(&told)), (StatusCode::NO_CONTENT, Some(allowed)));
    assert_eq!(told.headers["access-control-allow-methods"], "POST");
    assert_eq!(told.headers["access-control-allow-headers"], "authorization, content-type");
    assert_eq!(told.headers["vary"], "origin");
    let told = call(data, preflight("/v1/responses/resp_1", allowed)).await;
    assert_eq!(told.headers["access-control-allow-methods"], "GET, DELETE");
    let refused = call(data, preflight("/v1/chat/completions", "https://evil.example")).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "origin_not_allowed"));
    assert!(worker.seen().is_empty(), "browsers ask the router");
    let answer = call(data, header(chat("hi"), "origin", allowed)).await;
    assert_eq!((answer.status, origin_of(&answer)), (StatusCode::OK, Some(allowed)));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"), "the worker does not decide");
    assert_eq!(origin_of(&call(data, header(chat("hi"), "origin", "https://evil.example")).await), None);
    let error = call(data, header(get("/nothing"), "origin", allowed)).await;
    assert_eq!(
        (error.status, origin_of(&error)),
        (StatusCode::NOT_FOUND, Some(allowed)),
        "errors can be read"
    );
}

#[tokio::test]
async fn without_origins_nothing_is_told_and_what_a_worker_says_passes() {
    let worker = lax().await;
    let router = with(&worker, |_| {}).await;
    let data = router.addresses().data;
    let answer = call(data, preflight("/v1/chat/completions", "https://a.example")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(origin_of(&call(data, header(chat("hi"), "origin", "https://a.example")).await), Some("*"));
    let any = with(&worker, |config| config.calls.cors_allowed_origins = vec!["*".to_owned()]).await;
    let answer = call(any.addresses().data, header(chat("hi"), "origin", "https://a.example")).await;
    assert_eq!(origin_of(&answer), Some("*"));
}

#[tokio::test]
async fn request_has_an_id_for_worker_and_client_where_that_is_wanted() {
    let worker = Upstream::saying("{}").await;
    let router = with(&worker, |config| {
        config.calls.request_ids = true;
        config.calls.request_id_headers = vec!["x-request-id".to_owned(), "x-correlation-id".to_owned()];
    })
    .await;
    let data = router.addresses().data;
    for (name, sent) in [("x-request-id", Some("mine")), ("x-correlation-id", Some("other")), ("x-x", None)] {
        let answer = call(data, header(chat("hi"), name, sent.unwrap_or("1"))).await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(sent.is_none_or(|sent| sent == id), "{id}");
        assert_eq!(worker.seen().last().unwrap().headers["x-request-id"], id);
    }
    let lost = call(data, get("/nothing")).await;
    assert_eq!(lost.headers["x-request-id"].len(), 32, "errors have one too");
    let off = with(&worker, |_| {}).await;
    let answer = call(off.addresses().data, chat("hi")).await;
    assert!(!answer.headers.contains_key("x-request-id"));
    assert!(!worker.seen().last().unwrap().headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn workers_get_the_headers_that_are_listed_and_policies_see_all() {
    let worker = Upstream::saying("{}").await;
    let router = with(&worker, |config| config.calls.forward_headers = Some(vec!["x-keep".to_owned()])).await;
    let request = header(header(chat("hi"), "x-keep", "1"), "cookie", "secret");
    let request = header(header(request, "authorization", "Bearer x"), "x-keep", "2");
    assert_eq!(call(router.addresses().data, request).await.status, StatusCode::OK);
    let seen = &worker.seen()[0];
    let kept: Vec<&HeaderValue> = seen.headers.get_all("x-keep").iter().collect();
    assert_eq!(kept, ["1", "2"]);
    assert!(!seen.headers.contains_key("cookie") && !seen.headers.contains_key("authorization"));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["host"], worker.address.to_string().as_str());
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string().as_str());
}

#[tokio::test]
async fn id_of_the_router_is_none_of_the_headers_that_a_client_may_send() {
    let worker = Upstream::saying("{}").await;
    let (plain, with_ids) =
        (with(&worker, |_| {}).await, with(&worker, |config| config.calls.request_ids = true).await);
    let mut statuses = Vec::new();
    for count in 90..100 {
        let mut request = chat("hi");
        while request.headers().len() < count {
            request.headers_mut().append("x-more", HeaderValue::from_static("1"));
        }
        let status = call(plain.addresses().data, request.clone()).await.status;
        assert_eq!(call(with_ids.addresses().data, request).await.status, status, "{count} headers");
        statuses.push(status);
    }
    statuses.dedup();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE]);
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused_with_what_is_allowed() {
    let worker = Upstream::saying("{}").await;
    let router = with(&worker, |_| {}).await;
    let data = router.addresses().data;
    let mut many = chat("hi");
    while many.headers().len() < 97 {
        many.headers_mut().append("x-more", HeaderValue::from_static("1"));
    }
    let large = header(chat("hi"), "x-large", &"x".repeat(70_000));
    for request in [many, large] {
        let answer = call(data, request).await;
        let expected = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large");
        assert_eq!((answer.status, answer.code().as_str()), expected);
        assert!(answer.text().contains("allowed are 96 of 65536 bytes"), "{}", answer.text());
    }
    assert!(worker.seen().is_empty());
    let fits = header(chat("hi"), "x-large", &"x".repeat(60_000));
    assert_eq!(call(data, fits).await.status, StatusCode::OK);
}
