//! A router that wants to know what caches hold, and an engine that publishes what a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sgl_policy_abi::Input;
use sgl_router::config::{CheckedConfig, EngineSetting, WorkerEntry};
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_zmtp::{Publisher, SocketKind, ZmtpConnection, ZmtpError, ZmtpLimits};
use sglang_router_rs::core::CandidateWorkers;
use sglang_router_rs::policies::PolicyFactory;
use sglang_router_rs::types::{PrefixBlocks, PrefixHasher, PrefixSeed};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A router whose plugin wants to know who holds what, and chooses the first worker.
pub(crate) async fn start(config: CheckedConfig) -> RunningRouter {
    // Boxed: it is large, and callers have futures of their own.
    Box::pin(start_with(config, &[Input::PrefixMatch])).await.0
}

/// A router whose plugin declares these inputs, and what loads others in its place.
pub(crate) async fn start_with(
    mut config: CheckedConfig,
    inputs: &[Input],
) -> (RunningRouter, PolicyFactory) {
    let factory = PolicyFactory::new();
    swap_in(&factory, inputs).await;
    config.policy = "mine".to_owned();
    // Boxed: it is large, and callers have futures of their own.
    let metrics = Arc::new(Metrics::new());
    let router = Box::pin(RunningRouter::start(config, &factory, metrics)).await.expect("a router");
    (router, factory)
}

/// Puts a plugin with these inputs in the place of the one before, which is gone then.
pub(crate) async fn swap_in(factory: &PolicyFactory, inputs: &[Input]) {
    let fields = format!(r#"{}(data (i32.const 16) "\00")"#, manifest(inputs));
    plugins::load(factory, "mine", guest_with(&fields, &answer(16, 1))).await.expect("it loads");
}

pub(crate) fn named(entry: WorkerEntry) -> WorkerEntry {
    WorkerEntry { model: Some("sim-model".to_owned()), ..entry }
}

/// Tokens of a prompt that a worker is believed to hold; -1 = nobody knows.
pub(crate) fn held(router: &RunningRouter, url: &str, tokens: &[u32]) -> i32 {
    let mut hasher = PrefixHasher::new(PrefixBlocks::DEFAULT, 0);
    tokens.iter().for_each(|token| hasher.token(*token));
    let hashes = hasher.finish(&PrefixSeed { model: "sim-model", ..PrefixSeed::default() });
    let snapshot = router.proxy().backends().snapshot();
    let index = snapshot.table().position(url).expect("it is there");
    snapshot.table().prefix_match(index, &hashes, 16.0).unwrap_or(-1)
}

pub(crate) async fn holds(router: &RunningRouter, url: &str, tokens: &[u32], expected: i32) {
    until(async || held(router, url, tokens) == expected).await;
}

/// What its replay socket does.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Batches that can be asked for.
    pub(crate) batches: BTreeMap<u64, Bytes>,
    /// Whether it hangs up instead of an answer.
    pub(crate) refuses: bool,
    /// From which number on it was asked.
    pub(crate) asked: Vec<u64>,
    /// Each answer waits for one of its permits, if it has such a gate.
    pub(crate) gate: Option<Arc<Semaphore>>,
}

/// An engine that publishes what a test says.
pub(crate) struct Stub {
    pub(crate) worker: Upstream,
    pub(crate) publisher: Publisher,
    /// The number of the next batch.
    pub(crate) next: u64,
    /// Every batch is kept here too, sent or not, if it has such a socket.
    pub(crate) replay: Option<Arc<Mutex<Replay>>>,
}

impl Stub {
    /// Without a replay socket. A subscriber may be 64 batches behind.
    pub(crate) async fn start() -> Self {
        Self::made(None).await
    }

    /// With one.
    pub(crate) async fn replaying() -> Self {
        Self::made(Some(Arc::default())).await
    }

    async fn made(replay: Option<Arc<Mutex<Replay>>>) -> Self {
        let worker = Upstream::saying("{}").await;
        let publisher = Publisher::bind("127.0.0.1:0", 64).await.expect("a free port");
        let mut source =
            json!({"endpoint": format!("tcp://*:{}", publisher.address().port()), "topic": "kv"});
        if let Some(replay) = &replay {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("it listens").port();
            source["replay_endpoint"] = format!("tcp://*:{port}").into();
            tokio::spawn(serve_replays(listener, Arc::clone(replay)));
        }
        worker.serve("/kv_event_sources", 200, &json!({"0": source}).to_string());
        Self { worker, publisher, next: 0, replay }
    }

    pub(crate) fn entry(&self) -> WorkerEntry {
        WorkerEntry { engine: EngineSetting::Vllm, ..named(self.worker.entry()) }
    }

    /// What its replay socket does.
    pub(crate) fn replay(&self) -> parking_lot::MutexGuard<'_, Replay> {
        self.replay.as_ref().expect("it has one").lock()
    }

    pub(crate) fn send_bytes(&mut self, bytes: Vec<u8>) {
        let bytes = self.keep(bytes);
        let number = Bytes::copy_from_slice(&(self.next - 1).to_be_bytes());
        self.publisher.send([Bytes::from_static(b"kv"), number, bytes]);
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Bytes {
        let bytes = Bytes::from(bytes);
        if let Some(replay) = &self.replay {
            replay.lock().batches.insert(self.next, bytes.clone());
        }
        self.next += 1;
        bytes
    }

    pub(crate) fn send(&mut self, events: &Value) {
        self.send_bytes(batch(events));
    }

    /// A batch that gets lost on its way.
    pub(crate) fn lose(&mut self, events: &Value) {
        self.keep(batch(events));
    }

    /// Says it until the subscription has arrived.
    pub(crate) async fn say_until_heard(&mut self, router: &RunningRouter, events: &Value, tokens: &[u32]) {
        let url = self.worker.url();
        until(async || {
            self.send(events);
            tokio::time::sleep(Duration::from_millis(5)).await;
            held(router, &url, tokens) > 0
        })
        .await;
    }
}

/// A batch as engines write it.
pub(crate) fn batch(events: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(&json!([1.5, events, 0])).expect("values")
}

/// That a prompt is held, as one block.
pub(crate) fn stored(hash: u64, tokens: &[u32]) -> Value {
    json!({"type": "BlockStored", "block_hashes": [hash], "parent_block_hash": null, "token_ids": tokens,
        "block_size": tokens.len(), "lora_id": null, "medium": "GPU"})
}

/// That it is held no longer.
pub(crate) fn removed(hash: u64) -> Value {
    json!({"type": "BlockRemoved", "block_hashes": [hash], "medium": "GPU"})
}

async fn serve_replays(listener: TcpListener, replay: Arc<Mutex<Replay>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_replays(stream, Arc::clone(&replay)));
    }
}

async fn answer_replays(stream: TcpStream, replay: Arc<Mutex<Replay>>) -> Result<(), ZmtpError> {
    let mut asker = ZmtpConnection::begin(stream, SocketKind::Router, ZmtpLimits::default()).await?;
    loop {
        let question = asker.recv().await?;
        let number = question.last().and_then(|frame| <[u8; 8]>::try_from(frame.as_ref()).ok());
        let first = number.map(u64::from_be_bytes).expect("the number of a batch");
        let batches: Vec<(u64, Bytes)> = {
            let mut replay = replay.lock();
            replay.asked.push(first);
            if replay.refuses {
                return Ok(());
            }
            replay.batches.range(first..).map(|(number, bytes)| (*number, bytes.clone())).collect()
        };
        let gate = replay.lock().gate.clone();
        if let Some(gate) = gate {
            gate.acquire().await.expect("it stays open").forget();
        }
        for (number, bytes) in batches.into_iter().chain([(u64::MAX, Bytes::new())]) {
            let number = Bytes::copy_from_slice(&number.to_be_bytes());
            asker.send(&[Bytes::new(), Bytes::new(), number, bytes]).await?;
        }
    }
}
