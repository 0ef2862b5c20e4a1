//! Workers that have no room, which is no illness.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, StatusCode};
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};
use sglang_router_rs::core::Worker;
use tokio::sync::Semaphore;
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

/// A worker that has so many places and refuses whom it has none for. Each permit frees a place, with an
/// answer for whom had it.
async fn with_places(places: usize) -> (Upstream, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (freed, taken) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (permits, count) = (Arc::clone(&freed), Arc::clone(&taken));
    let worker = Upstream::start(move |_| {
        let has_place = count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < places).then_some(taken + 1));
        let (permits, count) = (Arc::clone(&permits), Arc::clone(&count));
        async move {
            if has_place.is_err() {
                return upstream::whole(503, r#"{"error":"scripted"}"#);
            }
            permits.acquire().await.expect("it stays open").forget();
            count.fetch_sub(1, Ordering::SeqCst);
            upstream::whole(200, "fine")
        }
    });
    (worker.await, freed, taken)
}

#[tokio::test]
async fn fleet_at_twice_its_capacity_fills_each_place_that_it_has_and_frees() {
    const WORKERS: usize = 4;
    const PLACES: usize = 8;
    let mut fleet = Vec::new();
    for _ in 0..WORKERS {
        fleet.push(with_places(PLACES).await);
    }
    let mut config = router::config(fleet.iter().map(|(worker, ..)| worker.entry()).collect());
    config.policy = "least_load".to_owned();
    let router = router::start(config).await;
    let address = router.addresses().data;
    let snapshot = router.proxy().backends().snapshot();
    // Nothing is left to time: places are freed only when all who got none were told so.
    for round in 0..5 {
        let mut clients: JoinSet<_> = (0..2 * WORKERS * PLACES).map(|_| call(address, chat("hi"))).collect();
        for _ in 0..WORKERS * PLACES {
            let refusal = soon(clients.join_next()).await.unwrap().unwrap();
            let told = (refusal.status, refusal.text());
            assert_eq!(told, (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"scripted"}"#), "round {round}");
        }
        let taken: Vec<usize> = fleet.iter().map(|(.., taken)| taken.load(Ordering::SeqCst)).collect();
        assert_eq!(taken, [PLACES; WORKERS], "round {round}: nobody is refused while there is a place");
        fleet.iter().for_each(|(_, freed, _)| freed.add_permits(PLACES));
        while let Some(served) = soon(clients.join_next()).await {
            assert_eq!(served.unwrap().text(), "fine", "round {round}");
        }
        until(async || snapshot.targets().iter().all(|target| target.worker().load() == 0)).await;
        for target in snapshot.targets() {
            assert_eq!(target.circuit().state().as_str(), "closed", "round {round}");
            assert!(target.worker().is_healthy(), "round {round}: it has just served, so it has room");
        }
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
