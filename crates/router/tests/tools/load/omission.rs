//! No coordinated omission: a stall is in the latency of every request that it delayed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sgl_testkit::upstream::{Upstream, whole};
use sgl_testkit::waits::soon;
use sgl_tools::load::{ErrorKind, RunControl, run};
use tokio::sync::Semaphore;

use crate::load::plans::{all_at_once, made, only_round, plan};

/// A worker that answers only while the gate is open.
async fn gated() -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let behind = Arc::clone(&gate);
    let worker = Upstream::start(move |_| {
        let gate = Arc::clone(&behind);
        async move {
            // Closed on purpose, or a permit: either way the answer may go.
            let _ = gate.acquire().await;
            whole(200, "{}")
        }
    });
    (worker.await, gate)
}

#[tokio::test]
async fn requests_that_a_stall_delays_are_counted_from_when_they_were_due() {
    let (worker, gate) = gated().await;
    let mut plan = plan(&worker.url(), 20);
    plan.pace = all_at_once(20);
    plan.limits.max_in_flight = 1;
    let running = tokio::spawn(async move { run(&plan, &RunControl::default(), None).await });
    worker.arrived(1).await;
    // All 20 are due by now. The first is the only one that was sent: it holds the one place.
    let stalled = Instant::now();
    tokio::time::sleep(Duration::from_millis(40)).await;
    let stall = stalled.elapsed();
    gate.close();
    let round = only_round(soon(running).await.unwrap().unwrap());
    assert_eq!((round.tally.ok, worker.seen().len()), (20, 20));
    // Three digits are kept.
    let shortest = |curve: Vec<(f64, f64)>| Duration::from_secs_f64(curve[0].0 * 1.001 / 1000.0);
    assert!(
        shortest(round.tally.latency.curve()) >= stall,
        "{stall:?}: {:?}",
        round.tally.latency.quantiles()
    );
    // 19 of them waited here, and it shows what the wait was.
    let lag = round.tally.lag.quantiles().unwrap();
    assert!(lag.p90 * 1.001 >= stall.as_secs_f64() * 1000.0, "{stall:?}: {lag:?}");
}

#[tokio::test]
async fn requests_that_were_due_but_not_answered_or_sent_at_the_end_fail() {
    let (worker, _gate) = gated().await;
    let mut plan = plan(&worker.url(), 7);
    plan.pace = all_at_once(7);
    plan.limits.max_in_flight = 2;
    plan.limits.duration = Some(Duration::from_millis(20));
    plan.limits.drain = Duration::from_millis(10);
    let round = only_round(made(&plan).await);
    assert_eq!(round.tally.errors, [(ErrorKind::Unfinished, 7)].into());
    assert!(worker.seen().len() <= 2, "no more than two places");
}
