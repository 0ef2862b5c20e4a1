//! What the router believes of caches whose engines publish what they hold.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sgl_policy_abi::{Column, Input};
use sgl_router::config::WorkerEntry;
use sgl_router::{BatchEnd, EventKind};
use sgl_testkit::client::{call, post};
use sgl_testkit::router;
use sgl_testkit::waits::until;
use sgl_tools::sim::{Dialect, SimConfig, SimWorker};
use sgl_zmtp::Publisher;
use sglang_router_rs::core::Worker;

use crate::proxy::kv_rig::{Stub, held, holds, named, start, start_with, stored};

fn sim(engine: Dialect, block_tokens: usize) -> SimConfig {
    SimConfig {
        engine: Some(engine),
        kv_events: Some("auto".to_owned()),
        block_tokens,
        cache_tokens: 64,
        time_scale: 0.0,
        ..SimConfig::default()
    }
}

/// Asks a worker itself, so that the router knows of it only from its events.
async fn complete(worker: &SimWorker, tokens: &[u32]) {
    let request = json!({"model": "sim-model", "prompt": tokens, "max_tokens": 1}).to_string();
    assert_eq!(call(worker.addr(), post("/v1/completions", &request)).await.status, 200);
}

#[tokio::test]
async fn index_follows_what_engines_hold_through_evictions_resets_and_restarts() {
    let workers = [
        SimWorker::start(sim(Dialect::Vllm, 16)).await.expect("a worker"),
        SimWorker::start(sim(Dialect::Sglang, 1)).await.expect("a worker"),
        SimWorker::start(sim(Dialect::Vllm, 32)).await.expect("a worker"),
    ];
    let entries = workers.iter().map(|worker| named(router::entry(worker.addr()))).collect();
    let router = start(router::checking(entries)).await;
    let (first, second): (Vec<u32>, Vec<u32>) = ((100..148).collect(), (200..248).collect());
    for worker in &workers {
        complete(worker, &first).await;
    }
    let whole = [48, 48, 32];
    for (worker, whole) in workers.iter().zip(whole) {
        holds(&router, &worker.url(), &first, whole).await;
        assert_eq!(held(&router, &worker.url(), &second), 0);
    }
    // Room for 64 tokens: the end of the first prompt goes.
    for (worker, (left, whole)) in workers.iter().zip([(16, 48), (16, 48), (32, 32)]) {
        complete(worker, &second).await;
        holds(&router, &worker.url(), &second, whole).await;
        holds(&router, &worker.url(), &first, left).await;
    }
    let [vllm, sglang, other] = workers;
    call(vllm.addr(), post("/reset_prefix_cache", "{}")).await;
    holds(&router, &vllm.url(), &second, 0).await;
    complete(&vllm, &second).await;
    holds(&router, &vllm.url(), &second, 48).await;
    for (worker, engine, block_tokens) in [(vllm, Dialect::Vllm, 16), (sglang, Dialect::Sglang, 1)] {
        let (url, port) = (worker.url(), worker.addr().port());
        worker.shutdown().await;
        holds(&router, &url, &second, 0).await;
        let again = SimWorker::start(SimConfig { port, ..sim(engine, block_tokens) })
            .await
            .expect("its port is free");
        complete(&again, &first).await;
        holds(&router, &url, &first, 48).await;
        assert_eq!(held(&router, &url, &second), 0);
        again.shutdown().await;
    }
    let feed = router::target(&router, &other.url()).expect("it is there");
    assert_eq!(feed.feed().batches(BatchEnd::Odd), 0);
    assert!(feed.feed().events(EventKind::Stored) >= 2);
    let page = router::metrics(&router).await;
    let line = format!("worker_kv_sources{{worker=\"{}\",state=\"connected\"}} 1", other.url());
    assert!(page.text().contains(&line), "{line} is missing in {}", page.text());
}

#[tokio::test]
async fn ranks_are_listened_to_each_and_a_worker_can_be_left_out() {
    let config = SimConfig { dp_size: 2, ..sim(Dialect::Sglang, 16) };
    let workers = [
        SimWorker::start(config.clone()).await.expect("a worker"),
        SimWorker::start(config).await.expect("a worker"),
    ];
    let quiet = WorkerEntry { kv_events: false, ..named(router::entry(workers[1].addr())) };
    let router = start(router::checking(vec![named(router::entry(workers[0].addr())), quiet])).await;
    let tokens: Vec<u32> = (100..148).collect();
    for worker in &workers {
        for rank in 0..2 {
            let request =
                json!({"model": "sim-model", "prompt": tokens, "max_tokens": 1, "routed_dp_rank": rank});
            call(worker.addr(), post("/v1/completions", &request.to_string())).await;
        }
    }
    holds(&router, &workers[0].url(), &tokens, 48).await;
    let feed = |worker: &SimWorker| router::target(&router, &worker.url()).expect("it is there");
    until(async || feed(&workers[0]).feed().connection_count() == 2).await;
    assert_eq!((held(&router, &workers[1].url(), &tokens), feed(&workers[1]).feed().source_count()), (0, 0));
}

#[tokio::test]
async fn gaps_and_numbers_that_go_back_make_it_forget_and_repetitions_do_not() {
    let mut stub = Stub::start().await;
    let url = stub.worker.url();
    let router = start(router::config(vec![stub.entry()])).await;
    let prompts: Vec<Vec<u32>> = (1..6).map(|nth| (nth * 100..nth * 100 + 16).collect()).collect();
    stub.say_until_heard(&router, &json!([stored(1, &prompts[0])]), &prompts[0]).await;
    let feed = router::target(&router, &url).expect("it is there");
    let feed = feed.feed();
    // The same number twice.
    stub.next -= 1;
    stub.send(&json!([{"type": "AllBlocksCleared"}]));
    stub.send(&json!([stored(2, &prompts[1])]));
    holds(&router, &url, &prompts[1], 16).await;
    assert_eq!((held(&router, &url, &prompts[0]), feed.batches(BatchEnd::Repeated)), (16, 1));
    assert_eq!((feed.batches(BatchEnd::Missed), feed.times_forgotten()), (0, 0));
    // Seven are missing, and there is nobody to ask.
    stub.next += 7;
    stub.send(&json!([stored(3, &prompts[2])]));
    holds(&router, &url, &prompts[2], 16).await;
    assert_eq!((held(&router, &url, &prompts[0]), held(&router, &url, &prompts[1])), (0, 0));
    assert_eq!((feed.batches(BatchEnd::Missed), feed.times_forgotten()), (7, 1));
    // It began anew.
    stub.next = 0;
    stub.send(&json!([stored(4, &prompts[3])]));
    holds(&router, &url, &prompts[3], 16).await;
    assert_eq!((held(&router, &url, &prompts[2]), feed.times_forgotten()), (0, 2));
    // Its connection ends, and nobody tells what was said meanwhile.
    let address = stub.publisher.address();
    let Stub { worker, publisher, .. } = stub;
    drop(publisher);
    let mut publisher = None;
    until(async || {
        publisher = Publisher::bind(address, 64).await.ok();
        publisher.is_some()
    })
    .await;
    let mut stub = Stub { worker, publisher: publisher.expect("it was bound"), next: 1, replay: None };
    stub.say_until_heard(&router, &json!([stored(5, &prompts[4])]), &prompts[4]).await;
    assert_eq!(held(&router, &url, &prompts[3]), 0);
}

#[tokio::test]
async fn nonsense_is_counted_and_what_follows_is_heard() {
    let mut stub = Stub::start().await;
    let url = stub.worker.url();
    let router = start(router::config(vec![stub.entry()])).await;
    let tokens: Vec<u32> = (100..116).collect();
    stub.say_until_heard(&router, &json!([stored(1, &tokens)]), &tokens).await;
    let feed = router::target(&router, &url).expect("it is there");
    let feed = feed.feed();
    stub.send_bytes(b"no MessagePack".to_vec());
    stub.send_bytes(b"\x93\x01\xdd\xff\xff\xff\xff".to_vec());
    stub.send_bytes(Vec::new());
    let orphan = json!({"type": "BlockStored", "block_hashes": [9], "parent_block_hash": 12345, "token_ids": [1], "block_size": 1});
    stub.send(&json!([orphan, {"type": "BlockBought"}, {"type": "BlockRemoved", "block_hashes": [777], "medium": "GPU"},
        {"type": "BlockStored", "block_hashes": [9], "token_ids": [1, 2], "block_size": 7}]));
    let other: Vec<u32> = (200..216).collect();
    stub.send(&json!([stored(2, &other)]));
    holds(&router, &url, &other, 16).await;
    assert_eq!(held(&router, &url, &tokens), 16);
    assert_eq!(
        (feed.batches(BatchEnd::Odd), feed.events(EventKind::Orphan), feed.events(EventKind::Ignored)),
        (3, 1, 1)
    );
    // A message that is no batch, and one that is longer than any: the connection is given up, and made anew.
    stub.publisher.send([Bytes::from_static(b"kv")]);
    let next: Vec<u32> = (300..316).collect();
    stub.say_until_heard(&router, &json!([stored(3, &next)]), &next).await;
    stub.send_bytes(vec![0; 17 << 20]);
    let last: Vec<u32> = (400..416).collect();
    stub.say_until_heard(&router, &json!([stored(4, &last)]), &last).await;
}

#[tokio::test]
async fn batch_that_names_another_rank_belongs_to_its_socket_and_counts_as_odd() {
    let mut stub = Stub::start().await;
    let url = stub.worker.url();
    let router = start(router::config(vec![stub.entry()])).await;
    let prompts: Vec<Vec<u32>> = (1..4).map(|nth| (nth * 100..nth * 100 + 16).collect()).collect();
    stub.say_until_heard(&router, &json!([stored(1, &prompts[0])]), &prompts[0]).await;
    let feed = router::target(&router, &url).expect("it is there");
    let feed = feed.feed();
    let named = |hash: u64, prompt: &[u32], rank: serde_json::Value| {
        rmp_serde::to_vec_named(&json!([1.5, [stored(hash, prompt)], rank])).expect("values")
    };
    stub.send_bytes(named(2, &prompts[1], json!(null)));
    holds(&router, &url, &prompts[1], 16).await;
    assert_eq!(feed.events(EventKind::Odd), 0, "its own rank, and none");
    stub.send_bytes(named(3, &prompts[2], json!(1)));
    holds(&router, &url, &prompts[2], 16).await;
    // Counted once the batch is through, which is after its blocks are held.
    until(async || feed.events(EventKind::Odd) == 1).await;
    assert_eq!((feed.batches(BatchEnd::Odd), held(&router, &url, &prompts[0])), (0, 16));
}

#[tokio::test]
async fn load_that_is_pushed_counts_between_the_questions_for_it() {
    let worker =
        SimWorker::start(SimConfig { push_load: true, stall_after: Some(1), ..sim(Dialect::Sglang, 16) })
            .await;
    let worker = worker.expect("a worker");
    let mut config = router::checking(vec![named(router::entry(worker.addr()))]);
    config.proxy.health.load_interval = Some(Duration::from_secs(3600));
    let (router, _plugins) = start_with(config, &[Input::Column(Column::Running)]).await;
    let running = || router::target(&router, &worker.url()).expect("it is there").worker().report().running;
    until(async || running() == 0).await;
    let request =
        json!({"model": "sim-model", "prompt": [1, 2, 3], "max_tokens": 9, "stream": true}).to_string();
    let address = worker.addr();
    let asked = tokio::spawn(async move { call(address, post("/v1/completions", &request)).await.status });
    until(async || running() == 1).await;
    asked.abort();
}
