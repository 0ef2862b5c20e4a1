//! Two swaps a second for a minute under as many requests as the machine sustains, over HTTP
//! against a router that is a process of its own: nothing fails, nothing is misrouted, and nothing
//! stays behind.
//!
//! `SWAP_STORM_SECS` sets another length; `--nocapture` shows what was measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sgl_policy_abi::Input;
use sgl_testkit::client::{call, get};
use sgl_testkit::manifest::manifest;
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;
use sgl_testkit::waits::until;

use crate::TURN;
use crate::storm_crowd::{Crowd, Epoch};
use crate::worker::Worker;

/// Between two swaps.
const PERIOD: Duration = Duration::from_millis(500);

/// What resident memory may have grown by over the storm. Allocators and the kernel keep what was
/// used once; a generation that stayed behind would cost this much in a few seconds: each has four
/// instances with the pages of their memories.
const GROWTH_BYTES: u64 = 32 << 20;

/// A column guest that always chooses this worker.
fn tag(worker: u8) -> Vec<u8> {
    let inputs = manifest(&[Input::Load, Input::Healthy]);
    guest_with(&format!(r#"{inputs}(data (i32.const 16) "\{worker:02x}")"#), &answer(16, 1))
}

struct Router {
    process: Process,
}

impl Router {
    async fn over(workers: &[Worker; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("storm.wasm");
        std::fs::write(&module, tag(0)).unwrap();
        // A slow machine must fail nothing: the budget is what the sandbox allows at most.
        let settings = "max_execution_time_ms = 30000\n[options]\nprobation = { secs = 0 }\n";
        std::fs::write(dir.path().join("storm.toml"), settings).unwrap();
        let process = Process::serve(&[
            "--policy",
            "storm",
            "--plugin-dir",
            dir.path().to_str().unwrap(),
            "--health-check-interval-secs",
            "0",
            "--record-header",
            "--worker-urls",
            &workers[0].url(),
            &workers[1].url(),
        ])
        .await;
        Self { process }
    }

    /// Replaces the plugin; the number of the new generation.
    async fn swap(&self, wasm: Vec<u8>) -> u64 {
        let request = Request::put("/v1/plugins/storm")
            .header("host", "localhost")
            .header("content-type", "application/wasm")
            .body(Full::new(Bytes::from(wasm)))
            .unwrap();
        let pushed = call(self.process.admin, request).await;
        assert_eq!(pushed.status, StatusCode::OK, "{}", pushed.text());
        pushed.json()["generation"].as_u64().unwrap()
    }

    async fn plugin(&self) -> Value {
        call(self.process.admin, get("/v1/plugins/storm")).await.json()
    }

    /// Resident memory in bytes; `None` where the system does not tell.
    fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    }
}

fn instances(plugin: &Value) -> Vec<u64> {
    let generations = plugin["generations"].as_array().unwrap();
    generations.iter().map(|one| one["instances"].as_u64().unwrap()).collect()
}

/// Swaps until the time is over; which worker each generation chooses.
async fn storm(
    router: &Router,
    epoch: &Epoch,
    first: u64,
    time: Duration,
) -> (BTreeMap<u64, usize>, Vec<u64>) {
    let mut tags = BTreeMap::from([(first, 0)]);
    let mut resident = Vec::new();
    let mut ticks = tokio::time::interval(PERIOD);
    let start = Instant::now();
    while start.elapsed() < time {
        ticks.tick().await;
        let next = 1 - epoch.worker();
        epoch.begin_swap();
        let generation = router.swap(tag(u8::try_from(next).unwrap())).await;
        epoch.end_swap(next, generation);
        tags.insert(generation, next);
        resident.extend(router.resident());
    }
    (tags, resident)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swap_storm_loses_no_request_misroutes_none_and_leaves_nothing_behind() {
    let _turn = TURN.lock().await;
    let secs = std::env::var("SWAP_STORM_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let workers = [Worker::start("0").await, Worker::start("1").await];
    let router = Router::over(&workers).await;
    let plugin = router.plugin().await;
    let first = plugin["generations"][0]["generation"].as_u64().unwrap();
    let before = instances(&plugin);
    let epoch = Arc::new(Epoch::new(first));
    let crowd = Crowd::start(router.process.data, &epoch, 32);
    // What the first requests make the router allocate is no growth.
    crowd.has_asked(5_000).await;
    let resident_before = router.resident();
    let (tags, resident) = storm(&router, &epoch, first, Duration::from_secs(secs)).await;
    let seen = crowd.stop().await;

    let wrong: Vec<_> =
        seen.decided.keys().filter(|(generation, worker)| tags.get(generation) != Some(worker)).collect();
    assert!(wrong.is_empty(), "generations that did not choose so, or never were: {wrong:?}");
    let told: u64 = seen.decided.values().sum();
    assert!(told * 10 > seen.requests, "{told} of {} were checked by number", seen.requests);
    // Two a second are asked for; a slow machine may take longer for one.
    assert!(tags.len() as u64 > secs / 4 + 1, "{} swaps in {secs} s", tags.len() - 1);

    until(async || router.plugin().await["generations"].as_array().unwrap().len() == 1).await;
    until(async || instances(&router.plugin().await) == before).await;
    let plugin = router.plugin().await;
    assert_eq!(plugin["generations"][0]["generation"].as_u64(), tags.keys().next_back().copied());
    assert_eq!(plugin["fallbacks"], 0, "{plugin}");
    let decisions = plugin["decisions"].as_u64().unwrap();
    assert_eq!(decisions, seen.requests, "one decision a request, in the end");
    let (Some(began), Some(ended)) = (resident_before, router.resident()) else { return };
    let highest = resident.iter().max().copied().unwrap_or(ended);
    let mib = |bytes: u64| bytes >> 20;
    let course: Vec<u64> =
        resident.iter().step_by(resident.len().div_ceil(10).max(1)).map(|at| mib(*at)).collect();
    println!("resident MiB over time: {course:?}");
    println!(
        "{} requests ({} per second), {} swaps, {told} checked by number; resident MiB: {} before, {} at most, {} after",
        seen.requests,
        seen.requests / secs.max(1),
        tags.len() - 1,
        mib(began),
        mib(highest),
        mib(ended),
    );
    assert!(ended < began + GROWTH_BYTES, "{} MiB before, {} MiB after", mib(began), mib(ended));
}
