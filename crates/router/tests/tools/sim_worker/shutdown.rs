//! How a worker ends.

use std::time::Duration;

use http_body_util::BodyExt;
use sgl_tools::sim::{SimConfig, SimError, SimWorker};
use tokio::net::TcpStream;

use crate::sim_worker::client::{Client, chat, instant, start, within};

#[tokio::test]
async fn shutdown_lets_running_streams_end() {
    let config = SimConfig {
        decode_step: Duration::from_millis(20),
        shutdown_grace: Duration::from_secs(50),
        ..SimConfig::default()
    };
    let worker = start(config).await;
    let addr = worker.addr();
    let stream = Client::new(&worker).open_stream(&chat(5, true)).await;
    let ending = tokio::spawn(worker.shutdown());
    let rest = within(stream.collect()).await.expect("the stream is complete").to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
    within(ending).await.unwrap();
    TcpStream::connect(addr).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_end_within_the_grace() {
    let config = SimConfig { stall_after: Some(2), shutdown_grace: Duration::from_millis(1), ..instant() };
    let worker = start(config).await;
    let mut stream = Client::new(&worker).open_stream(&chat(5, true)).await;
    within(worker.shutdown()).await;
    let mut rest = Vec::new();
    let end = loop {
        match within(stream.frame()).await {
            Some(Ok(frame)) => rest.extend_from_slice(frame.data_ref().expect("only data")),
            end => break end,
        }
    };
    end.expect("not a proper end").unwrap_err();
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
}

#[tokio::test]
async fn dropped_worker_closes_its_connections() {
    let worker = start(SimConfig { stall_after: Some(1), ..instant() }).await;
    let mut stream = Client::new(&worker).open_stream(&chat(5, true)).await;
    drop(worker);
    within(stream.frame()).await.expect("not a proper end").unwrap_err();
}

#[tokio::test]
async fn start_on_a_taken_port_says_which() {
    let worker = start(instant()).await;
    let port = worker.addr().port();
    let error = SimWorker::start(SimConfig { port, ..instant() }).await.unwrap_err();
    assert!(matches!(error, SimError::Bind { port: named, .. } if named == port));
    assert!(error.to_string().contains(&port.to_string()));
}

#[tokio::test]
async fn start_with_settings_out_of_range_names_them() {
    let config = SimConfig { max_running: 0, fail_rate: 7.0, ..instant() };
    let error = SimWorker::start(config).await.unwrap_err().to_string();
    assert!(error.contains("max-running is 0") && error.contains("fail-rate is 7"), "{error}");
}
