//! A plugin that spins only for requests that say so, over HTTP against a router that is a process
//! of its own: ordinary traffic never sees an error, the breaker acts, and what four nasty
//! connections cost eight ordinary ones is shown.
//!
//! Throughput with the four being nasty is compared with that of the same twelve connections while
//! all of them behave, in rounds one after the other, once the breaker has opened for the first
//! time. `SPIN_ROUNDS` (3) and `SPIN_ROUND_MS` (1000) set how many and how long; `--nocapture`
//! shows the figures.

use std::time::{Duration, Instant};

use serde_json::Value;
use sgl_policy_abi::Input;
use sgl_testkit::client::{call, get};
use sgl_testkit::guest::{FOREVER, GuestText};
use sgl_testkit::manifest::manifest;
use sgl_testkit::process::Process;
use sgl_testkit::waits::until;

use crate::TURN;
use crate::spinning_crowd::{Crowd, SPIN};
use crate::worker::Worker;

/// Below this the breaker does not protect ordinary traffic at all; two cores that others use, too,
/// make far less than the figure in docs/security.md no fault.
const AT_LEAST: f64 = 0.5;

/// Its message ends on the header's value; "1" means that it spins.
fn spinning() -> Vec<u8> {
    let always = format!(
        "(if (i32.eq (i32.const 0x31)
               (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
           (then {FOREVER}))"
    );
    let manifest = manifest(&[Input::Load, Input::Header(SPIN.into())]);
    GuestText { manifest, always: &always, ..GuestText::default() }.wasm()
}

async fn serve(workers: &[Worker; 2]) -> Process {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spinning.wasm"), spinning()).unwrap();
    Process::serve(&[
        "--policy",
        "spinning",
        "--plugin-dir",
        dir.path().to_str().unwrap(),
        "--health-check-interval-secs",
        "0",
        "--worker-urls",
        &workers[0].url(),
        &workers[1].url(),
    ])
    .await
}

async fn plugin(router: &Process) -> Value {
    call(router.admin, get("/v1/plugins/spinning")).await.json()
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = values.len() as f64;
    values.iter().sum::<f64>() / count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_spin_cost_ordinary_ones_no_answer_and_little_throughput() {
    let _turn = TURN.lock().await;
    let (rounds, length) = (from_env("SPIN_ROUNDS", 3), from_env("SPIN_ROUND_MS", 1000));
    let length = Duration::from_millis(length);
    let workers = [Worker::start("0").await, Worker::start("1").await];
    let router = serve(&workers).await;
    let crowd = Crowd::start(router.data, 8, 4);
    crowd.has_answers(2_000).await;
    let before = plugin(&router).await;
    assert_eq!((&before["fallbacks"], &before["breaker"]), (&0.into(), &"closed".into()), "{before}");

    crowd.be_nasty(true);
    let start = Instant::now();
    until(async || plugin(&router).await["breaker"] == "open").await;
    println!("the breaker has acted after {:?}", start.elapsed());

    let (mut calm, mut ratios, mut nasty) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        crowd.be_nasty(false);
        let usual = crowd.rate(length).await;
        crowd.be_nasty(true);
        let harmed = crowd.rate(length).await;
        println!("{usual:.0} ordinary requests a second, {harmed:.0} beside nasty ones");
        calm.push(usual);
        nasty.push(harmed);
        ratios.push(harmed / usual);
    }
    // Each of them was an assertion that there was an answer.
    let (ordinary, others) = crowd.stop().await;
    let after = plugin(&router).await;
    println!("{ordinary} ordinary answers, {others} others; {after}");
    let (ratio, mean) = (median(ratios), mean(&nasty) / mean(&calm));
    println!(
        "ordinary traffic keeps {:.1} % (median of rounds), {:.1} % (mean)",
        ratio * 100.0,
        mean * 100.0
    );
    let spun = after["generations"][0]["failures"]["timeout"].as_u64().unwrap_or_default();
    assert!(spun > 0, "it did spin: {after}");
    assert!(ratio >= AT_LEAST, "{ratio}");
}
