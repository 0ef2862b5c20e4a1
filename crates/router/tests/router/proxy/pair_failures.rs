//! Pairs of which a half fails: which of the two is blamed, and how often the request runs.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use sgl_router::RunningRouter;
use sgl_router::config::{RetryCondition, WorkerEntry};
use sgl_router::internals::Verdict;
use sgl_testkit::client::{call, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::{Worker, WorkerRole};

fn prefill(entry: WorkerEntry) -> WorkerEntry {
    WorkerEntry { role: WorkerRole::Prefill, ..entry }
}

fn decode(entry: WorkerEntry) -> WorkerEntry {
    WorkerEntry { role: WorkerRole::Decode, ..entry }
}

/// Workers of which the one that gets the first request is silent, or answers with this status and text;
/// all further requests get the answer. Whose turn is first is not known.
async fn workers(count: usize, first: Option<(u16, &'static str)>, answer: &'static str) -> Vec<Upstream> {
    let has_begun = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..count {
        let has_begun = Arc::clone(&has_begun);
        let script = move |_| {
            let is_first = !has_begun.swap(true, Ordering::SeqCst);
            async move {
                match first {
                    None if is_first => pending().await,
                    Some((status, text)) if is_first => upstream::whole(status, text),
                    _ => upstream::whole(200, answer),
                }
            }
        };
        workers.push(Upstream::start(script).await);
    }
    workers
}

/// Workers of which the first to get a request is silent to it.
async fn silent_at_first(count: usize, answer: &'static str) -> Vec<Upstream> {
    workers(count, None, answer).await
}

fn seen(workers: &[Upstream]) -> Vec<usize> {
    workers.iter().map(|worker| worker.seen().len()).collect()
}

fn failed(router: &RunningRouter, workers: &[Upstream]) -> u64 {
    let target = |worker: &Upstream| router::target(router, &worker.url()).expect("a worker");
    workers.iter().map(|worker| target(worker).counted(Verdict::Failed)).sum()
}

fn entries(prefills: &[Upstream], decodes: &[Upstream]) -> Vec<WorkerEntry> {
    let prefills = prefills.iter().map(|worker| prefill(worker.entry()));
    prefills.chain(decodes.iter().map(|worker| decode(worker.entry()))).collect()
}

/// A router that takes silence for so long.
async fn patient(entries: Vec<WorkerEntry>, limit: Duration) -> RunningRouter {
    let mut config = router::config(entries);
    config.proxy.silence.first_byte = Some(limit);
    router::start(config).await
}

#[tokio::test]
async fn prefill_worker_that_fails_is_tried_again_as_any_other() {
    const DYING: &str = r#"{"error":{"message":"EngineCore encountered an issue.","code":500}}"#;
    let cases = [(500, DYING, "500-engine-dead"), (500, "{}", "500"), (504, "{}", "504"), (502, "{}", "502")];
    for (status, text, reason) in cases {
        for is_reason in [true, false] {
            let prefills = workers(2, Some((status, text)), "{}").await;
            let decodes = silent_at_first(1, "decode").await;
            let mut config = router::config(entries(&prefills, &decodes));
            let reasons = if is_reason { [reason] } else { ["connect"] };
            config.proxy.retry_on = reasons.into_iter().filter_map(RetryCondition::named).collect();
            let router = router::start(config).await;
            let answer = call(router.addresses().data, post("/generate", "{}")).await;
            if is_reason {
                assert_eq!(answer.text(), "decode", "{reason}");
                assert_eq!(seen(&prefills), [1, 1], "{reason}");
            } else {
                assert_eq!(answer.code(), "upstream_prefill_failed", "{reason}");
                assert_eq!(seen(&prefills).iter().sum::<usize>(), 1, "{reason}");
            }
        }
    }
}

#[tokio::test]
async fn silent_half_is_the_one_that_serves_nobody_meanwhile() {
    // The second request is served by the other worker of one role with the only one of the other.
    for stuck in [WorkerRole::Prefill, WorkerRole::Decode] {
        let (two, one) = (silent_at_first(2, "answer").await, silent_at_first(1, "answer").await);
        let entries = if stuck == WorkerRole::Prefill { entries(&two, &one) } else { entries(&one, &two) };
        let router = patient(entries, Duration::from_millis(400)).await;
        let address = router.addresses().data;
        let first = tokio::spawn(call(address, post("/generate", "{}")));
        one[0].arrived(1).await;
        until(async || seen(&two).iter().sum::<usize>() == 1).await;
        assert_eq!(call(address, post("/generate", "{}")).await.text(), "answer");
        assert_eq!(soon(first).await.unwrap().text(), "answer");
        until(async || failed(&router, &two) == 1).await;
        assert_eq!(failed(&router, &one), 0, "{stuck:?}");
    }
}

#[tokio::test]
async fn both_silent_halves_are_replaced_where_nothing_tells_them_apart() {
    let limit = Duration::from_millis(100);
    let (prefills, decodes) = (silent_at_first(2, "prefill").await, silent_at_first(2, "decode").await);
    let router = patient(entries(&prefills, &decodes), limit).await;
    assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.text(), "decode");
    until(async || failed(&router, &prefills) == 1).await;
    assert_eq!(failed(&router, &decodes), 1);
    until(async || seen(&prefills) == [1, 1]).await;
    assert_eq!(seen(&decodes), [1, 1]);
    // Where nobody could take the prefill worker's place, it is asked once more, with another decode worker.
    let (prefills, decodes) = (silent_at_first(1, "prefill").await, silent_at_first(2, "decode").await);
    let router = patient(entries(&prefills, &decodes), limit).await;
    assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.text(), "decode");
    assert_eq!(seen(&decodes), [1, 1]);
    // And where nobody could take the place of either, that is the end.
    let (prefills, decodes) = (silent_at_first(1, "prefill").await, silent_at_first(1, "decode").await);
    let router = patient(entries(&prefills, &decodes), limit).await;
    let answer = call(router.addresses().data, post("/generate", "{}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"));
    assert_eq!((seen(&prefills), seen(&decodes)), (vec![1], vec![1]));
}

#[tokio::test]
async fn decode_worker_is_silent_by_itself_once_the_prefill_half_is_through() {
    let (prefills, decodes) = ([Upstream::saying("{}").await], silent_at_first(2, "decode").await);
    let router = patient(entries(&prefills, &decodes), Duration::from_millis(100)).await;
    assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.text(), "decode");
    assert_eq!((failed(&router, &prefills), failed(&router, &decodes)), (0, 1));
}

#[tokio::test]
async fn prefill_workers_own_limit_counts_while_the_decode_worker_waits_for_it() {
    let (prefills, decodes) = (silent_at_first(2, "{}").await, silent_at_first(1, "decode").await);
    let mut entries = entries(&prefills, &decodes);
    for entry in &mut entries[..2] {
        entry.first_byte_timeout_secs = Some(1);
    }
    let mut config = router::config(entries);
    // The sweeps come as often as the shortest limit needs.
    config.proxy.silence.between = Some(Duration::from_millis(100));
    let router = router::start(config).await;
    assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.text(), "decode");
    until(async || failed(&router, &prefills) == 1).await;
}

#[tokio::test]
async fn prefill_worker_that_is_found_dead_has_failed() {
    let script = |request: &str| {
        if request.starts_with("GET") {
            Act::SayAndClose(sgl_testkit::raw::whole(""))
        } else {
            Act::Fall(String::new())
        }
    };
    let (dying, second) = (Raw::start(script).await, Upstream::start(|_| pending()).await);
    let mut config = router::checking(vec![prefill(dying.entry()), decode(second.entry())]);
    config.proxy.health.load_interval = None;
    config.proxy.client_idle = Duration::from_millis(500);
    let router = router::start(config).await;
    let target = router::target(&router, &dying.entry().url).unwrap();
    let ready = async || router.proxy().backends().snapshot().is_ready();
    until(ready).await;
    let asked = tokio::spawn(call(router.addresses().data, post("/generate", "{}")));
    second.arrived(1).await;
    until(async || dying.runs() > 0 && target.worker().load() > 0).await;
    dying.stop_listening();
    assert_eq!(soon(asked).await.unwrap().status, StatusCode::BAD_GATEWAY);
    until(async || target.counted(Verdict::Failed) == 1).await;
}

/// A prefill worker that passes its checks and begins an answer that does not go on.
async fn begins_only() -> Raw {
    Raw::start(|request: &str| {
        if request.starts_with("GET") {
            Act::SayAndClose(sgl_testkit::raw::whole(""))
        } else {
            Act::Fall("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned())
        }
    })
    .await
}

#[tokio::test]
async fn prefill_half_that_falls_silent_after_the_answer_is_in_flight_no_longer() {
    for (is_clients, (failed, abandoned)) in [(false, (3, 0)), (true, (0, 3))] {
        let (begun, decoding) = (begins_only().await, Upstream::saying("decode").await);
        let mut config = router::config(vec![prefill(begun.entry()), decode(decoding.entry())]);
        config.proxy.silence.between = Some(Duration::from_millis(if is_clients { 60_000 } else { 50 }));
        let router = router::start(config).await;
        let target = router::target(&router, &begun.entry().url).unwrap();
        for _ in 0..3 {
            let mut request = post("/generate", "{}");
            if is_clients {
                request.headers_mut().insert("x-sgl-silence-timeout", "0.05".parse().unwrap());
            }
            assert_eq!(call(router.addresses().data, request).await.text(), "decode");
        }
        until(async || target.worker().load() == 0).await;
        let told = (target.counted(Verdict::Failed), target.counted(Verdict::Abandoned));
        assert_eq!(told, (failed, abandoned), "{is_clients}");
    }
}

#[tokio::test]
async fn prefill_half_of_a_worker_that_is_found_dead_ends_after_the_answer_too() {
    let (dying, decoding) = (begins_only().await, Upstream::saying("decode").await);
    let mut config = router::checking(vec![prefill(dying.entry()), decode(decoding.entry())]);
    config.proxy.health.load_interval = None;
    config.proxy.health.timeout = Duration::from_millis(200);
    config.proxy.silence.between = None;
    let router = router::start(config).await;
    let target = router::target(&router, &dying.entry().url).unwrap();
    until(async || router.proxy().backends().snapshot().is_ready()).await;
    assert_eq!(call(router.addresses().data, post("/generate", "{}")).await.text(), "decode");
    assert_eq!(target.worker().load(), 1);
    dying.stop_listening();
    until(async || target.worker().load() == 0).await;
    assert_eq!((target.deaths(), target.counted(Verdict::Failed)), (1, 1));
}

#[tokio::test]
async fn request_that_breaks_both_halves_of_a_pair_is_not_run_again() {
    let crash = || Raw::start(|_: &str| Act::Crash);
    let mut ran = Vec::new();
    // The second break counts if it comes soon after the first, which a busy machine may prevent.
    for _ in 0..10 {
        let workers = [crash().await, crash().await, crash().await, crash().await];
        let [first, second, third, fourth] = &workers;
        let entries = vec![
            prefill(first.entry()),
            prefill(second.entry()),
            decode(third.entry()),
            decode(fourth.entry()),
        ];
        let router = router::start(router::config(entries)).await;
        let answer = call(router.addresses().data, post("/generate", "{}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_GATEWAY, "upstream_closed"));
        ran.push((first.runs() + second.runs(), third.runs() + fourth.runs()));
        if ran.ends_with(&[(1, 1)]) {
            return;
        }
    }
    assert_eq!(ran, [(1, 1)]);
}
