//! Requests that workers may have worked on: they run twice at most.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::StatusCode;
use sgl_router::Target;
use sgl_router::config::{RetryCondition, WorkerEntry};
use sgl_router::internals::Verdict;
use sgl_testkit::client::{TestClient, call, chat, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{eventually, until};
use sgl_testkit::{raw, router, upstream};
use sglang_router_rs::core::WorkerRole;

/// Workers that a request with the word `poison` does something to.
async fn poisoned(count: usize, act: fn() -> Act) -> Vec<Raw> {
    let mut workers = Vec::new();
    for _ in 0..count {
        let script = move |request: &str| {
            if request.contains("poison") { act() } else { Act::Say(raw::whole("{}")) }
        };
        workers.push(Raw::start(script).await);
    }
    workers
}

fn runs(workers: &[Raw]) -> usize {
    workers.iter().map(Raw::runs).sum()
}

/// Leaves an idle connection to each worker.
async fn warm(client: &mut TestClient, workers: &[Raw]) {
    for _ in workers {
        assert_eq!(client.call(post("/generate", "{}")).await.status, StatusCode::OK);
    }
    assert!(workers.iter().all(|worker| worker.runs() > 0), "each has had a request");
}

#[tokio::test]
async fn request_that_breaks_warm_connections_runs_twice_in_all() {
    for act in [|| Act::Crash, || Act::Die] {
        let workers = poisoned(5, act).await;
        let router = router::start(router::config(workers.iter().map(Raw::entry).collect())).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        warm(&mut client, &workers).await;
        let before = runs(&workers);
        let answer = client.call(chat("poison")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(runs(&workers) - before, 2);
        let page = router::metrics(&router).await;
        let sum = |name: &str| -> f64 {
            let lines = page.text().lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let counted = sum("sgl_router_worker_requests_total") + sum("sgl_router_worker_reconnects_total");
        // A refused connection is a request that was placed, but no run.
        let refused = sum("sgl_router_retries_total{reason=\"connect\"}");
        assert_eq!(counted - refused, runs(&workers) as f64, "{}", page.text());
    }
}

#[tokio::test]
async fn request_whose_idle_connection_breaks_goes_to_another_worker() {
    // The first still takes connections after it has broken one, as a process does that is being killed.
    let mut workers = poisoned(1, || Act::Crash).await;
    workers.push(Raw::start(|_: &str| Act::Say(raw::whole("{}"))).await);
    let router = router::start(router::config(workers.iter().map(Raw::entry).collect())).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    warm(&mut client, &workers).await;
    let before = workers[0].runs();
    for _ in 0..4 {
        assert_eq!(client.call(chat("poison")).await.status, StatusCode::OK);
    }
    assert!(workers[0].runs() > before, "it was asked");
}

/// The bootstrap port of a prefill worker that crashes.
const CRASHING_PORT: u16 = 7;

/// A worker that is well. As a decode worker it waits for a prefill worker that crashes.
async fn well() -> Upstream {
    Upstream::start(|seen: upstream::SeenRequest| async move {
        let body = seen.json();
        if body["text"] == "poison" && body["bootstrap_port"] == CRASHING_PORT {
            pending().await
        }
        upstream::whole(200, "{}")
    })
    .await
}

#[tokio::test]
async fn request_whose_idle_connection_to_a_half_breaks_goes_elsewhere() {
    for crashing in [WorkerRole::Prefill, WorkerRole::Decode] {
        for elsewhere in [WorkerRole::Regular, crashing] {
            for act in [|| Act::Crash, || Act::Die] {
                let crash = poisoned(1, act).await.remove(0);
                let (half, other) = (well().await, well().await);
                let role =
                    if crashing == WorkerRole::Prefill { WorkerRole::Decode } else { WorkerRole::Prefill };
                let bootstrap_port = (crashing == WorkerRole::Prefill).then_some(CRASHING_PORT);
                let router = router::start(router::config(vec![
                    WorkerEntry { role: crashing, bootstrap_port, ..crash.entry() },
                    WorkerEntry { role, ..half.entry() },
                    WorkerEntry { role: elsewhere, ..other.entry() },
                ]))
                .await;
                let target = router::target(&router, &crash.entry().url).expect("a worker");
                let mut client = TestClient::connect(router.addresses().data).await;
                while target.pool().is_empty() {
                    assert_eq!(client.call(post("/generate", "{}")).await.status, StatusCode::OK);
                }
                let before = crash.runs();
                while crash.runs() == before {
                    let answer = client.call(post("/generate", r#"{"text": "poison"}"#)).await;
                    assert_eq!(answer.status, StatusCode::OK, "{crashing:?} {elsewhere:?}");
                }
                assert_eq!(crash.runs() - before, 1, "{crashing:?} {elsewhere:?}");
                assert_eq!(target.counted(Verdict::Failed), 0, "it may close an idle connection");
                let page = router::metrics(&router).await;
                assert!(page.text().contains(r#"retries_total{reason="broken"} 1"#), "{}", page.text());
            }
        }
    }
}

#[tokio::test]
async fn pair_whose_workers_crash_runs_twice_in_all() {
    for crashing in [WorkerRole::Prefill, WorkerRole::Decode] {
        let crash = poisoned(4, || Act::Die).await;
        let calm = Upstream::start(|seen: upstream::SeenRequest| async move {
            if seen.body.windows(6).any(|window| window == b"poison") {
                pending().await
            }
            upstream::whole(200, "{}")
        })
        .await;
        let other = if crashing == WorkerRole::Prefill { WorkerRole::Decode } else { WorkerRole::Prefill };
        let mut entries: Vec<_> =
            crash.iter().map(|worker| WorkerEntry { role: crashing, ..worker.entry() }).collect();
        entries.push(WorkerEntry { role: other, ..calm.entry() });
        let router = router::start(router::config(entries)).await;
        let mut client = TestClient::connect(router.addresses().data).await;
        for _ in 0..8 {
            assert_eq!(client.call(post("/generate", "{}")).await.status, StatusCode::OK);
        }
        until(async || runs(&crash) == 8).await;
        assert_eq!(
            client.call(post("/generate", r#"{"text": "poison"}"#)).await.status,
            StatusCode::BAD_GATEWAY
        );
        assert!(runs(&crash) - 8 <= 2, "{crashing:?}: {}", runs(&crash) - 8);
    }
}

#[tokio::test]
async fn request_that_must_not_run_twice_does_not() {
    let workers = poisoned(3, || Act::Crash).await;
    let router = router::start(router::config(workers.iter().map(Raw::entry).collect())).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    warm(&mut client, &workers).await;
    // A proxy on the way may name the header in `connection`, or add one of its own.
    for (values, connection) in [(&["1"][..], None), (&["1"], Some("x-sgl-no-retry")), (&["0", "1"], None)] {
        let before = runs(&workers);
        let mut request = chat("poison");
        for value in values {
            request.headers_mut().append("x-sgl-no-retry", value.parse().unwrap());
        }
        if let Some(named) = connection {
            request.headers_mut().insert("connection", named.parse().unwrap());
        }
        assert_eq!(client.call(request).await.code(), "upstream_closed");
        assert_eq!(runs(&workers) - before, 1, "{values:?} {connection:?}");
    }
}

const DYING: &str =
    r#"{"error":{"message":"EngineCore encountered an issue. See stack trace (above).","code":500}}"#;

#[tokio::test]
async fn answer_of_a_dying_engine_is_tried_once_elsewhere() {
    let dying = || Upstream::start(|_| async { upstream::whole(500, DYING) });
    let (first, second, well) = (dying().await, dying().await, Upstream::saying("fine").await);
    let router = router::over(&[&first, &well]).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
    let page = router::metrics(&router).await;
    assert!(page.text().contains(r#"sgl_router_retries_total{reason="error"} 1"#), "{}", page.text());

    let third = dying().await;
    let before = first.seen().len();
    let router = router::over(&[&first, &second, &third]).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::INTERNAL_SERVER_ERROR, DYING));
    assert_eq!(first.seen().len() - before + second.seen().len() + third.seen().len(), 2);
}

#[tokio::test]
async fn operator_says_what_is_tried_again() {
    let failing = Upstream::failing(500).await;
    let well = Upstream::saying("fine").await;
    for (names, tried) in [(vec!["500"], true), (vec!["connect", "502"], false)] {
        let mut config = router::config(vec![failing.entry(), well.entry()]);
        config.proxy.retry_on = names.into_iter().filter_map(RetryCondition::named).collect();
        let router = router::start(config).await;
        let answer = call(router.addresses().data, chat("hi")).await;
        assert_eq!(answer.text() == "fine", tried);
    }
    let full = Upstream::failing(503).await;
    let mut config = router::config(vec![full.entry(), well.entry()]);
    config.proxy.retry_on = std::iter::empty().collect();
    let router = router::start(config).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn request_that_proxies_of_workers_answer_with_502_runs_twice_in_all() {
    let mut workers = Vec::new();
    for _ in 0..5 {
        workers.push(Upstream::failing(502).await);
    }
    let router = router::over(&workers.iter().collect::<Vec<_>>()).await;
    let address = router.addresses().data;
    let asked = || workers.iter().map(|worker| worker.seen().len()).sum::<usize>();
    let answer = call(address, chat("poison")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::BAD_GATEWAY, r#"{"error":"scripted"}"#));
    assert_eq!(asked(), 2);
    let mut request = chat("poison");
    request.headers_mut().insert("x-sgl-no-retry", "1".parse().unwrap());
    assert_eq!(call(address, request).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked(), 3);
}

#[tokio::test]
async fn break_that_envoy_answers_with_503_is_a_break_and_no_fullness() {
    for (reason, runs) in [("connection termination", 2), ("remote reset", 2), ("connection failure", 3)] {
        let text =
            format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}");
        let mut workers = Vec::new();
        for _ in 0..3 {
            let text = text.clone();
            workers.push(
                Upstream::start(move |_| {
                    let text = text.clone();
                    async move { upstream::whole(503, &text) }
                })
                .await,
            );
        }
        let router = router::over(&workers.iter().collect::<Vec<_>>()).await;
        let answer = call(router.addresses().data, chat("poison")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::SERVICE_UNAVAILABLE, text.as_str()));
        assert_eq!(workers.iter().map(|worker| worker.seen().len()).sum::<usize>(), runs, "{reason}");
    }
}

/// Pairs of which one half waits for what the router has heard of the other.
struct Pairs {
    fast: Vec<Upstream>,
    late: Vec<Upstream>,
    entries: Vec<WorkerEntry>,
    fast_targets: Arc<OnceLock<Vec<Arc<Target>>>>,
}

impl Pairs {
    /// Workers of one half that answer with a status at once, and workers of the `late` role, each of
    /// whose answers comes when the router has heard one answer more that means `verdict`.
    async fn start(count: usize, late: WorkerRole, status: u16, verdict: Verdict, late_status: u16) -> Self {
        let (fast_targets, arrived) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let (mut fasts, mut lates, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let (targets, arrived) = (Arc::clone(&fast_targets), Arc::clone(&arrived));
            let slow = Upstream::start(move |_| {
                let (targets, nth) = (Arc::clone(&targets), arrived.fetch_add(1, Ordering::SeqCst) + 1);
                async move {
                    let targets: &Vec<Arc<Target>> = targets.get().expect("set before the request");
                    let heard = || targets.iter().map(|target| target.counted(verdict)).sum::<u64>();
                    eventually("the other half's answer", || heard() >= nth as u64).await;
                    upstream::whole(late_status, "{}")
                }
            })
            .await;
            let fast = Upstream::start(move |_| async move { upstream::whole(status, "{}") }).await;
            let other = if late == WorkerRole::Decode { WorkerRole::Prefill } else { WorkerRole::Decode };
            entries.push(WorkerEntry { role: late, ..slow.entry() });
            entries.push(WorkerEntry { role: other, ..fast.entry() });
            lates.push(slow);
            fasts.push(fast);
        }
        Self { fast: fasts, late: lates, entries, fast_targets }
    }

    /// The status of an answer, how often the request was at the fast half, and how often at the late
    /// one.
    async fn ask(self, may_run_again: bool) -> (u16, usize, usize) {
        let router = router::start(router::config(self.entries)).await;
        let target = |worker: &Upstream| router::target(&router, &worker.url()).expect("a worker");
        self.fast_targets.set(self.fast.iter().map(target).collect()).expect("set once");
        let mut request = post("/generate", "{}");
        if !may_run_again {
            request.headers_mut().insert("x-sgl-no-retry", "1".parse().unwrap());
        }
        let answer = call(router.addresses().data, request).await;
        let is_new = |worker: &Upstream| worker.seen().len() <= 1;
        assert!(self.fast.iter().chain(&self.late).all(is_new), "one that failed is asked again");
        let seen = |workers: &[Upstream]| workers.iter().map(|worker| worker.seen().len()).sum();
        (answer.status.as_u16(), seen(&self.fast), seen(&self.late))
    }
}

#[tokio::test]
async fn full_half_does_not_hide_that_the_other_breaks() {
    for breaking in [WorkerRole::Prefill, WorkerRole::Decode] {
        for (may_run_again, runs) in [(true, 2), (false, 1)] {
            let mut ran = Vec::new();
            // The break counts if it comes at once, which a busy machine may prevent.
            for _ in 0..10 {
                let pairs = Pairs::start(5, breaking, 503, Verdict::Full, 502).await;
                ran.push(pairs.ask(may_run_again).await);
                if ran.ends_with(&[(503, runs, runs)]) {
                    break;
                }
            }
            assert_eq!(ran.last(), Some(&(503, runs, runs)), "{breaking:?}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn request_that_was_prefilled_to_the_end_has_run_though_the_decode_worker_is_full() {
    for (may_run_again, runs) in [(true, 2), (false, 1)] {
        let pairs = Pairs::start(5, WorkerRole::Decode, 200, Verdict::Served, 503).await;
        assert_eq!(pairs.ask(may_run_again).await, (503, runs, runs));
    }
}

#[tokio::test]
async fn request_that_is_called_off_at_the_prefill_worker_has_not_run() {
    let prefill = Upstream::start(|_| pending()).await;
    let mut entries = vec![WorkerEntry { role: WorkerRole::Prefill, ..prefill.entry() }];
    let mut decodes = Vec::new();
    for _ in 0..4 {
        let decode = Upstream::failing(503).await;
        entries.push(WorkerEntry { role: WorkerRole::Decode, ..decode.entry() });
        decodes.push(decode);
    }
    let router = router::start(router::config(entries)).await;
    let mut request = post("/generate", "{}");
    request.headers_mut().insert("x-sgl-no-retry", "1".parse().unwrap());
    assert_eq!(call(router.addresses().data, request).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(decodes.iter().all(|decode| decode.seen().len() == 1), "each was asked");
}
