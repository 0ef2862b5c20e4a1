use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, get, piece, post};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::WorkerRole;
use tokio::sync::Notify;

fn prefill(worker: &Upstream, bootstrap_port: Option<u16>) -> WorkerEntry {
    WorkerEntry { role: WorkerRole::Prefill, bootstrap_port, ..worker.entry() }
}

fn decode(worker: &Upstream) -> WorkerEntry {
    WorkerEntry { role: WorkerRole::Decode, ..worker.entry() }
}

#[tokio::test]
async fn both_halves_get_the_request_with_the_same_bootstrap_fields() {
    let [first, second] = [Upstream::saying("prefill").await, Upstream::saying("decode").await];
    let router = router::start(router::config(vec![prefill(&first, Some(8998)), decode(&second)])).await;
    let text = "{ \"text\": \"a b\", \"bootstrap_room\": 1, \"stream\": false }\n";
    let answer = call(router.addresses().data, post("/generate", text)).await;
    assert_eq!(answer.text(), "decode");
    first.arrived(1).await;
    let (prefill, decode) = (first.seen()[0].clone(), second.seen()[0].clone());
    assert_eq!(prefill.body, decode.body);
    assert!(prefill.body.starts_with(b"{ \"text\": \"a b\", "), "the rest is untouched");
    let body = prefill.json();
    assert_eq!(
        (body["bootstrap_host"].as_str(), body["bootstrap_port"].as_u64()),
        (Some("127.0.0.1"), Some(8998))
    );
    let room = body["bootstrap_room"].as_u64().expect("a number");
    assert!(room > 1 && room < 1 << 63, "the router's own wins: {room}");
    assert_eq!(prefill.headers["content-length"], prefill.body.len().to_string().as_str());
}

#[tokio::test]
async fn each_request_has_a_room_of_its_own_and_batches_have_lists() {
    let [first, second] = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    client.call(post("/v1/completions", r#"{"prompt": ["a", "b"]}"#)).await;
    client.call(post("/v1/chat/completions", r#"{"messages": [], "n": 3}"#)).await;
    client.call(post("/generate", "{}")).await;
    client.call(post("/v1/chat/completions", r#"{"messages": [], "n": 2.0, "top_p": NaN}"#)).await;
    let body = String::from_utf8(second.seen()[3].body.to_vec()).unwrap();
    assert!(body.contains("\"bootstrap_host\":[\"127.0.0.1\",\"127.0.0.1\"]"), "{body}");
    let bodies: Vec<_> = second.seen().iter().take(3).map(upstream::SeenRequest::json).collect();
    assert_eq!(bodies[0]["bootstrap_host"], json!(["127.0.0.1", "127.0.0.1"]));
    assert_eq!(bodies[0]["bootstrap_port"], json!([null, null]));
    assert_ne!(bodies[0]["bootstrap_room"][0], bodies[0]["bootstrap_room"][1]);
    assert_eq!(bodies[1]["bootstrap_room"].as_array().map(Vec::len), Some(3));
    assert!(bodies[2]["bootstrap_room"].is_u64());
}

#[tokio::test]
async fn body_that_cannot_take_the_fields_is_refused() {
    let [first, second] = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    for body in ["not json", "[]", r#"{"n": 1000000000, "messages": []}"#] {
        let answer = call(router.addresses().data, post("/v1/chat/completions", body)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_body"),
            "{body}"
        );
    }
    assert!(first.seen().is_empty() && second.seen().is_empty());
}

#[tokio::test]
async fn prefill_that_fails_does_not_leave_the_client_waiting() {
    let [first, second] = [Upstream::failing(500).await, Upstream::start(|_| pending()).await];
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    let answer = call(router.addresses().data, post("/generate", "{}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_prefill_failed"));
    until(async || router::in_flight(&router, &second.url()) == 0).await;
}

#[tokio::test]
async fn body_counts_until_both_halves_are_done_with_it() {
    let [first, second] = [Upstream::start(|_| pending()).await, Upstream::saying("{}").await];
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    let body = r#"{"text": "some prompt"}"#;
    assert_eq!(call(router.addresses().data, post("/generate", body)).await.text(), "{}");
    first.arrived(1).await;
    let counted = async |bytes: usize| {
        let line = format!("sgl_router_body_bytes {bytes}.0");
        router::metrics(&router).await.text().contains(&line)
    };
    assert!(counted(body.len()).await, "the prefill half may need it again");
    drop(first);
    until(async || counted(0).await).await;
}

#[tokio::test]
async fn another_prefill_worker_is_tried_when_one_is_unavailable() {
    let ill = Upstream::failing(503).await;
    let well = Upstream::saying("{}").await;
    let count = std::sync::atomic::AtomicUsize::new(0);
    // The first pair's decode worker waits for a prefill that never comes.
    let second = Upstream::start(move |_| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move { if first { pending().await } else { upstream::whole(200, "decode") } }
    })
    .await;
    let router =
        router::start(router::config(vec![prefill(&ill, None), prefill(&well, None), decode(&second)])).await;
    let answer = call(router.addresses().data, post("/generate", "{}")).await;
    assert_eq!(answer.text(), "decode");
    well.arrived(1).await;
    let rooms: Vec<_> = second.seen().iter().map(|seen| seen.json()["bootstrap_room"].clone()).collect();
    assert_ne!(rooms[0], rooms[1], "a new attempt has a new room");
}

#[tokio::test]
async fn client_that_hangs_up_ends_both_halves() {
    let ended = Arc::new(Notify::new());
    let (response, pieces, decode_ended) = upstream::stream();
    let slot = parking_lot::Mutex::new(Some(response));
    let on_drop = Arc::clone(&ended);
    struct OnDrop(Arc<Notify>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let first = Upstream::start(move |_| {
        let guard = OnDrop(Arc::clone(&on_drop));
        async move {
            let _guard = guard;
            pending().await
        }
    })
    .await;
    let second = Upstream::start(move |_| {
        let response = slot.lock().take().expect("one request");
        async { response }
    })
    .await;
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = client.send(post("/generate", "{}")).await.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());
    first.arrived(1).await;
    assert_eq!(router::in_flight(&router, &first.url()), 1);
    drop((body, client));
    soon(ended.notified()).await;
    soon(decode_ended.notified()).await;
    until(async || router::in_flight(&router, &first.url()) == 0).await;
    until(async || router::in_flight(&router, &second.url()) == 0).await;
}

#[tokio::test]
async fn router_with_pairs_is_ready_when_both_halves_are() {
    let [first, second] = [Upstream::saying("{}").await, Upstream::saying("{}").await];
    second.set_health(500);
    let router = router::start(router::checking(vec![prefill(&first, None), decode(&second)])).await;
    let ready = async || call(router.addresses().data, get("/readiness")).await.status;
    until(async || {
        router::shown(&router, &first.url()).await.is_some_and(|worker| worker["healthy"] == true)
    })
    .await;
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    second.set_health(200);
    until(async || ready().await == StatusCode::OK).await;
}

#[tokio::test]
async fn refusal_of_the_prefill_half_ends_the_request_with_that_answer() {
    for status in [400, 404, 422] {
        let [first, second] = [Upstream::failing(status).await, Upstream::start(|_| pending()).await];
        let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, r#"{"error":"scripted"}"#));
        assert_eq!((first.seen().len(), second.seen().len()), (1, 1), "it is not tried again");
        until(async || router::in_flight(&router, &second.url()) == 0).await;
    }
}

#[tokio::test]
async fn refusal_of_the_decode_half_ends_the_prefill_half() {
    let refusal = "data: {\"error\": {\"code\": 400}}\n\n";
    for streams in [false, true] {
        let first = Upstream::start(|_| pending()).await;
        let second = Upstream::start(move |_| async move {
            if !streams {
                return upstream::whole(400, "{}");
            }
            let (response, pieces, _) = upstream::stream();
            pieces.send(Bytes::from_static(refusal.as_bytes())).await.expect("room for a piece");
            response
        })
        .await;
        let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!(answer.text(), if streams { refusal } else { "{}" });
        until(async || router::in_flight(&router, &first.url()) == 0).await;
    }
}

#[tokio::test]
async fn full_prefill_workers_give_the_client_their_own_answer() {
    let [first, second] = [Upstream::failing(503).await, Upstream::start(|_| pending()).await];
    let router = router::start(router::config(vec![prefill(&first, None), decode(&second)])).await;
    for count in 1..4 {
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (503, r#"{"error":"scripted"}"#));
        assert_eq!(first.seen().len(), count, "each request asks it once");
    }
}
