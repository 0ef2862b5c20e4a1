use http::StatusCode;
use serde_json::json;
use sgl_router::RunningRouter;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, get, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::core::{CandidateWorkers, Worker};

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
    let mut client = TestClient::connect(router.addresses().data).await;
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

/// The names that are listed; none if the list is refused.
async fn listed(router: &RunningRouter) -> Vec<String> {
    let list = call(router.addresses().data, get("/v1/models")).await;
    if list.status != StatusCode::OK {
        return Vec::new();
    }
    let list = list.json();
    assert_eq!(list.get("object").and_then(|object| object.as_str()), Some("list"));
    let data = list.get("data").and_then(|data| data.as_array()).expect("a list");
    let ids = data.iter().map(|model| model.get("id").and_then(|id| id.as_str()));
    ids.map(|id| id.expect("a name").to_owned()).collect()
}

async fn served_by(router: &RunningRouter, model: &str) -> String {
    call(router.addresses().data, post("/v1/completions", &asking(model))).await.text().to_owned()
}

#[tokio::test]
async fn what_workers_list_is_listed_and_routed_and_nothing_else_is() {
    let [a, b, c] = [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await];
    a.serve("/v1/models", 200, r#"{"object":"list","data":[{"id":"x","object":"model","max_model_len":9}]}"#);
    b.serve("/v1/models", 200, r#"{"data":[{"id":"y","parent":null},{"id":"sql","parent":"y"}]}"#);
    let router = router::start(router::learning(vec![a.entry(), b.entry(), serving(&c, "z")])).await;
    until(async || listed(&router).await == ["sql", "x", "y", "z"]).await;
    for _ in 0..3 {
        for (model, worker) in [("x", "a"), ("y", "b"), ("sql", "b"), ("z", "c")] {
            assert_eq!(served_by(&router, model).await, worker, "{model}");
        }
    }
    let unknown = call(router.addresses().data, post("/v1/completions", &asking("other"))).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    let list = call(router.addresses().data, get("/v1/models")).await.json();
    assert_eq!(list["data"][1]["max_model_len"], 9, "as the worker wrote it");
}

#[tokio::test]
async fn silent_and_dead_workers_delay_no_list() {
    let [well, silent, dead] =
        [Upstream::saying("well").await, Upstream::saying("").await, Upstream::saying("").await];
    well.serve("/v1/models", 200, r#"{"data":[{"id":"x"}]}"#);
    silent.serve("/v1/models", 0, "");
    let entries = vec![well.entry(), silent.entry(), dead.entry()];
    drop(dead);
    let mut config = router::learning(entries);
    config.proxy.health.timeout = std::time::Duration::from_secs(3600);
    let router = router::start(config).await;
    until(async || listed(&router).await == ["x"]).await;
}

#[tokio::test]
async fn list_is_refused_until_the_first_worker_has_told() {
    let worker = Upstream::saying("{}").await;
    worker.serve("/v1/models", 500, "");
    let router = router::start(router::learning(vec![worker.entry()])).await;
    let refused = call(router.addresses().data, get("/v1/models")).await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["error"]["reason"]),
        ("no_worker_available", &"models_unknown".into())
    );
    worker.serve("/v1/models", 404, "");
    let list = async || call(router.addresses().data, get("/v1/models")).await;
    until(async || list().await.status == StatusCode::OK).await;
    assert_eq!(list().await.json()["data"], serde_json::json!([]), "it lists nothing, and may serve any");
    assert_eq!(served_by(&router, "any").await, "{}");
}

#[tokio::test]
async fn fleet_of_one_model_and_an_adapter_serves_any_name() {
    let [a, b] = [Upstream::saying("a").await, Upstream::saying("b").await];
    a.serve("/v1/models", 200, r#"{"data":[{"id":"m"}]}"#);
    b.serve("/v1/models", 200, r#"{"data":[{"id":"m"},{"id":"sql","parent":"m"}]}"#);
    let router = router::start(router::learning(vec![a.entry(), b.entry()])).await;
    until(async || listed(&router).await == ["m", "sql"]).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        assert_eq!(served_by(&router, "sql").await, "b");
        answers.push(served_by(&router, "whatever").await);
    }
    assert!(answers.iter().all(|answer| ["a", "b"].contains(&answer.as_str())), "{answers:?}");
}

#[tokio::test]
async fn configured_model_counts_where_a_worker_lists_another() {
    let [a, b] = [Upstream::saying("a").await, Upstream::saying("b").await];
    a.serve("/v1/models", 200, r#"{"data":[{"id":"/models/1"},{"id":"sql","parent":"/models/1"}]}"#);
    b.serve("/v1/models", 200, r#"{"data":[{"id":"/models/1"}]}"#);
    let router = router::start(router::learning(vec![serving(&a, "small"), serving(&b, "big")])).await;
    until(async || listed(&router).await == ["big", "small", "sql"]).await;
    for (model, worker) in [("small", "a"), ("sql", "a"), ("big", "b")] {
        assert_eq!(served_by(&router, model).await, worker, "{model}");
    }
    let unknown = call(router.addresses().data, post("/v1/completions", &asking("/models/1"))).await;
    assert_eq!(unknown.code(), "model_not_found");
}

#[tokio::test]
async fn worker_that_comes_back_with_another_model_gets_its_requests_only() {
    let [a, b] = [Upstream::saying("a").await, Upstream::saying("b").await];
    a.serve("/v1/models", 200, r#"{"data":[{"id":"x"}]}"#);
    b.serve("/v1/models", 200, r#"{"data":[{"id":"y"}]}"#);
    let mut config = router::checking(vec![a.entry(), b.entry()]);
    config.proxy.health.poll_models = true;
    let router = router::start(config).await;
    // Nobody is chosen before it was asked: not even the first request goes to the wrong worker.
    until(async || router::target(&router, &b.url()).unwrap().worker().is_healthy()).await;
    assert_eq!(served_by(&router, "y").await, "b");
    until(async || listed(&router).await == ["x", "y"]).await;

    b.set_health(500);
    until(async || listed(&router).await == ["x"]).await;
    let gone = call(router.addresses().data, post("/v1/completions", &asking("y"))).await;
    assert_eq!(gone.json()["error"]["reason"], "none_healthy", "it may come back");
    b.serve("/v1/models", 200, r#"{"data":[{"id":"z"}]}"#);
    b.set_health(200);
    until(async || listed(&router).await == ["x", "z"]).await;
    assert_eq!(served_by(&router, "z").await, "b");
    let gone = call(router.addresses().data, post("/v1/completions", &asking("y"))).await;
    assert_eq!(gone.code(), "model_not_found");
}

/// The version of the worker table, and the names that it has of its first worker.
fn told(router: &RunningRouter) -> (u64, Option<Vec<String>>) {
    let snapshot = router.proxy().backends().snapshot();
    let table = snapshot.table();
    (table.version().get(), table.workers()[0].engine().models.clone().map(Vec::from))
}

#[tokio::test]
async fn names_that_a_worker_lists_are_in_the_table_and_only_their_change_makes_another() {
    let worker = Upstream::saying("a").await;
    let list = |created: u32, names: [&str; 2]| {
        let adapters = names.map(|name| json!({"id": name, "parent": "/m"}));
        let data = [&[json!({"id": "/m", "created": created})], adapters.as_slice()].concat();
        worker.serve("/v1/models", 200, &json!({"data": data}).to_string());
    };
    let asked_again = async || {
        let asked = worker.asked("/v1/models");
        until(async || worker.asked("/v1/models") > asked + 2).await;
    };
    list(1, ["sql", "chat"]);
    let router = router::start(router::learning(vec![serving(&worker, "m")])).await;
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    until(async || told(&router).1.is_some()).await;
    let first = told(&router);
    assert_eq!(first.1, names(&["m", "chat", "sql"]), "the configured model counts");
    assert_eq!(router::shown(&router, &worker.url()).await.unwrap()["engine"]["models"], json!(first.1));
    list(2, ["chat", "sql"]);
    asked_again().await;
    worker.serve("/v1/models", 500, "");
    asked_again().await;
    assert_eq!(told(&router), first);

    list(3, ["chat", "code"]);
    until(async || told(&router).1 == names(&["m", "chat", "code"])).await;
    assert_ne!(told(&router).0, first.0);
    worker.serve("/v1/models", 404, "");
    until(async || told(&router).1.is_none()).await;
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
