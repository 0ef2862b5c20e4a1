//! What one router sent to workers is in the index of the others.

use serde_json::{Value, json};
use sgl_testkit::client::{TestClient, call, get, post};
use sgl_testkit::nats_server::NatsServer;
use sgl_testkit::upstream::Upstream;

use crate::member::{Member, publish, within};

/// What is recorded of a decision is what any policy may ask for.
const RECORDS: [&str; 4] = ["--record-sample", "1", "--record-inputs", "all"];

fn of(kind: &str, outcome: &str) -> String {
    match kind {
        "prompts" => format!(r#"sgl_router_fleet_prefixes_total{{fleet="f",outcome="{outcome}"}}"#),
        _ => format!(r#"sgl_router_fleet_messages_total{{fleet="f",kind="prefixes",outcome="{outcome}"}}"#),
    }
}

/// A prompt of 1000 bytes that begins so.
fn prompt(first: &str) -> String {
    json!({"model": "m", "prompt": first.repeat(1000).get(..1000).expect("plain")}).to_string()
}

async fn member(url: &str, name: &str, dir: &std::path::Path, flags: &[&str]) -> Member {
    let member = Member::start_with(url, name, dir, &[&RECORDS, flags].concat()).await;
    member.process.ready().await;
    // It hears the others: it has asked for their messages before it asked for the fleet's state.
    member.shows(r#"sgl_router_fleet_age_seconds{fleet="f"}"#, f64::is_finite).await;
    // The index runs.
    member.shows("sgl_router_prefix_index_bytes", |_| true).await;
    member
}

/// Asks a router; gives what each worker was believed to hold of the prompt.
async fn held(router: &Member, prompt: &str) -> Vec<Value> {
    let mut client = TestClient::connect(router.process.data).await;
    let id = format!("{:x}", fastrand::u64(..));
    let mut request = post("/v1/completions", prompt);
    request.headers_mut().insert("x-request-id", id.parse().expect("a value"));
    assert_eq!(client.call(request).await.status, 200);
    let path = format!("/v1/decisions/{id}");
    within("it is recorded", async || call(router.process.admin, get(&path)).await.status == 200).await;
    let record = call(router.process.admin, get(&path)).await.json();
    let candidates = record["decisions"][0]["candidates"].as_array().expect("a record");
    candidates.iter().map(|worker| worker["prefix_match"].clone()).collect()
}

#[tokio::test]
async fn prompt_that_one_router_sent_is_believed_held_at_the_other() {
    let Some(server) = NatsServer::start() else { return };
    let (url, dir, worker) =
        (server.url(), tempfile::tempdir().unwrap(), Upstream::saying(r#"{"choices":[]}"#).await);
    let at = ["--worker-urls", &worker.url()];
    let a = member(&url, "a", dir.path(), &at).await;
    let b = member(&url, "b", dir.path(), &at).await;
    assert_eq!(held(&a, &prompt("x")).await, [0]);
    b.shows(&of("prompts", "noted"), |count| count == 1.0).await;
    // 15 whole blocks of 64 bytes, of four bytes a token.
    assert_eq!(held(&b, &prompt("x")).await, [240]);
    assert_eq!(held(&b, &prompt("y")).await, [0], "another prompt");
    // A hears both of B, and B none of its own.
    a.shows(&of("prompts", "noted"), |count| count == 2.0).await;
    assert_eq!(held(&a, &prompt("y")).await, [240]);
    assert_eq!(b.number(&of("prompts", "told")).await, Some(2.0));
    b.shows(&of("prompts", "noted"), |count| count == 2.0).await;
}

#[tokio::test]
async fn what_means_nothing_here_is_counted_and_left_out() {
    let Some(server) = NatsServer::start() else { return };
    let (url, dir, worker) =
        (server.url(), tempfile::tempdir().unwrap(), Upstream::saying(r#"{"choices":[]}"#).await);
    let at = ["--worker-urls", &worker.url()];
    let b = member(&url, "b", dir.path(), &at).await;
    // Of blocks of another size.
    let coarse = ["--config", &config(dir.path(), "[requests]\nprefix_block_bytes = 128\n"), at[0], at[1]];
    let other = member(&url, "other", dir.path(), &coarse).await;
    held(&other, &prompt("x")).await;
    b.shows(&of("messages", "foreign"), |count| count == 1.0).await;
    // To a worker that is not here.
    let elsewhere = Upstream::saying(r#"{"choices":[]}"#).await;
    let stranger = member(&url, "stranger", dir.path(), &["--worker-urls", &elsewhere.url()]).await;
    held(&stranger, &prompt("x")).await;
    b.shows(&of("prompts", "ignored"), |count| count == 1.0).await;
    // Nonsense, and more than is read.
    let none = br#"{"v":1,"life":1,"number":1,"rule":1,"sent":[{"worker":7}]}"#.to_vec();
    publish(&url, "sgl.prefix.f.z", [b"nonsense".to_vec(), none, vec![b' '; 1_000_000]]).await;
    b.shows(&of("messages", "malformed"), |count| count == 3.0).await;
    assert_eq!(b.number(&of("prompts", "noted")).await, Some(0.0));
    assert_eq!(held(&b, &prompt("x")).await, [0]);
}

#[tokio::test]
async fn more_than_may_be_told_is_dropped_and_a_router_may_tell_and_hear_nothing() {
    let Some(server) = NatsServer::start() else { return };
    let (url, dir, worker) =
        (server.url(), tempfile::tempdir().unwrap(), Upstream::saying(r#"{"choices":[]}"#).await);
    let at = ["--worker-urls", &worker.url()];
    let off =
        member(&url, "off", dir.path(), &[&at[..], &["--fleet-prefix-bytes-per-sec", "0"]].concat()).await;
    let least = [&at[..], &["--fleet-prefix-bytes-per-sec", "65536"]].concat();
    let a = member(&url, "a", dir.path(), &least).await;
    let mut client = TestClient::connect(a.process.data).await;
    // Long ones: each is some 2 KB of hashes, and a fifth of a second has room for six.
    let mut sent = 0;
    while a.number(&of("prompts", "dropped")).await == Some(0.0) {
        for _ in 0..40 {
            sent += 1;
            let body = json!({"model": "m", "prompt": format!("{sent} ").repeat(4000)}).to_string();
            assert_eq!(client.call(post("/v1/completions", &body)).await.status, 200);
        }
        assert!(sent < 20_000, "nothing is dropped");
    }
    within("all are told or dropped", async || {
        let told = a.number(&of("prompts", "told")).await.expect("a number");
        told > 0.0 && told + a.number(&of("prompts", "dropped")).await.expect("a number") == f64::from(sent)
    })
    .await;
    assert_eq!(off.number(&of("prompts", "noted")).await, None);
    assert_eq!(held(&off, &prompt("1 ")).await, [0]);
}

fn config(dir: &std::path::Path, text: &str) -> String {
    let path = dir.join("router.toml");
    std::fs::write(&path, text).expect("a file");
    crate::member::text(&path)
}
