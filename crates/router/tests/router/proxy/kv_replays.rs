//! What was missed of an engine's events is asked for again, and believed only if nothing is missing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use sgl_router::{BatchEnd, EventKind, RunningRouter, Target};
use sgl_testkit::client::{call, post};
use sgl_testkit::router;
use sgl_testkit::waits::{eventually, until};

use tokio::sync::Semaphore;

use crate::proxy::kv_rig::{Stub, batch, held, holds, removed, start, stored};

/// Sixteen tokens: one block of the router's.
fn prompt(nth: u32) -> Vec<u32> {
    (nth * 100..nth * 100 + 16).collect()
}

fn holding(nth: u32) -> Value {
    json!([stored(u64::from(nth), &prompt(nth))])
}

/// A router that has taken all that the engine said so far, and holds its first block.
async fn listened_to(stub: &mut Stub) -> (RunningRouter, Arc<Target>) {
    let router = start(router::config(vec![stub.entry()])).await;
    stub.say_until_heard(&router, &holding(1), &prompt(1)).await;
    let target = router::target(&router, &stub.worker.url()).expect("it is there");
    let taken = || target.feed().batches(BatchEnd::Live) + target.feed().batches(BatchEnd::Replayed);
    // Some may have been published before it listened, and come a second time after they were replayed: that
    // is over once something behind them has come.
    until(async || taken() == stub.next).await;
    stub.send(&json!([]));
    until(async || taken() == stub.next).await;
    (router, target)
}

#[tokio::test]
async fn gap_is_filled_by_what_the_engine_replays() {
    let mut stub = Stub::replaying().await;
    let url = stub.worker.url();
    let (router, target) = listened_to(&mut stub).await;
    let feed = target.feed();
    let (replayed, last) = (feed.batches(BatchEnd::Replayed), stub.next - 1);
    let repeated = feed.batches(BatchEnd::Repeated);
    stub.lose(&holding(2));
    stub.lose(&json!([removed(1)]));
    stub.send(&holding(3));
    holds(&router, &url, &prompt(3), 16).await;
    let believed = [1, 2, 3].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!(believed, [0, 16, 16]);
    assert_eq!(stub.replay().asked.last(), Some(&last), "from the last one on that it knows");
    // What came as it was published, too, is taken once.
    assert_eq!(feed.batches(BatchEnd::Replayed), replayed + 3);
    until(async || feed.batches(BatchEnd::Repeated) == repeated + 1).await;
    assert_eq!((feed.batches(BatchEnd::Missed), feed.times_forgotten()), (0, 0));
}

#[tokio::test]
async fn cache_that_was_emptied_a_while_ago_takes_nothing_with_it_that_was_sent_since() {
    let mut stub = Stub::replaying().await;
    let url = stub.worker.url();
    let (router, target) = listened_to(&mut stub).await;
    let send = async |nth: u32| {
        let body = json!({"model": "sim-model", "prompt": prompt(nth)}).to_string();
        assert_eq!(
            call(router.addresses().data, post("/v1/completions", &body)).await.status,
            StatusCode::OK
        );
        holds(&router, &url, &prompt(nth), 16).await;
    };
    send(7).await;
    let gate = Arc::new(Semaphore::new(0));
    stub.replay().gate = Some(Arc::clone(&gate));
    let asked = stub.replay().asked.len();
    stub.lose(&json!([{"type": "AllBlocksCleared"}]));
    stub.send(&holding(3));
    until(async || stub.replay().asked.len() > asked).await;
    send(8).await;
    gate.add_permits(1);
    holds(&router, &url, &prompt(3), 16).await;
    let believed = [1, 7, 8].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!((believed, target.feed().events(EventKind::Cleared)), ([0, 0, 16], 1));
    // As it is published, it says that all is gone.
    stub.send(&json!([{"type": "AllBlocksCleared"}]));
    holds(&router, &url, &prompt(8), 0).await;
}

#[tokio::test]
async fn replay_that_leaves_a_gap_comes_from_another_sender_or_is_refused_makes_it_forget() {
    let mut stub = Stub::replaying().await;
    let url = stub.worker.url();
    let (router, target) = listened_to(&mut stub).await;
    let feed = target.feed();
    // It does not reach back to what was taken last.
    stub.lose(&holding(2));
    let first = stub.next;
    stub.replay().batches.clear();
    stub.send(&holding(3));
    holds(&router, &url, &prompt(3), 16).await;
    let believed = [1, 2].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!((believed, feed.times_forgotten()), ([0, 0], 1));
    assert_eq!(stub.replay().asked.last(), Some(&0), "all that there is");
    // What was taken last is another batch there.
    stub.replay().batches.insert(first, Bytes::from(batch(&holding(9))));
    stub.lose(&holding(4));
    stub.send(&holding(5));
    holds(&router, &url, &prompt(5), 16).await;
    let believed = [3, 4, 9].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!((believed, feed.times_forgotten()), ([0, 16, 16], 2));
    // Something is missing in the middle: what comes behind it may be wrong without it.
    let next = stub.next;
    stub.lose(&json!([removed(4)]));
    stub.lose(&json!([removed(5)]));
    stub.replay().batches.remove(&next);
    stub.send(&holding(6));
    holds(&router, &url, &prompt(6), 16).await;
    let believed = [4, 5, 9].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!(believed, [0, 0, 0]);
    // Nobody answers.
    let missed = feed.batches(BatchEnd::Missed);
    stub.replay().refuses = true;
    stub.lose(&holding(7));
    stub.send(&holding(8));
    holds(&router, &url, &prompt(8), 16).await;
    let believed = [6, 7].map(|nth| held(&router, &url, &prompt(nth)));
    assert_eq!((believed, feed.batches(BatchEnd::Missed)), ([0, 0], missed + 1));
}

#[tokio::test]
async fn flood_of_events_is_taken_as_it_can_be_and_never_believed_where_something_is_missing() {
    const BURSTS: u32 = 12;
    const BURST: u32 = 300;
    let mut stub = Stub::start().await;
    let url = stub.worker.url();
    let router = start(router::config(vec![stub.entry()])).await;
    stub.say_until_heard(&router, &holding(1), &prompt(1)).await;
    stub.send(&json!([removed(1)]));
    // Each batch takes back what the one before said; only 64 of a burst find a place.
    for burst in 0..BURSTS {
        for nth in 0..BURST {
            let nth = 10 + burst * BURST + nth;
            stub.send(&json!([stored(u64::from(nth), &prompt(nth)), removed(u64::from(nth - 1))]));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let last = 10 + BURSTS * BURST;
    stub.send(&json!([stored(u64::from(last), &prompt(last)), removed(u64::from(last - 1))]));
    holds(&router, &url, &prompt(last), 16).await;
    let believed: Vec<u32> = (1..last).filter(|nth| held(&router, &url, &prompt(*nth)) > 0).collect();
    assert!(believed.is_empty(), "given up by the engine: {believed:?}");
    let target = router::target(&router, &url).expect("it is there");
    let feed = target.feed();
    assert!(feed.batches(BatchEnd::Missed) > u64::from(BURST), "{}", feed.batches(BatchEnd::Missed));
    assert!(feed.times_forgotten() > 0);
    let stats = router.proxy().backends().prefix_index().expect("it runs").stats();
    assert_eq!((stats.reported_blocks, stats.bytes < 1 << 20), (1, true), "{stats:?}");
}

#[tokio::test]
async fn events_that_cannot_be_take_no_memory_and_change_nothing() {
    let mut stub = Stub::start().await;
    let url = stub.worker.url();
    let router = start(router::config(vec![stub.entry()])).await;
    stub.say_until_heard(&router, &holding(1), &prompt(1)).await;
    let target = router::target(&router, &url).expect("it is there");
    let feed = target.feed();
    let stats = || router.proxy().backends().prefix_index().expect("it runs").stats();
    let before = stats();
    let with = |key: &str, value: Value| {
        let mut event = stored(2, &prompt(2));
        event[key] = value;
        json!([event])
    };
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let odd_batches = [
        batch(&with("token_ids", json!([-1, 2]))),
        batch(&with("block_size", json!(-16))),
        batch(&with("block_size", json!(u64::MAX))),
        batch(&with("token_ids", json!([4_294_967_296_u64]))),
        batch(&with("block_hashes", json!(["x"]))),
        batch(&with("lora_name", json!("x".repeat(1 << 20)))),
        batch(&with("extra_keys", deep)),
        batch(&json!(7)),
        batch(&json!([null])),
        b"\x93\x01\xdd\xff\xff\xff\xff\x00".to_vec(),
        b"\x93\x01\x91\x81\xa9token_ids\xdd\xff\xff\xff\xff\x00".to_vec(),
        [&b"\x92\x01\xdd\x00\x04\x00\x01"[..], &vec![0x80; (1 << 18) + 1]].concat(),
        vec![0xc1; 40_000],
        Vec::new(),
    ];
    for (nth, bytes) in (1..).zip(odd_batches) {
        stub.send_bytes(bytes);
        eventually(&format!("batch {nth} is odd"), || feed.batches(BatchEnd::Odd) == nth).await;
    }
    assert_eq!(stats(), before);
    // These are batches, and say nothing that can be.
    let odd = feed.events(EventKind::Odd);
    stub.send(&with("block_size", json!(0)));
    stub.send(&with("block_size", json!(15)));
    stub.send(&with("parent_block_hash", json!("text")));
    stub.send(&json!([removed(77), {"type": "BlockStored"}, {"type": "x"}, {}, []]));
    let ignored = feed.events(EventKind::Ignored);
    stub.send(&with("kv_cache_spec_kind", json!("sliding_window")));
    stub.send(&with("lora_id", json!(3)));
    until(async || feed.events(EventKind::Odd) >= odd + 3 && feed.events(EventKind::Ignored) > ignored).await;
    assert_eq!(stats(), before);
    // A rank and a model that nobody knows: the socket says whose it is, and the name whose it is not.
    stub.send_bytes(rmp_serde::to_vec_named(&json!([1.5, holding(3), 99])).expect("values"));
    holds(&router, &url, &prompt(3), 16).await;
    stub.send(&with("lora_name", json!("nobody's")));
    stub.send(&json!([removed(3)]));
    holds(&router, &url, &prompt(3), 0).await;
    assert_eq!((held(&router, &url, &prompt(1)), held(&router, &url, &prompt(2))), (16, 0));
    let after = stats();
    assert!(after.bytes < before.bytes + 1024, "{after:?} {before:?}");
    assert_eq!(after.reported_blocks, before.reported_blocks + 1, "the adapter's own block");
}
