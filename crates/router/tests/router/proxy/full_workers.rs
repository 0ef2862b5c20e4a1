//! Workers that have no room, which is no illness.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use sgl_router::config::worker_entry::WorkerEntry;
use sgl_testkit::client::{TestClient, call, chat, get, post};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_testkit::{router, upstream};
use sgl_tools::sim::{SimConfig, SimWorker};
use sglang_router_rs::core::Worker;
use tokio::task::JoinSet;

/// A worker that answers with this status and asks for a pause.
async fn refusing(status: u16, retry_after: Option<&'static str>) -> Upstream {
    Upstream::start(move |_| async move {
        let mut response = upstream::whole(status, r#"{"error":"scripted"}"#);
        if let Some(value) = retry_after {
            response.headers_mut().insert("retry-after", HeaderValue::from_static(value));
        }
        response
    })
    .await
}

#[tokio::test]
async fn full_workers_are_passed_over_and_their_circuits_stay_closed() {
    for status in [429, 503] {
        let full = refusing(status, Some("30")).await;
        let free = Upstream::saying("fine").await;
        let mut config = router::config(vec![full.entry(), free.entry()]);
        config.proxy.circuit.failures = 1;
        let router = router::start(config).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        for _ in 0..20 {
            assert_eq!(client.call(chat("hi")).await.text(), "fine");
        }
        assert_eq!(full.seen().len(), 1, "it asked for half a minute");
        let target = router::target(&router, &full.url()).unwrap();
        assert_eq!((target.circuit().state().as_str(), target.worker().is_healthy()), ("closed", false));
        let page = router::metrics(&router).await;
        assert!(page.text().contains(r#"sgl_router_retries_total{reason="full"} 1"#), "{}", page.text());
        let gauge = format!(r#"sgl_router_worker_full{{worker="{}"}} 1.0"#, full.url());
        assert!(page.text().contains(&gauge), "{}", page.text());
    }
}

#[tokio::test]
async fn full_worker_is_chosen_again_when_its_short_pause_is_over() {
    let count = AtomicUsize::new(0);
    let worker = Upstream::start(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { upstream::whole(503, "") } else { upstream::whole(200, "fine") } }
    })
    .await;
    let router = router::over(&[&worker]).await;
    let target = router::target(&router, &worker.url()).unwrap();
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    until(async || target.worker().is_healthy()).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
}

#[tokio::test]
async fn client_gets_a_workers_own_answer_when_all_are_full_and_each_request_asks_one() {
    let workers =
        [refusing(503, Some("30")).await, refusing(503, Some("30")).await, refusing(503, Some("30")).await];
    let router = router::over(&[&workers[0], &workers[1], &workers[2]]).await;
    let asked = || workers.iter().map(|worker| worker.seen().len()).sum::<usize>();
    let mut client = TestClient::connect(router.addresses().data).await;
    client.call(chat("hi")).await;
    assert_eq!(asked(), 3, "the first finds out");
    let mut most = 0;
    for _ in 0..30 {
        let before = asked();
        let answer = client.call(chat("hi")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (answer.text(), &answer.headers["retry-after"]),
            (r#"{"error":"scripted"}"#, &"30".parse().unwrap())
        );
        most = most.max(asked() - before);
    }
    assert!(asked() <= 3 + 30 * 2, "two a request on average at most: {}", asked());
    assert!(most <= 3, "{most}");
}

#[tokio::test]
async fn router_whose_workers_are_all_full_is_ready_and_lists_their_models() {
    let full = refusing(429, Some("30")).await;
    let entry = WorkerEntry { model: Some("m".to_owned()), ..full.entry() };
    let router = router::start(router::config(vec![entry])).await;
    let address = router.addresses().data;
    assert_eq!(call(address, chat("hi")).await.status, StatusCode::TOO_MANY_REQUESTS);
    let target = router::target(&router, &full.url()).unwrap();
    assert!(!target.worker().is_healthy(), "it is passed over");
    let ready = call(address, get("/readiness")).await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(
        ready.json(),
        serde_json::json!({"ready": true, "workers": 1, "healthy": 0, "draining": 0, "full": 1})
    );
    let shown = router::shown(&router, &full.url()).await.unwrap();
    let told = ["healthy", "passing", "full"].map(|key| shown[key].as_bool().unwrap());
    assert_eq!((told, shown["circuit"].as_str()), ([false, true, true], Some("closed")));
    let models = call(address, get("/v1/models")).await;
    assert_eq!(models.json()["data"][0]["id"], "m", "{}", models.text());
}

#[tokio::test]
async fn statuses_that_say_nothing_of_health_do_not_take_a_worker_out() {
    for status in [501, 505] {
        let worker = Upstream::failing(status).await;
        let mut config = router::config(vec![worker.entry()]);
        config.proxy.circuit.failures = 2;
        let router = router::start(config).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        for _ in 0..5 {
            assert_eq!(client.call(chat("hi")).await.status.as_u16(), status);
        }
    }
}

#[tokio::test]
async fn fleet_at_twice_its_capacity_keeps_giving_good_answers() {
    const WORKERS: usize = 4;
    const CLIENTS: usize = 64;
    const REQUESTS: usize = 12;
    let mut sims = Vec::new();
    for _ in 0..WORKERS {
        let config = SimConfig {
            max_running: 4,
            max_queued: 4,
            prefill_base: Duration::from_millis(1),
            decode_step: Duration::from_millis(2),
            ..SimConfig::default()
        };
        sims.push(SimWorker::start(config).await.expect("a worker"));
    }
    let entries = sims.iter().map(|sim| router::entry(sim.addr())).collect();
    let mut config = router::config(entries);
    config.policy = "least_load".to_owned();
    let router = router::start(config).await;
    let address = router.addresses().data;
    let (good, own) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (good, own) = (Arc::clone(&good), Arc::clone(&own));
        clients.spawn(async move {
            let mut client = TestClient::connect(address).await;
            for _ in 0..REQUESTS {
                let body = r#"{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}"#;
                let answer = client.call(post("/v1/chat/completions", body)).await;
                let counter = if answer.status == StatusCode::OK { &good } else { &own };
                assert!(answer.status == StatusCode::OK || answer.code() != "no_worker_available");
                counter.fetch_add(1, Ordering::SeqCst);
                if answer.status != StatusCode::OK {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    while let Some(joined) = clients.join_next().await {
        joined.expect("no panic");
    }
    let (good, own) = (good.load(Ordering::SeqCst), own.load(Ordering::SeqCst));
    assert_eq!(good + own, CLIENTS * REQUESTS);
    // Far more than the first to come. Not half of all, as on an idle machine: a busy one slows down
    // workers, and not clients that come back after a pause.
    assert!(good * 8 > CLIENTS * REQUESTS, "{good} good answers, {own} refusals");
    for target in router.proxy().backends().snapshot().targets() {
        assert_eq!(target.circuit().state().as_str(), "closed");
    }
}

#[tokio::test]
async fn own_answer_of_a_full_worker_is_told_rather_than_that_another_gave_none() {
    let full = refusing(503, Some("30")).await;
    let behind_a_proxy = Upstream::failing(502).await;
    let gone = router::entry("127.0.0.1:1".parse().unwrap());
    for other in [gone, behind_a_proxy.entry()] {
        for max_retries in [1, 5] {
            let mut config = router::config(vec![full.entry(), other.clone()]);
            config.proxy.max_retries = max_retries;
            let router = router::start(config).await;
            let answer = call(router.addresses().data, chat("hi")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{other:?}, {max_retries}");
            assert_eq!(answer.headers["retry-after"], "30");
        }
    }
    // An answer that is no reason to try another worker ends the request.
    let failing = Upstream::failing(500).await;
    let router = router::over(&[&full, &failing]).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn refused_request_counts_only_where_it_waits_and_the_connection_of_its_refusal_is_free() {
    for is_stream in [false, true] {
        let full = Upstream::start(move |_| async move {
            if !is_stream {
                return upstream::whole(503, r#"{"error":"scripted"}"#);
            }
            let (response, send, _) = upstream::stream();
            tokio::spawn(async move {
                for event in ["data: {\"error\": {\"code\": 503}}\n\n", "data: [DONE]\n\n"] {
                    send.send(event.into()).await.expect("the router reads on");
                }
            });
            response
        })
        .await;
        let slow = Upstream::start(|_| std::future::pending()).await;
        let router = router::over(&[&full, &slow]).await;
        let asking = tokio::spawn(call(router.addresses().data, chat("hi")));
        slow.arrived(1).await;
        assert_eq!(full.seen().len(), 1);
        let loads = (router::in_flight(&router, &full.url()), router::in_flight(&router, &slow.url()));
        assert_eq!(loads, (0, 1), "{is_stream}");
        assert_eq!(router::target(&router, &full.url()).unwrap().pool().len(), 1, "{is_stream}");
        asking.abort();
    }
}

#[tokio::test]
async fn refusal_of_any_length_is_passed_on_whole_if_nobody_does_better() {
    for length in [0, 10, 16 << 10, 100_000] {
        let full = Upstream::start(move |_| async move { upstream::whole(503, &"x".repeat(length)) }).await;
        let router =
            router::start(router::config(vec![full.entry(), router::entry("127.0.0.1:1".parse().unwrap())]))
                .await;
        let mut client = TestClient::connect(router.addresses().data).await;
        for _ in 0..2 {
            let answer = client.call(chat("hi")).await;
            assert_eq!((answer.status, answer.body.len()), (StatusCode::SERVICE_UNAVAILABLE, length));
        }
        assert_eq!(router::in_flight(&router, &full.url()), 0);
    }
}
