use bytes::Bytes;
use http::StatusCode;
use sgl_testkit::client::{TestClient, chat, piece, post};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::soon;
use sgl_testkit::{router, upstream};

#[tokio::test]
async fn json_answer_and_request_pass_unchanged() {
    let worker = Upstream::start(|_| async {
        let mut response = upstream::whole(201, "{\"id\": 1,  \"x\":[1]}");
        response.headers_mut().insert("x-worker-says", "hello".parse().unwrap());
        response
    })
    .await;
    let router = router::over(&[&worker]).await;
    let odd = "{ \"model\":\"m\",\n\t\"messages\":[] , \"extra\": 1e3, \"model\":\"again\" }";
    let mut request = post("/v1/chat/completions?trace=1&a=%20", odd);
    request.headers_mut().insert("authorization", "Bearer key".parse().unwrap());
    request.headers_mut().insert("connection", "keep-alive, x-private".parse().unwrap());
    request.headers_mut().insert("x-private", "1".parse().unwrap());
    let answer = TestClient::connect(router.addresses().data).await.call(request).await;

    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.text(), "{\"id\": 1,  \"x\":[1]}");
    assert_eq!(answer.headers["x-worker-says"], "hello");
    assert!(!answer.headers.contains_key("x-sgl-worker"), "only where it is asked for");
    let seen = &worker.seen()[0];
    assert_eq!(seen.body, odd.as_bytes(), "byte for byte");
    assert_eq!(seen.uri, "/v1/chat/completions?trace=1&a=%20");
    assert_eq!(seen.headers["authorization"], "Bearer key");
    assert_eq!(seen.headers["host"], worker.address.to_string().as_str());
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert!(!seen.headers.contains_key("x-private") && !seen.headers.contains_key("connection"));
}

#[tokio::test]
async fn every_endpoint_reaches_the_worker_under_its_own_path() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let paths = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/generate"];
    for path in paths {
        assert_eq!(client.call(post(path, "{}")).await.status, StatusCode::OK);
    }
    let seen: Vec<String> = worker.seen().iter().map(|seen| seen.uri.to_string()).collect();
    assert_eq!(seen, paths);
    assert_eq!(worker.connections(), 1, "one connection served them all");
}

#[tokio::test]
async fn stream_passes_piece_by_piece_before_the_worker_sends_the_next() {
    let (send_script, mut scripts) = tokio::sync::mpsc::channel(1);
    let worker = Upstream::start(move |_| {
        let (response, pieces, _) = upstream::stream();
        send_script.try_send(pieces).unwrap();
        async { response }
    })
    .await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let begun = async {
        let pieces = soon(scripts.recv()).await.unwrap();
        // The head waits for the first event, which may be a refusal.
        pieces.send(Bytes::from_static(b"data: one\n\n")).await.unwrap();
        pieces
    };
    let (response, pieces) = tokio::join!(client.send(chat("hi")), begun);
    let response = response.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: one\n\n"));
    for text in ["data: two\n\n", "data: [DONE]\n\n"] {
        // The next piece is sent only after this one has come through.
        pieces.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(piece(&mut body).await.as_deref(), Some(text));
        assert_eq!(router::in_flight(&router, &worker.url()), 1, "in flight until the stream ends");
    }
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(router::in_flight(&router, &worker.url()), 0);
}

#[tokio::test]
async fn connection_to_a_worker_is_used_again_after_a_stream() {
    let worker = Upstream::start(|_| async {
        let (response, pieces, _) = upstream::stream();
        tokio::spawn(async move { pieces.send(Bytes::from_static(b"data: x\n\n")).await });
        response
    })
    .await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..3 {
        assert_eq!(client.call(chat("hi")).await.text(), "data: x\n\n");
    }
    assert_eq!(worker.connections(), 1);
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let worker = Upstream::start(|seen: upstream::SeenRequest| async move {
        let echo = String::from_utf8(seen.body.to_vec()).unwrap();
        upstream::whole(200, &echo)
    })
    .await;
    let router = router::over(&[&worker]).await;
    let text = "x".repeat(5 << 20);
    let answer = TestClient::connect(router.addresses().data).await.call(post("/generate", &text)).await;
    assert_eq!(answer.body.len(), text.len());
    assert_eq!(answer.text(), text);
}

#[tokio::test]
async fn answer_names_its_worker_where_that_is_asked_for() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.worker_header = true;
    let router = router::start(config).await;
    let answer = TestClient::connect(router.addresses().data).await.call(chat("hi")).await;
    assert_eq!(answer.headers["x-sgl-worker"], worker.url().as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_of_many_clients_at_once_are_not_mixed_up() {
    let worker = Upstream::start(|seen: upstream::SeenRequest| async move {
        let prompt = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
        upstream::whole(200, &prompt)
    })
    .await;
    let router = router::over(&[&worker]).await;
    let address = router.addresses().data;
    let clients = (0..20).map(|client| {
        tokio::spawn(async move {
            let mut connection = TestClient::connect(address).await;
            for request in 0..20 {
                let prompt = format!("{client}/{request}");
                assert_eq!(connection.call(chat(&prompt)).await.text(), prompt);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}
