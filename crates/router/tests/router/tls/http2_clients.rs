use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use http_body_util::BodyExt;
use sgl_testkit::client::{TestClient, chat, get, piece};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::tls::authority::Authority;
use crate::tls::rig::{Http2Client, speaking_h2c, speaking_tls, whole};

#[tokio::test]
async fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let worker = Upstream::start(|seen| async move {
        let prompt = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
        upstream::whole(200, &prompt)
    })
    .await;
    let router = speaking_tls(&worker, &authority.issue(), dir.path()).await;
    let client = Http2Client::connect_tls(router.addresses().data, &authority).await;
    let mut calls = JoinSet::new();
    for number in 0..300 {
        let sent = client.send(chat(&format!("number {number}")));
        calls.spawn(async move { (number, whole(soon(sent).await.unwrap()).await) });
    }
    while let Some(done) = calls.join_next().await {
        let (number, answer) = done.unwrap();
        assert_eq!(answer.text(), format!("number {number}"));
    }
    assert_eq!(worker.seen().len(), 300);
    assert!(router::metrics(&router).await.text().contains("sgl_router_client_connections 1"));
}

#[tokio::test]
async fn request_reaches_the_worker_as_one_of_http_1() {
    let worker = Upstream::saying("{}").await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    let mut request = chat("hi");
    let headers = request.headers_mut();
    headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
    headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
    headers.append(header::TE, HeaderValue::from_static("trailers"));
    headers.append("x-own", HeaderValue::from_static("kept"));
    let answer = client.call(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("connection") && !answer.headers.contains_key("transfer-encoding"));
    let seen = worker.seen().remove(0);
    assert_eq!((seen.version, seen.uri.to_string().as_str()), (Version::HTTP_11, "/v1/chat/completions"));
    let of = |name: &str| seen.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("cookie"), ["a=1; b=2"]);
    assert_eq!(of("host"), [worker.address.to_string()]);
    assert_eq!((of("x-own"), of("te")), (vec!["kept"], vec![]));
    assert_eq!(of("x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test]
async fn clients_of_http_1_are_served_at_the_same_port_and_without_the_setting_only_they() {
    let worker = Upstream::saying("hello").await;
    let both = speaking_h2c(&worker).await;
    let mut client = TestClient::connect(both.addresses().data).await;
    assert_eq!(client.call(chat("hi")).await.text(), "hello");
    assert_eq!(client.call(chat("hi")).await.text(), "hello");
    assert_eq!(Http2Client::connect(both.addresses().data).await.call(get("/liveness")).await.text(), "OK");
    let one = router::over(&[&worker]).await;
    let refused = Http2Client::connect(one.addresses().data).await;
    assert!(soon(refused.send(chat("hi"))).await.is_err());
}

#[tokio::test]
async fn request_that_is_reset_ends_at_its_worker_and_others_go_on() {
    let (worker, ended) = Upstream::without_an_answer().await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    let mut pending = Vec::new();
    for count in 1..=3 {
        let mut sent = Box::pin(client.send(chat("hi")));
        tokio::select! {
            _ = &mut sent => panic!("there is no answer"),
            () = worker.arrived(count) => {}
        }
        pending.push(sent);
    }
    drop(pending.remove(1));
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 2).await;
    assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK);
    // The rest goes with the connection.
    drop((pending, client));
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
    let line = r#"sgl_router_client_disconnects_total{route="chat_completions"} 3"#;
    until(async || router::metrics(&router).await.text().contains(line)).await;
    until(async || router::metrics(&router).await.text().contains("sgl_router_client_connections 0")).await;
}

#[tokio::test]
async fn streams_come_piece_by_piece_beside_one_another_and_one_that_is_dropped_ends() {
    let (send_script, mut scripts) = tokio::sync::mpsc::channel(2);
    let worker = Upstream::start(move |_| {
        let (response, pieces, ended) = upstream::stream();
        send_script.try_send((pieces, ended)).unwrap();
        async { response }
    })
    .await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    let mut streams = HashMap::new();
    for name in ["a", "b"] {
        let sent = client.send(chat(name));
        let begun = async {
            let (pieces, ended) = soon(scripts.recv()).await.unwrap();
            pieces.send(Bytes::from(format!("data: {name}\n\n"))).await.unwrap();
            (pieces, ended)
        };
        let (response, (pieces, ended)) = tokio::join!(sent, begun);
        streams.insert(name, (response.unwrap().into_body(), pieces, ended));
    }
    for round in 0..3 {
        for name in ["b", "a"] {
            let (body, pieces, _) = streams.get_mut(name).unwrap();
            let expected =
                if round == 0 { format!("data: {name}\n\n") } else { format!("data: {round}\n\n") };
            assert_eq!(piece(body).await.unwrap(), expected);
            pieces.send(Bytes::from(format!("data: {}\n\n", round + 1))).await.unwrap();
        }
    }
    let (body, _pieces, ended) = streams.remove("a").unwrap();
    drop(body);
    soon(ended.notified()).await;
    let (mut body, pieces, _) = streams.remove("b").unwrap();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 3\n\n");
    drop(pieces);
    // The end may come by itself, in an empty frame.
    assert_eq!(piece(&mut body).await.unwrap_or_default(), "");
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
}

#[tokio::test]
async fn drain_lets_requests_finish_and_then_closes_the_connection() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    let sent = tokio::spawn(client.send(chat("hi")));
    worker.arrived(1).await;
    let idle = Http2Client::connect(router.addresses().data).await;
    assert_eq!(idle.call(get("/liveness")).await.status, StatusCode::OK);
    let stopping = tokio::spawn(router.shut_down());
    idle.closed().await;
    // GOAWAY has come too: nothing new is sent over it, while what was begun goes on.
    until(async || client.sender.is_closed() || soon(client.send(chat("late"))).await.is_err()).await;
    gate.add_permits(1);
    let answer = whole(soon(sent).await.unwrap().unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    client.closed().await;
    soon(stopping).await.unwrap();
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn more_requests_than_a_connection_may_have_wait_at_the_client() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let mut config = router::config_with(vec![worker.entry()], |config| {
        config.server.http2.cleartext = true;
        config.server.http2.max_concurrent_streams = 5;
    });
    config.proxy.client_idle = Duration::from_secs(600);
    let router = router::start(config).await;
    let client = Http2Client::connect(router.addresses().data).await;
    // The limit is known once the first answer is there.
    assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK);
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        let sent = client.send(chat("hi"));
        calls.spawn(async move { soon(sent).await.unwrap().status() });
    }
    for finished in 0..12 {
        worker.arrived((5 + finished).min(12)).await;
        assert!(router::in_flight(&router, &worker.url()) <= 5);
        gate.add_permits(1);
        assert_eq!(calls.join_next().await.unwrap().unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn headers_are_bounded() {
    let worker = Upstream::saying("{}").await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    for (bytes, is_served) in [(40_000, true), (80_000, false)] {
        let mut request = chat("hi");
        request.headers_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
        let status = soon(client.send(request)).await.map(|answer| answer.status());
        assert_eq!(status.is_ok_and(|status| status == StatusCode::OK), is_served, "{bytes}");
    }
    assert_eq!(worker.seen().len(), 1);
    assert_eq!(Http2Client::connect(router.addresses().data).await.call(chat("hi")).await.text(), "{}");
}

#[tokio::test]
async fn client_that_speaks_nothing_is_closed_when_it_is_idle_for_too_long() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config_with(vec![worker.entry()], |config| config.server.http2.cleartext = true);
    config.proxy.client_idle = Duration::from_millis(50);
    let router = router::start(config).await;
    for first in [&b""[..], b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut silent = tokio::net::TcpStream::connect(router.addresses().data).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut silent, first).await.unwrap();
        let mut said = Vec::new();
        // Settings, and that it goes away.
        soon(silent.read_to_end(&mut said)).await.unwrap();
    }
}

#[tokio::test]
async fn answer_that_breaks_off_resets_its_request_and_no_other() {
    let (response, pieces, _ended) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = speaking_h2c(&worker).await;
    let client = Http2Client::connect(router.addresses().data).await;
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut body = soon(client.send(chat("hi"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 1\n\n");
    worker.hang_up();
    let broken = soon(body.collect()).await.unwrap_err();
    assert!(!broken.is_closed(), "{broken:?}");
    assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK);
    let line = r#"sgl_router_broken_answers_total{route="chat_completions"} 1"#;
    until(async || router::metrics(&router).await.text().contains(line)).await;
}
