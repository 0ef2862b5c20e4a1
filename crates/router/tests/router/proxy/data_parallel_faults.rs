//! Engines with data-parallel ranks that lie, fail or serve half of a request.

use http::StatusCode;
use serde_json::json;
use sgl_router::RunningRouter;
use sgl_router::config::{EngineSetting, WorkerEntry};
use sgl_testkit::client::{call, chat, post};
use sgl_testkit::router;
use sgl_testkit::upstream::{Upstream, whole};
use sgl_testkit::waits::until;
use sglang_router_rs::core::{Worker, WorkerRole};

use crate::proxy::data_parallel::{laid_out, names, ranks, worker_of};

/// How many reports of a worker were nonsense.
async fn nonsense(router: &RunningRouter, worker: &Upstream) -> u64 {
    let page = router::metrics(router).await.text().to_owned();
    let line = format!("worker_reports_failed_total{{worker=\"{}\",cause=\"nonsense\"}} ", worker.url());
    let rest = page.split(&line).nth(1).expect("the counter").to_owned();
    rest.lines().next().expect("a value").parse().expect("a number")
}

#[tokio::test]
async fn server_that_tells_of_its_own_ranks_of_several_nodes_is_one_worker_and_tells_no_nonsense() {
    let worker = Upstream::saying("{}").await;
    let line =
        |rank: u32| format!("vllm:num_requests_running{{engine=\"{rank}\",model_name=\"m\"}} {rank}\n");
    worker.serve("/version", 200, r#"{"version": "0.32.0"}"#);
    worker.serve("/metrics", 200, &[line(2), line(3)].concat());
    let entry = WorkerEntry { dp_aware: Some(true), engine: EngineSetting::Vllm, ..worker.entry() };
    let router = router::start(router::checking(vec![entry])).await;
    let running = || router::target(&router, &worker.url()).map(|one| one.worker().report().running);
    until(async || worker.asked("/metrics") > 5 && running() == Some(5)).await;
    assert_eq!((names(&router), nonsense(&router, &worker).await), (vec![worker.url()], 0));
    worker.serve("/metrics", 200, &[line(2), line(300)].concat());
    until(async || nonsense(&router, &worker).await > 0).await;
}

#[tokio::test]
async fn ranks_that_cannot_be_are_counted_and_make_no_workers() {
    let worker = Upstream::saying("{}").await;
    let info = |size: &str| {
        format!(r#"{{"model_path": "m", "tp_size": 1, "dp_size": {size}, "version": "0.5.23"}}"#)
    };
    worker.serve(
        "/v1/loads",
        200,
        r#"{"loads": [{"dp_rank": 0, "num_running_reqs": 1}, {"dp_rank": 1, "num_running_reqs": 2}]}"#,
    );
    worker.serve("/server_info", 200, &info("-3"));
    let entry = WorkerEntry { dp_aware: Some(true), ..worker.entry() };
    let router = router::start(router::checking(vec![entry])).await;
    let nonsense = async || nonsense(&router, &worker).await;
    let restart = async |size: &str| {
        let passes = || router::target(&router, &names(&router)[0]).is_some_and(|one| one.is_passing());
        worker.set_health(500);
        until(async || !passes()).await;
        worker.serve("/server_info", 200, &info(size));
        worker.set_health(200);
        until(async || passes()).await;
    };
    for size in ["-3", "4000", "1e300", "\"8\"", "0.5"] {
        let before = nonsense().await;
        restart(size).await;
        until(async || nonsense().await > before).await;
        assert_eq!(names(&router), [worker.url()], "{size}");
    }
    restart("2").await;
    laid_out(&router, &ranks(&worker.url(), 2)).await;
    let running = |rank: usize| worker_of(&router, &ranks(&worker.url(), 2)[rank]).report().running;
    until(async || (running(0), running(1)) == (1, 2)).await;
    let odd = r#"{"loads": [{"dp_rank": -1, "num_running_reqs": 7}, {"dp_rank": 1, "num_running_reqs": 3}, {"dp_rank": 4000, "num_running_reqs": 9}]}"#;
    worker.serve("/v1/loads", 200, odd);
    let before = nonsense().await;
    until(async || (running(0), running(1)) == (-1, 3)).await;
    until(async || nonsense().await > before).await;
    assert_eq!(names(&router), ranks(&worker.url(), 2));
}

#[tokio::test]
async fn failed_request_goes_to_another_worker_and_that_of_a_full_rank_to_the_next_rank() {
    let dead =
        WorkerEntry { url: "http://127.0.0.1:1".to_owned(), dp_size: Some(3), ..WorkerEntry::default() };
    let well = Upstream::saying("well").await;
    let mut config = router::config(vec![dead, well.entry()]);
    config.proxy.max_retries = 1;
    let router = router::start(config).await;
    assert_eq!(names(&router).len(), 4);
    for _ in 0..8 {
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "well");
    }

    let full = Upstream::start(|request| async move {
        let is_first = request.headers["x-data-parallel-rank"] == "0";
        if is_first { whole(503, "full") } else { whole(200, "next") }
    })
    .await;
    let entry = WorkerEntry { dp_size: Some(2), engine: EngineSetting::Vllm, ..full.entry() };
    let router = router::start(router::config(vec![entry])).await;
    for _ in 0..4 {
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "next");
    }
    assert!(
        full.seen().iter().all(|request| !request.json().to_string().contains("rank")),
        "vLLM has the header"
    );
}

#[tokio::test]
async fn halves_of_a_pair_are_told_their_ranks_and_each_others() {
    let [first, second] = [Upstream::saying("prefill").await, Upstream::saying("decode").await];
    let entry = |worker: &Upstream, role, size| WorkerEntry {
        role,
        dp_size: Some(size),
        engine: EngineSetting::Sglang,
        ..worker.entry()
    };
    let entries = vec![entry(&first, WorkerRole::Prefill, 3), entry(&second, WorkerRole::Decode, 2)];
    let router = router::start(router::config(entries)).await;
    for turn in 0..6 {
        let answer = call(router.addresses().data, post("/generate", r#"{"text": ["a", "b"]}"#)).await;
        assert_eq!(answer.text(), "decode");
        first.arrived(turn + 1).await;
    }
    let mut told = std::collections::BTreeSet::new();
    for (prefill, decode) in first.seen().iter().zip(second.seen()) {
        let (prefill_body, decode_body) = (prefill.json(), decode.json());
        let rank = prefill_body["routed_dp_rank"].as_u64().expect("its rank");
        assert_eq!(prefill.headers["x-data-parallel-rank"], rank.to_string().as_str());
        assert_eq!(decode_body["disagg_prefill_dp_rank"], rank);
        assert_eq!(decode_body["bootstrap_room"], prefill_body["bootstrap_room"]);
        for room in prefill_body["bootstrap_room"].as_array().expect("a list") {
            assert_eq!(room.as_u64().expect("a number") % 3, rank);
        }
        told.insert((rank, decode_body["routed_dp_rank"].as_u64().expect("its rank")));
    }
    assert!(told.len() > 2 && told.iter().all(|(prefill, decode)| *prefill < 3 && *decode < 2), "{told:?}");
}

#[tokio::test]
async fn worker_with_ranks_is_not_added_twice_but_changed() {
    let worker = Upstream::saying("{}").await;
    let entry = WorkerEntry { dp_size: Some(2), ..worker.entry() };
    let router = router::start(router::config(vec![entry])).await;
    let body = json!({"url": worker.url(), "dp_size": 3}).to_string();
    for _ in 0..2 {
        let answer = call(router.addresses().admin, post("/workers", &body)).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text());
        assert_eq!(names(&router), ranks(&worker.url(), 2));
    }
    let backends = router.proxy().backends();
    for size in [3, 1, 2] {
        let entry = WorkerEntry { dp_size: Some(size), weight: 2.0, ..worker.entry() };
        backends.add(&entry).expect_err("it is there");
        backends.change(&entry).expect("a URL").expect("it is there");
        let expected = if size == 1 { vec![worker.url()] } else { ranks(&worker.url(), size as usize) };
        assert_eq!(names(&router), expected);
        assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
    }
}
