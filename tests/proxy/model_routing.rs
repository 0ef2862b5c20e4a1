use http::StatusCode;
use sglang_router_rs::config::router::WorkerEntry;

use crate::client::Client;
use crate::client::call;
use crate::client::get;
use crate::client::post;
use crate::router;
use crate::upstream::Upstream;

fn serving(worker: &Upstream, model: &str) -> WorkerEntry {
    WorkerEntry { model: Some(model.to_owned()), ..worker.entry() }
}

fn asking(model: &str) -> String {
    format!(r#"{{"prompt": "x", "model": "{model}"}}"#)
}

#[tokio::test]
async fn request_goes_to_a_worker_that_serves_its_model() {
    let [a, b, c] = [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("b").await];
    let router =
        router::start(router::config(vec![serving(&a, "small"), serving(&b, "big"), serving(&c, "big")]))
            .await;
    let mut client = Client::connect(router.addresses().data).await;
    for _ in 0..6 {
        assert_eq!(client.call(post("/v1/completions", &asking("small"))).await.text(), "a");
        assert_eq!(client.call(post("/v1/completions", &asking("big"))).await.text(), "b");
    }
    assert!(!b.seen().is_empty() && !c.seen().is_empty(), "both that serve it get requests");
    let unknown = client.call(post("/v1/completions", &asking("huge"))).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    assert_eq!(unknown.json()["error"]["param"], "model");
}

#[tokio::test]
async fn retry_stays_with_workers_of_the_model() {
    let [a, b] = [Upstream::failing(503).await, Upstream::saying("b").await];
    let router = router::start(router::config(vec![serving(&a, "small"), serving(&b, "big")])).await;
    let answer = call(router.addresses().data, post("/v1/completions", &asking("small"))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(b.seen().is_empty());
}

#[tokio::test]
async fn worker_of_unknown_model_may_serve_any() {
    let [a, b, any] =
        [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("any").await];
    let router = router::start(router::config(vec![serving(&a, "m1"), serving(&b, "m2"), any.entry()])).await;
    let answer = call(router.addresses().data, post("/v1/completions", &asking("other"))).await;
    assert_eq!(answer.text(), "any");
}

#[tokio::test]
async fn fleet_of_one_model_does_not_look_at_the_request() {
    let worker = Upstream::saying("fine").await;
    let router = router::start(router::config(vec![serving(&worker, "m")])).await;
    let answer = call(router.addresses().data, post("/v1/completions", &asking("other"))).await;
    assert_eq!(answer.text(), "fine");
}

#[tokio::test]
async fn models_of_all_workers_are_listed_once() {
    let [a, b, c] = [Upstream::saying("").await, Upstream::saying("").await, Upstream::saying("").await];
    a.serve("/v1/models", 200, r#"{"object":"list","data":[{"id":"x","object":"model","max_model_len":9}]}"#);
    b.serve("/v1/models", 200, r#"{"object":"list","data":[{"id":"x"},{"id":"y","object":"model"}]}"#);
    let router = router::start(router::config(vec![a.entry(), b.entry(), serving(&c, "z")])).await;
    let list = call(router.addresses().data, get("/v1/models")).await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["x", "y", "z"], "z is known although its worker does not list it");
}

#[tokio::test]
async fn models_without_workers_are_a_503() {
    let router = router::start(router::config(Vec::new())).await;
    let answer = call(router.addresses().data, get("/v1/models")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no_worker_available")
    );
}
