//! What workers publish of their caches and loads.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sgl_tools::sim::{Dialect, SimConfig};
use sgl_zmtp::{SocketKind, ZmtpConnection, ZmtpLimits};

use crate::sim_worker::client::{Client, start, within};
use crate::sim_worker::dialects::like;

async fn connected(endpoint: &str, kind: SocketKind) -> ZmtpConnection {
    let address = endpoint.strip_prefix("tcp://").expect("only TCP is published at");
    within(ZmtpConnection::connect(address, kind, ZmtpLimits::default())).await.expect("it listens")
}

/// Number and content of a message of three frames.
fn read(frames: &[Bytes]) -> (u64, Value) {
    let [_, number, body] = frames else { panic!("{frames:?}") };
    let number = u64::from_be_bytes(number[..].try_into().expect("eight bytes"));
    (number, rmp_serde::from_slice(body).expect("MessagePack"))
}

/// Batches from the first on, asked for as an engine is asked. What is published is asked for too: whether
/// a subscription has arrived, nobody can tell.
async fn replayed(endpoint: &str, first: u64) -> Vec<(u64, Value)> {
    let mut asker = connected(endpoint, SocketKind::Dealer).await;
    asker.send(&[&b""[..], &first.to_be_bytes()]).await.expect("it is connected");
    let mut all = Vec::new();
    loop {
        let frames = within(asker.recv()).await.expect("an answer");
        assert_eq!(frames[0], "");
        if frames[2][..] == u64::MAX.to_be_bytes() {
            return all;
        }
        all.push(read(&frames[1..]));
    }
}

fn config(engine: Dialect) -> SimConfig {
    SimConfig { kv_events: Some("auto".to_owned()), block_tokens: 2, cache_tokens: 8, ..like(engine) }
}

async fn complete(client: &Client, ids: &[u32]) {
    let request = json!({ "prompt": ids, "max_tokens": 1 });
    assert_eq!(client.post("/v1/completions", &request).await.status, 200);
}

#[tokio::test]
async fn vllm_tells_what_its_cache_stores_removes_and_clears() {
    let worker = start(config(Dialect::Vllm)).await;
    let client = Client::new(&worker);
    let sources = client.get("/kv_event_sources").await.json();
    let replay = sources["0"]["replay_endpoint"].as_str().expect("an endpoint").to_owned();
    complete(&client, &[1, 2, 3, 4, 5]).await;
    complete(&client, &[1, 2, 3, 4, 6, 7]).await;
    // Nothing new: no batch.
    complete(&client, &[1, 2, 3, 4, 6, 7]).await;
    complete(&client, &[9, 9, 8, 8]).await;
    client.post("/reset_prefix_cache", &json!({})).await;

    let batches = replayed(&replay, 0).await;
    let numbers: Vec<u64> = batches.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let event = |batch: usize, at: usize| &batches[batch].1[1][at];
    let first = event(0, 0);
    assert_eq!((&first["type"], &first["token_ids"]), (&json!("BlockStored"), &json!([1, 2, 3, 4])));
    assert_eq!((&first["parent_block_hash"], &first["block_size"]), (&Value::Null, &json!(2)));
    let second = event(1, 0);
    assert_eq!(
        (&second["token_ids"], &second["parent_block_hash"]),
        (&json!([6, 7]), &first["block_hashes"][1])
    );
    // Room for four blocks: the end of the prompt that was used longest ago goes first.
    let (removed, third) = (event(2, 0), event(2, 1));
    assert_eq!((&removed["type"], &third["token_ids"]), (&json!("BlockRemoved"), &json!([9, 9, 8, 8])));
    assert_eq!(removed["block_hashes"], second["block_hashes"]);
    assert_eq!(event(3, 0), &json!({ "type": "AllBlocksCleared" }));
    assert_eq!(replayed(&replay, 3).await.len(), 1);
}

#[tokio::test]
async fn subscriber_gets_the_batches_of_its_rank() {
    let worker = start(SimConfig { dp_size: 2, ..config(Dialect::Sglang) }).await;
    let client = Client::new(&worker);
    let described = client.get("/server_info").await.json()["kv_events"].clone();
    assert_eq!((&described["block_size"], &described["dp_size"]), (&json!(2), &json!(2)));
    let port = described["endpoint_port_base"].as_u64().expect("a port") + 1;
    let mut subscriber = connected(&format!("tcp://127.0.0.1:{port}"), SocketKind::Sub).await;
    subscriber.subscribe(b"").await.expect("it is connected");
    // The first that arrives was published after the subscription had arrived.
    let mut id = 0;
    let (number, batch) = within(async {
        loop {
            id += 2;
            let request = json!({ "input_ids": [id, id + 1, 0], "routed_dp_rank": 1, "stream": false });
            assert_eq!(client.post("/generate", &request).await.status, 200);
            if let Ok(frames) = tokio::time::timeout(Duration::from_millis(20), subscriber.recv()).await {
                return read(&frames.expect("it is connected"));
            }
        }
    })
    .await;
    assert_eq!(batch[2], 1, "the rank");
    let events = batch[1].as_array().expect("events");
    let stored = events.iter().find(|event| event["type"] == "BlockStored").expect("a stored block");
    assert_eq!(stored["token_ids"], json!([2 * number + 2, 2 * number + 3]));
    assert!(stored.get("group_idx").is_none(), "SGLang has no groups: {stored}");
}

#[tokio::test]
async fn sglang_pushes_its_load() {
    let worker = start(SimConfig { push_load: true, stall_after: Some(1), ..config(Dialect::Sglang) }).await;
    let client = Client::new(&worker);
    let described = client.get("/server_info").await.json()["kv_events"].clone();
    let port = described["load_endpoint_port_base"].as_u64().expect("a port");
    let mut subscriber = connected(&format!("tcp://127.0.0.1:{port}"), SocketKind::Sub).await;
    subscriber
        .subscribe(described["load_topic"].as_str().expect("a topic").as_bytes())
        .await
        .expect("connected");
    let request = json!({ "prompt": [1, 2, 3], "max_tokens": 5, "stream": true });
    let _stream =
        client.send(http::Method::POST, "/v1/completions", request.to_string()).await.expect("it begins");
    let load = within(async {
        loop {
            let (_, load) = read(&subscriber.recv().await.expect("it is connected"));
            if load[1] == 1 {
                return load;
            }
        }
    })
    .await;
    assert_eq!(
        (&load[0], &load[4], &load[5], &load[8]),
        (&json!("LoadStat"), &json!(8), &json!(0), &json!(64))
    );
    assert_eq!(load.as_array().expect("an array").len(), 11);
}

#[tokio::test]
async fn nothing_is_advertised_that_is_not_published() {
    let worker = start(like(Dialect::Vllm)).await;
    assert_eq!(Client::new(&worker).get("/kv_event_sources").await.json(), json!({}));
    let worker = start(like(Dialect::Sglang)).await;
    assert_eq!(Client::new(&worker).get("/server_info").await.json()["kv_events"], Value::Null);
}
