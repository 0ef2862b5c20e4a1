//! Runs that an operator ends early.

use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_tools::load::{RunControl, run};

use crate::load::plans::{all_at_once, only_round, plan, sim};

#[tokio::test]
async fn stopped_run_finishes_requests_in_flight_and_reports() {
    let worker = sim("w").await;
    let mut plan = plan(&worker.url(), u64::MAX);
    plan.rounds = 5;
    let control = RunControl::default();
    let watched = control.clone();
    let running = tokio::spawn(async move { run(&plan, &control, None).await });
    until(async || watched.counts().ok >= 50).await;
    assert_eq!((watched.stage().round, watched.stage().rounds), (1, 5));
    watched.stop();
    let outcome = soon(running).await.unwrap().unwrap();
    assert!(outcome.interrupted);
    let round = only_round(outcome);
    assert!(round.tally.ok >= 50);
    assert_eq!((round.tally.ok, round.tally.failed()), (worker.requests(), 0));
    assert_eq!((watched.counts().ok, watched.counts().in_flight), (round.tally.ok, 0));
}

#[tokio::test]
async fn aborted_run_cuts_off_what_is_in_flight_without_calling_it_a_failure() {
    let worker = Upstream::start(|_| std::future::pending()).await;
    let mut plan = plan(&worker.url(), 9);
    plan.pace = all_at_once(9);
    plan.limits.max_in_flight = 4;
    let control = RunControl::default();
    let watched = control.clone();
    let running = tokio::spawn(async move { run(&plan, &control, None).await });
    worker.arrived(4).await;
    watched.stop();
    watched.abort();
    let round = only_round(soon(running).await.unwrap().unwrap());
    assert_eq!((round.tally.ok, round.tally.failed(), round.tally.interrupted), (0, 0, 9));
}
