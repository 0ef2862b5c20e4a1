//! What is sent is what is recorded and what workers see.

use std::time::Duration;

use sgl_router::config::WorkerEntry;
use sgl_testkit::router;
use sgl_tools::load::{Pace, Plan, RoundOutcome};

use crate::load::plans::{made, only_round, plan, sim};

/// All places in which a request without failure must be counted.
fn assert_counted(round: &RoundOutcome, requests: u64) {
    let tally = &round.tally;
    assert_eq!((tally.ok, tally.failed(), tally.interrupted), (requests, 0, 0));
    assert_eq!(tally.ok_in_time, requests);
    assert_eq!(
        (tally.latency.count(), tally.service.count(), tally.lag.count()),
        (requests, requests, requests)
    );
    assert_eq!(tally.bins.iter().map(|bin| u64::from(bin.ok)).sum::<u64>(), requests);
    assert_eq!(tally.workers.values().sum::<u64>(), requests);
    assert!(!round.measured.is_zero());
}

#[tokio::test]
async fn requests_through_a_router_are_counted_once_each_in_closed_and_open_loop() {
    let (a, b) = (sim("a").await, sim("b").await);
    let entry = |url: String| WorkerEntry { url, ..WorkerEntry::default() };
    let router = router::start(router::config(vec![entry(a.url()), entry(b.url())])).await;
    let url = format!("http://{}", router.addresses().data);
    let mut sent = 0;
    for pace in [
        Pace::Closed { connections: 7 },
        Pace::Constant { per_second: 5000.0 },
        Pace::Poisson { per_second: 5000.0 },
    ] {
        let round = only_round(made(&Plan { pace, ..plan(&url, 300) }).await);
        sent += 300;
        assert_counted(&round, 300);
        // Answers of four tokens each, as their `usage` says.
        assert_eq!(round.tally.tokens, 1200);
        assert_eq!(a.requests() + b.requests(), sent);
        assert_eq!(round.tally.workers.len(), 2, "round robin over both: {:?}", round.tally.workers);
    }
}

#[tokio::test]
async fn requests_of_the_warmup_are_sent_but_count_nowhere() {
    let worker = sim("w").await;
    for (pace, is_open) in
        [(Pace::Closed { connections: 2 }, false), (Pace::Constant { per_second: 2000.0 }, true)]
    {
        let before = worker.requests();
        let mut plan = Plan { pace, ..plan(&worker.url(), 50) };
        plan.limits.warmup = Duration::from_millis(20);
        let round = only_round(made(&plan).await);
        assert_counted(&round, 50);
        // One every half millisecond; how many a closed loop makes is up to the machine.
        assert!(!is_open || round.tally.warmup == 40);
        assert_eq!(worker.requests() - before, 50 + round.tally.warmup);
    }
}

#[tokio::test]
async fn round_that_is_limited_by_time_sends_what_is_due_in_it() {
    let worker = sim("w").await;
    let mut plan = plan(&worker.url(), 1);
    plan.limits.requests = None;
    plan.limits.duration = Some(Duration::from_millis(100));
    plan.pace = Pace::Constant { per_second: 1000.0 };
    let round = only_round(made(&plan).await);
    // Due at 0, 1 … 99 ms, however late they were sent.
    assert_eq!((round.tally.ok, worker.requests()), (100, 100));
    assert_eq!(round.measured, Duration::from_millis(100));
}
