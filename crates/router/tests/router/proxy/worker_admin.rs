use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sgl_api::CircuitState;
use sgl_router::internals::CircuitPass;
use sgl_testkit::client::{TestClient, Whole, call, chat, get, piece, post, with_method};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::Worker;

fn encoded(url: &str) -> String {
    url.replace(':', "%3A").replace('/', "%2F")
}

#[tokio::test]
async fn worker_is_added_at_run_time_and_gets_requests_once_it_is_healthy() {
    let worker = Upstream::saying("{}").await;
    let router = router::start(router::checking(Vec::new())).await;
    let admin = router.addresses().admin;
    let body = serde_json::json!({
        "url": format!("{}/", worker.url()), "model": "m", "weight": 2.5, "labels": {"zone": "a"},
    });
    let added = call(admin, post("/workers", &body.to_string())).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
    assert_eq!(added.json()["url"], worker.url().as_str(), "in its normal form");
    until(async || router::shown(&router, &worker.url()).await.unwrap()["healthy"] == true).await;
    let shown = router::shown(&router, &worker.url()).await.unwrap();
    assert_eq!((shown["model"].as_str(), shown["weight"].as_f64()), (Some("m"), Some(2.5)));
    assert_eq!((shown["labels"]["zone"].as_str(), shown["role"].as_str()), (Some("a"), Some("regular")));
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn worker_that_is_none_or_there_already_is_refused_with_all_faults() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let add = async |body: String| call(router.addresses().admin, post("/workers", &body)).await;
    let problem = |answer: &Whole| answer.json()["detail"].as_str().unwrap().to_owned();

    let twice = add(serde_json::json!({"url": worker.url()}).to_string()).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    assert!(problem(&twice).contains("already there"));
    assert_eq!(twice.headers["content-type"], "application/problem+json");

    let bad = add(r#"{"url": "ftp://w", "weight": -1, "bootstrap_port": 5}"#.to_owned()).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    for key in ["url:", "weight:", "bootstrap_port:"] {
        assert!(problem(&bad).contains(key), "{key} is missing in {}", problem(&bad));
    }
    for body in ["", "[]", r#"{"urll": "http://w"}"#] {
        assert_eq!(add(body.to_owned()).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn worker_is_one_under_every_spelling_of_its_url() {
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    let add =
        async |url: &str| call(admin, post("/workers", &serde_json::json!({"url": url}).to_string())).await;
    let added = add("HTTP://Worker.example:080/").await;
    assert_eq!(added.json()["url"], "http://worker.example");
    assert_eq!(add("http://[0:0::1]:7").await.json()["url"], "http://[::1]:7");
    for again in ["http://worker.example", "http://WORKER.example:80", "http://[::1]:07/"] {
        assert_eq!(add(again).await.status, StatusCode::CONFLICT, "{again}");
    }
    let drained = call(admin, with_method("POST", "/workers/drain?url=http://WORKER.EXAMPLE:80/")).await;
    assert_eq!(drained.status, StatusCode::ACCEPTED);
    let removed =
        call(admin, with_method("DELETE", &format!("/workers/{}", encoded("http://[0::1]:7")))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    until(async || router::shown(&router, "http://[::1]:7").await.is_none()).await;
}

#[tokio::test]
async fn password_in_a_url_is_not_told_when_the_url_is_refused() {
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    let url = "http://user:secret@w:1";
    let mut answers = Vec::new();
    for body in [
        format!(r#"{{"url": "{url}"}}"#),
        format!(r#""{url}""#),
        format!(r#"{{"url": "{url}", "weight": "{url}"}}"#),
    ] {
        answers.push(call(admin, post("/workers", &body)).await);
    }
    answers.push(call(admin, with_method("DELETE", &format!("/workers/{}", encoded(url)))).await);
    answers.push(call(admin, with_method("POST", &format!("/workers/drain?url={url}"))).await);
    for answer in answers {
        assert!(answer.status.is_client_error());
        assert!(answer.text().contains("***@w"), "{}", answer.text());
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
}

#[tokio::test]
async fn drained_worker_gets_no_requests_and_keeps_its_stream() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let other = Upstream::saying("other").await;
    let router = router::over(&[&worker, &other]).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let mut streaming = TestClient::connect(data).await;
    pieces.send(Bytes::from_static(b"data: begin\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: begin\n\n"));

    let drained =
        call(admin, with_method("POST", &format!("/workers/drain?url={}", encoded(&worker.url())))).await;
    assert_eq!(drained.status, StatusCode::ACCEPTED, "{}", drained.text());
    assert_eq!(
        (drained.json()["draining"].as_bool(), drained.json()["load"].as_u64()),
        (Some(true), Some(1))
    );
    for _ in 0..4 {
        assert_eq!(call(data, chat("hi")).await.text(), "other");
    }
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    assert!(piece(&mut body).await.is_some());
    assert!(router::shown(&router, &worker.url()).await.is_some(), "draining is not removing");
}

#[tokio::test]
async fn removed_worker_leaves_the_list_when_its_last_request_has_ended() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::over(&[&worker]).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let mut streaming = TestClient::connect(data).await;
    pieces.send(Bytes::from_static(b"data: begin\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: begin\n\n"));
    let removed = call(admin, with_method("DELETE", &format!("/workers/{}", encoded(&worker.url())))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    assert_eq!(call(data, chat("hi")).await.code(), "no_worker_available");
    let shown = router::shown(&router, &worker.url()).await.expect("still there");
    assert_eq!((shown["draining"].as_bool(), shown["load"].as_u64()), (Some(true), Some(1)));

    pieces.send(Bytes::from_static(b"data: end\n\n")).await.unwrap();
    drop(pieces);
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: end\n\n"));
    assert_eq!(piece(&mut body).await, None);
    until(async || router::shown(&router, &worker.url()).await.is_none()).await;
}

#[tokio::test]
async fn worker_that_is_removed_and_added_again_counts_its_streams_and_drains_them() {
    let (response, pieces, _) = upstream::stream();
    let slot = parking_lot::Mutex::new(Some(response));
    let worker = Upstream::start(move |_| {
        let response = slot.lock().take().expect("one request");
        async { response }
    })
    .await;
    let router = router::over(&[&worker]).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let mut streaming = TestClient::connect(data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());

    router.proxy().backends().remove(&worker.url()).expect("it was there");
    assert!(router::shown(&router, &worker.url()).await.is_none());
    let added = call(admin, post("/workers", &serde_json::json!({"url": worker.url()}).to_string())).await;
    assert_eq!((added.status, added.json()["load"].as_u64()), (StatusCode::CREATED, Some(1)));
    let removed = call(admin, with_method("DELETE", &format!("/workers/{}", encoded(&worker.url())))).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    let shown = router::shown(&router, &worker.url()).await.expect("it waits for the stream");
    assert_eq!((shown["draining"].as_bool(), shown["load"].as_u64()), (Some(true), Some(1)));

    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    until(async || router::shown(&router, &worker.url()).await.is_none()).await;
}

#[tokio::test]
async fn worker_that_is_not_there_cannot_be_removed_or_drained() {
    let router = router::start(router::config(Vec::new())).await;
    for (method, path) in [
        ("DELETE", "/workers?url=http://w"),
        ("DELETE", "/workers/http%3A%2F%2Fw"),
        ("DELETE", "/workers/http://w"),
        ("POST", "/workers/drain?url=http://w"),
        ("POST", "/workers/undrain?url=http://w"),
    ] {
        let answer = call(router.addresses().admin, with_method(method, path)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn worker_is_removed_by_its_url_as_it_is_written() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let path = format!("/workers/{}", worker.url());
    let answer = call(router.addresses().admin, with_method("DELETE", &path)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    until(async || router::shown(&router, &worker.url()).await.is_none()).await;
}

#[tokio::test]
async fn what_is_not_there_or_not_asked_for_rightly_is_a_problem() {
    let router = router::start(router::config(Vec::new())).await;
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/plugins", 405, "method_not_allowed"),
        ("POST", "/workers/drain", 400, "bad_query"),
        ("DELETE", "/v1/plugins/p?force=perhaps", 400, "bad_query"),
        ("DELETE", "/workers/%FF", 400, "bad_path"),
    ] {
        let answer = call(router.addresses().admin, with_method(method, path)).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{method} {path}");
    }
}

#[tokio::test]
async fn undrained_worker_is_chosen_again_unless_it_is_being_removed() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::over(&[&worker]).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let to = async |what: &str| {
        call(admin, with_method("POST", &format!("/workers/{what}url={}", encoded(&worker.url())))).await
    };
    let last = to("drain?").await;
    assert_eq!((last.status, last.json()["code"].clone()), (StatusCode::CONFLICT, "last_worker".into()));
    assert_eq!(to("drain?force=true&").await.status, StatusCode::ACCEPTED);
    assert_eq!(call(data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = serde_json::json!({"url": worker.url()}).to_string();
    let again = call(admin, post("/workers", &body)).await;
    assert!(again.status == StatusCode::CONFLICT && again.text().contains("undrain"), "{}", again.text());
    let back = to("undrain?").await;
    assert_eq!((back.status, &back.json()["draining"]), (StatusCode::OK, &false.into()));

    let mut streaming = TestClient::connect(data).await;
    pieces.send(Bytes::from_static(b"data: begin\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: begin\n\n"));
    let path = format!("/workers/{}", encoded(&worker.url()));
    assert_eq!(call(admin, with_method("DELETE", &path)).await.status, StatusCode::ACCEPTED);
    let refused = to("undrain?").await;
    assert!(
        refused.status == StatusCode::CONFLICT && refused.text().contains("being removed"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn worker_that_is_added_again_before_it_is_gone_is_the_one_that_it_was() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let mut config = router::checking(vec![worker.entry()]);
    config.proxy.health.interval = Some(Duration::from_secs(3600));
    config.proxy.circuit.failures = 2;
    let router = router::start(config).await;
    let (data, admin, url) = (router.addresses().data, router.addresses().admin, worker.url());
    let backends = router.proxy().backends();
    let before = router::target(&router, &url).unwrap();
    until(async || before.worker().is_healthy()).await;
    let mut streaming = TestClient::connect(data).await;
    pieces.send(Bytes::from_static(b"data: begin\n\n")).await.unwrap();
    let mut body = streaming.send(chat("hi")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: begin\n\n"));
    before.circuit().fail(CircuitPass::Ordinary);

    // One that is new would have to pass a check first.
    worker.set_health(500);
    let removal = backends.retire(&url).expect("it is there");
    let entry = serde_json::json!({"url": url, "weight": 2.0}).to_string();
    let added = call(admin, post("/workers", &entry)).await;
    let shown = added.json();
    assert_eq!((added.status, &shown["healthy"]), (StatusCode::CREATED, &true.into()), "{shown}");
    assert_eq!(
        (&shown["draining"], &shown["load"], &shown["weight"]),
        (&false.into(), &1.into(), &2.0.into())
    );
    let after = router::target(&router, &url).unwrap();
    after.circuit().fail(CircuitPass::Ordinary);
    assert_eq!(after.circuit().state(), CircuitState::Open, "the second failure");

    pieces.send(Bytes::from_static(b"data: on\n\n")).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: on\n\n"), "nothing was ended");
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    soon(removal).await.expect("it has nothing to do");
    assert!(router::target(&router, &url).is_some(), "it stays, though it was drained");
    soon(backends.retire(&url).expect("it is there")).await.unwrap();
    assert!(router::target(&router, &url).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_while_workers_come_and_go() {
    let workers = [Upstream::saying("{}").await, Upstream::saying("{}").await, Upstream::saying("{}").await];
    let router = router::over(&[&workers[0]]).await;
    let (data, admin) = (router.addresses().data, router.addresses().admin);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let done = std::sync::Arc::clone(&done);
            tokio::spawn(async move {
                let mut client = TestClient::connect(data).await;
                let mut sent = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for round in 0..10 {
        let worker = &workers[1 + round % 2];
        let before = worker.seen().len();
        let added = call(admin, post("/workers", &format!(r#"{{"url": "{}"}}"#, worker.url()))).await;
        assert_eq!(added.status, StatusCode::CREATED);
        worker.arrived(before + 1).await;
        let removed = call(admin, with_method("DELETE", &format!("/workers?url={}", worker.url()))).await;
        assert_eq!(removed.status, StatusCode::ACCEPTED);
        until(async || router::shown(&router, &worker.url()).await.is_none()).await;
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut sent = 0;
    for client in traffic {
        sent += client.await.unwrap();
    }
    let arrived: usize = workers.iter().map(|worker| worker.seen().len()).sum();
    assert_eq!(sent, arrived, "each request reached exactly one worker");
    assert_eq!(router.proxy().backends().snapshot().targets()[0].worker().load(), 0);
}

#[tokio::test]
async fn admin_api_with_a_token_refuses_everybody_else() {
    let mut config = router::config(Vec::new());
    config.admin_token = Some("secret".to_owned());
    let router = router::start(config).await;
    let admin = router.addresses().admin;
    let refused = call(admin, get("/workers")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    let mut request = get("/workers");
    request.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
    assert_eq!(call(admin, request).await.status, StatusCode::OK);
    assert_eq!(call(router.addresses().data, get("/workers")).await.code(), "not_found");
}
