//! Workers registered, changed and listed by programs that were written for sglang-router or smg.

use http::StatusCode;
use serde_json::{Value, json};
use sgl_testkit::client::{Whole, call, get, post, with_method};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

/// The body of an example of sglang-router's README, with a worker that there is.
fn example(body: &str, named: &str, worker: &Upstream) -> String {
    assert!(body.contains(named), "{body}");
    body.replace(named, &worker.url())
}

async fn put(router: &sgl_router::RunningRouter, id: &str, body: &Value) -> Whole {
    let mut request = with_method("PUT", &format!("/workers/{id}")).map(|_| body.to_string().into());
    request.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    call(router.addresses().admin, request).await
}

#[tokio::test]
async fn examples_of_the_readme_register_workers_of_two_models() {
    let (a, b) = (Upstream::saying("{\"by\": \"a\"}").await, Upstream::saying("{\"by\": \"b\"}").await);
    let mut config = router::config(Vec::new());
    config.proxy.calls.worker_api = true;
    config.admin_token = Some("secret".to_owned());
    let router = router::start(config).await;
    let data = router.addresses().data;
    let with_token = |mut request: http::Request<_>| {
        request.headers_mut().insert("authorization", "Bearer secret".parse().expect("a value"));
        request
    };
    // README, Multi-Model Inference Gateway.
    let first = r#"{"url": "http://worker-a:8000", "model_id": "mistral", "priority": 10, "labels": {"tier": "gold"}}"#;
    let second = r#"{"url": "http://worker-b:8000", "model_id": "llama3", "priority": 20,
        "labels": {"policy": "power_of_two", "tier": "silver"}}"#;
    let added = call(data, with_token(post("/workers", &example(first, "http://worker-a:8000", &a)))).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
    let warnings = added.json()["warnings"].clone();
    assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");
    assert!(warnings[0].as_str().is_some_and(|text| text.starts_with("priority: ")), "{warnings}");
    let added = call(data, with_token(post("/workers", &example(second, "http://worker-b:8000", &b)))).await;
    let warnings = added.json()["warnings"].to_string();
    assert!(warnings.contains("priority: ") && warnings.contains("labels.policy: "), "{warnings}");

    let list = call(data, with_token(get("/workers"))).await.json();
    assert_eq!((&list["total"], &list["stats"]["regular_count"]), (&json!(2), &json!(2)));
    assert_eq!((&list["stats"]["prefill_count"], &list["stats"]["decode_count"]), (&json!(0), &json!(0)));
    for (worker, model) in [(&a, "mistral"), (&b, "llama3")] {
        let shown =
            list["workers"].as_array().and_then(|all| all.iter().find(|one| one["url"] == worker.url()));
        let shown = shown.expect("the worker");
        let names = ["model_id", "worker_type", "is_healthy", "load", "connection_mode"];
        let theirs: Vec<&Value> = names.iter().map(|name| &shown[name]).collect();
        assert_eq!(theirs, [&json!(model), &json!("regular"), &json!(true), &json!(0), &json!("Http")]);
        assert_eq!(
            (&shown["model"], &shown["role"], &shown["healthy"]),
            (&json!(model), &json!("regular"), &json!(true))
        );
        assert!(shown.get("warnings").is_none(), "only in the answer to who said it");
    }
    for (model, by) in [("mistral", "a"), ("llama3", "b")] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let answer = call(data, post("/v1/chat/completions", &body.to_string())).await;
        assert_eq!(answer.json()["by"], by, "{model}");
    }
}

#[tokio::test]
async fn halves_of_pairs_are_registered_by_their_types() {
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    for body in [
        json!({"url": "http://p:1", "worker_type": "prefill", "bootstrap_port": 9001, "cost": 1.5, "runtime": "sglang"}),
        json!({"url": "http://d:1", "worker_type": "decode", "tokenizer_path": "x", "health_check_interval_secs": 5}),
    ] {
        let added = call(admin, post("/workers", &body.to_string())).await;
        assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
        assert_eq!(
            (&added.json()["role"], &added.json()["worker_type"]),
            (&body["worker_type"], &body["worker_type"])
        );
        assert_eq!(added.json()["bootstrap_port"], body["bootstrap_port"]);
    }
    let stats = call(admin, get("/workers")).await.json()["stats"].clone();
    assert_eq!(stats, json!({"prefill_count": 1, "decode_count": 1, "regular_count": 0}));
    for (body, said) in [
        (json!({"url": "http://e:1", "worker_type": "encode"}), "unknown variant `encode`"),
        (
            json!({"url": "http://e:1", "role": "decode", "worker_type": "prefill"}),
            "worker_type: found another value",
        ),
        (json!({"url": "http://e:1", "modelid": "m"}), "unknown field `modelid`"),
    ] {
        let refused = call(admin, post("/workers", &body.to_string())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(
            refused.json()["detail"].as_str().is_some_and(|text| text.contains(said)),
            "{}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn worker_is_changed_by_put_and_what_it_does_not_name_stays() {
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    let body = json!({"url": "http://w:1", "weight": 2, "labels": {"tier": "gold"}});
    let id = call(admin, post("/workers", &body.to_string())).await.json()["id"].as_str().map(str::to_owned);
    let id = id.expect("an id");
    let changed = put(&router, &id, &json!({"priority": 7, "labels": {"zone": "a"}, "model_id": "m"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let shown = changed.json();
    assert_eq!((&shown["weight"], &shown["model"]), (&json!(2.0), &json!("m")));
    assert_eq!(shown["labels"], json!({"tier": "gold", "zone": "a"}));
    assert!(shown["warnings"][0].as_str().is_some_and(|text| text.starts_with("priority: ")), "{shown}");
    let none = put(&router, "00000000-0000-8000-8000-000000000000", &json!({"weight": 1})).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn answer_waits_for_the_first_check_that_passes_if_that_is_asked_for() {
    let worker = Upstream::saying("{}").await;
    worker.set_health(503);
    let router = router::start(router::checking(Vec::new())).await;
    let admin = router.addresses().admin;
    let too_long =
        call(admin, post("/workers?wait_secs=601", &json!({"url": worker.url()}).to_string())).await;
    assert_eq!(too_long.status, StatusCode::BAD_REQUEST);
    assert!(too_long.text().contains("wait_secs: found 601; allowed: 0 to 600"), "{}", too_long.text());

    let body = json!({"url": worker.url()}).to_string();
    let adding = tokio::spawn(async move { call(admin, post("/workers?wait_secs=600", &body)).await });
    // It is there, and has failed more than one check.
    worker.checks(3).await;
    until(async || {
        router::shown(&router, &worker.url()).await.is_some_and(|shown| shown["healthy"] == false)
    })
    .await;
    assert!(!adding.is_finished());
    worker.set_health(200);
    let added = adding.await.expect("an answer");
    assert_eq!(
        (added.status, &added.json()["healthy"]),
        (StatusCode::CREATED, &json!(true)),
        "{}",
        added.text()
    );
}

#[tokio::test]
async fn wait_ends_when_its_time_is_over_or_the_worker_is_gone() {
    let worker = Upstream::saying("{}").await;
    worker.set_health(503);
    let router = router::start(router::checking(Vec::new())).await;
    let admin = router.addresses().admin;
    let body = json!({"url": worker.url()}).to_string();
    let added = call(admin, post("/workers?wait_secs=1", &body)).await;
    assert_eq!(
        (added.status, &added.json()["healthy"]),
        (StatusCode::CREATED, &json!(false)),
        "it stays added"
    );
    let other = Upstream::saying("{}").await;
    other.set_health(503);
    let body = json!({"url": other.url()}).to_string();
    let adding = tokio::spawn(async move { call(admin, post("/workers?wait_secs=600", &body)).await });
    until(async || router::shown(&router, &other.url()).await.is_some()).await;
    let removed = call(admin, with_method("DELETE", &format!("/workers?url={}", other.url()))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    assert_eq!(adding.await.expect("an answer").status, StatusCode::CREATED);
}

#[tokio::test]
async fn metrics_of_all_engines_are_one_page_that_names_their_workers() {
    let (a, b) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    a.serve(
        "/metrics",
        200,
        "# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs{model=\"m\"} 3\n",
    );
    b.serve("/metrics", 404, "");
    let router = router::over(&[&a, &b]).await;
    let admin = router.addresses().admin;
    let told = call(admin, get("/engine_metrics")).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    assert!(
        told.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
    );
    let expected = format!(
        "# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs{{worker_addr=\"{}\",model=\"m\"}} 3\n# {}: it answered 404\n",
        a.url(),
        b.url()
    );
    assert_eq!(told.text(), expected);
    a.serve("/metrics", 500, "");
    let none = call(admin, get("/engine_metrics")).await;
    assert_eq!(none.status, StatusCode::BAD_GATEWAY);
    assert!(
        none.json()["detail"].as_str().is_some_and(|text| text.contains("none of 2 workers")),
        "{}",
        none.text()
    );
}
