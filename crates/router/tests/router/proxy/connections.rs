//! Clients' connections: how many there may be, which one gives way, and what is short.

use http::StatusCode;
use sgl_testkit::client::{TestClient, Whole, call, chat, get};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Reads until the other side closes.
async fn closed(stream: &mut TcpStream) {
    // Closed or reset, both are an end.
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn longest_idle_connection_gives_way_at_the_limit() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_connections = Some(3);
    let router = router::start(config).await;
    let address = router.addresses().data;
    let mut served = TestClient::connect(address).await;
    assert_eq!(served.call(chat("hi")).await.status, StatusCode::OK);
    let mut silent = TcpStream::connect(address).await.unwrap();
    until(async || router::metrics(&router).await.text().contains("sgl_router_client_connections 2.0\n"))
        .await;
    assert_eq!(served.call(chat("hi")).await.status, StatusCode::OK);
    let mut third = TestClient::connect(address).await;
    assert_eq!(third.call(chat("hi")).await.status, StatusCode::OK);
    let mut fourth = TestClient::connect(address).await;
    assert_eq!(fourth.call(chat("hi")).await.status, StatusCode::OK);
    closed(&mut silent).await;
    for client in [&mut served, &mut third, &mut fourth] {
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK, "its connection is still there");
    }
    let page = router::metrics(&router).await;
    assert!(page.text().contains("sgl_router_closed_idle_connections_total 1\n"), "{}", page.text());
}

#[tokio::test]
async fn connection_waits_while_all_others_are_busy() {
    let (worker, go) = Upstream::behind_a_gate().await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_connections = Some(2);
    let router = router::start(config).await;
    let address = router.addresses().data;
    let ask = || async move { call(address, chat("hi")).await.status };
    let asking = async { tokio::join!(ask(), ask(), ask(), ask()) };
    let releasing = async {
        worker.arrived(2).await;
        assert_eq!(worker.seen().len(), 2, "the others wait");
        for count in 3..=6 {
            go.add_permits(1);
            if count <= 4 {
                worker.arrived(count).await;
            }
        }
    };
    let ((a, b, c, d), ()) = Box::pin(soon(async { tokio::join!(asking, releasing) })).await;
    assert_eq!([a, b, c, d], [StatusCode::OK; 4]);
}

#[tokio::test]
async fn bodies_that_do_not_come_give_way_to_another_connection() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_connections = Some(3);
    // The sweeps come as often as the shortest limit needs.
    config.proxy.client_idle = std::time::Duration::from_millis(500);
    let router = router::start(config).await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
        stream.write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
        stalled.push(stream);
    }
    let answer = soon(call(router.addresses().data, chat("hi"))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut given_up = 0;
    for stream in &mut stalled {
        let mut head = [0; 12];
        let read = tokio::time::timeout(std::time::Duration::from_millis(20), stream.read_exact(&mut head));
        given_up += usize::from(read.await.is_ok() && &head == b"HTTP/1.1 408");
    }
    assert!((1..3).contains(&given_up), "no more than necessary: {given_up}");
}

#[tokio::test]
async fn hang_up_behind_pipelined_bytes_ends_the_request() {
    let (worker, ended) = Upstream::without_an_answer().await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.client_idle = std::time::Duration::from_secs(1);
    let router = router::start(config).await;
    let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
    let request = "POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(format!("{request}{request}").as_bytes()).await.unwrap();
    worker.arrived(1).await;
    drop(stream);
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
}

#[tokio::test]
async fn idle_connections_do_not_use_up_the_descriptors() {
    let worker = Upstream::saying("{}").await;
    let router = Process::serve_under("ulimit -n 256", &["--worker-urls", &worker.url()]).await;
    until(async || call(router.data, get("/readiness")).await.status == StatusCode::OK).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(router.data).await.unwrap());
    }
    for _ in 0..30 {
        let mut client = TestClient::connect(router.data).await;
        assert_eq!(client.call(chat("hi")).await.status, StatusCode::OK);
        assert_eq!(client.call(get("/readiness")).await.status, StatusCode::OK, "its worker is well");
    }
}

#[tokio::test]
async fn soft_limit_of_descriptors_is_raised_at_start() {
    let worker = Upstream::saying("{}").await;
    let limits = "ulimit -Sn 64";
    let router = Process::serve_under(limits, &["--worker-urls", &worker.url()]).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = TestClient::connect(router.data).await;
        assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK);
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.call(get("/liveness")).await.status, StatusCode::OK, "none had to give way");
    }
}

#[tokio::test]
async fn want_of_descriptors_is_told_as_such_and_counts_against_no_worker() {
    want_of_descriptors("127.0.0.1", 20).await;
}

#[tokio::test]
async fn want_of_descriptors_to_look_up_a_name_is_told_as_such_and_counts_against_no_worker() {
    want_of_descriptors("localhost", 500).await;
}

/// Looking up a name takes its time.
async fn want_of_descriptors(host: &str, connect_timeout_ms: u64) {
    let (worker, go) = Upstream::behind_a_gate().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    let config =
        format!("[upstream]\nconnect_timeout_ms = {connect_timeout_ms}\n[health]\ninterval_secs = 0\n");
    std::fs::write(&file, config).unwrap();
    let url = format!("http://{host}:{}", worker.address.port());
    let arguments = ["--config", file.to_str().unwrap(), "--worker-urls", &url];
    let limited = [&arguments[..], &["--max-connections", "100000", "--cb-failure-threshold", "2"]].concat();
    let router = Process::serve_under("ulimit -n 64", &limited).await;
    let address = router.data;
    // Each takes two descriptors, so that they do not suffice for all.
    let mut asking: JoinSet<_> = (0..60).map(|_| call(address, chat("hi"))).collect();
    let short = |answer: &Whole| {
        answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.code() == "router_out_of_resources"
    };
    let first = soon(asking.join_next()).await.unwrap().unwrap();
    assert!(short(&first), "{first:?}");
    assert_eq!(first.headers["retry-after"], "1");
    go.add_permits(1000);
    let others = soon(asking.join_all()).await;
    assert!(others.iter().all(|answer| answer.status == StatusCode::OK || short(answer)), "{others:?}");
    assert!(others.iter().any(|answer| answer.status == StatusCode::OK), "no circuit is open");
    assert_eq!(call(address, get("/readiness")).await.status, StatusCode::OK);
    assert_eq!(call(address, chat("hi")).await.status, StatusCode::OK);
}
