//! Requests that fail are counted by what happened to them.

use std::time::Duration;

use sgl_tools::load::{ErrorKind, RunControl, RunError, run};
use sgl_tools::sim::SimConfig;
use tokio::net::TcpListener;

use crate::load::plans::{made, only_round, plan, sim_with};

#[tokio::test]
async fn status_other_than_success_fails_and_still_names_its_worker() {
    let config = SimConfig { fail_rate: 1.0, fail_status: 502, ..SimConfig::default() };
    let worker = sim_with(config).await;
    let round = only_round(made(&plan(&worker.url(), 30)).await);
    assert_eq!(round.tally.errors, [(ErrorKind::Status(502), 30)].into());
    assert_eq!((round.tally.ok, round.tally.latency.count()), (0, 0));
    assert_eq!(round.tally.bins.iter().map(|bin| bin.failed).sum::<u32>(), 30);
    assert_eq!(round.tally.workers.values().sum::<u64>(), 30);
    assert_eq!(worker.requests(), 30);
    let said = &round.tally.said[&ErrorKind::Status(502)];
    assert!(said.starts_with('{') && said.contains("error"), "{said}");
}

#[tokio::test]
async fn answer_that_does_not_come_in_time_fails() {
    let config = SimConfig { stall_after: Some(1), ..SimConfig::default() };
    let worker = sim_with(config).await;
    let mut plan = plan(&worker.url(), 3);
    plan.shape.stream = true;
    plan.limits.timeout = Duration::from_millis(200);
    let round = only_round(made(&plan).await);
    assert_eq!(round.tally.errors, [(ErrorKind::Timeout, 3)].into());
    // Nothing is left behind at the worker.
    worker.wait_until(|worker| worker.in_flight() == 0).await;
    assert_eq!(worker.cancelled(), worker.requests());
}

#[tokio::test]
async fn connection_that_is_closed_instead_of_answered_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.expect("a connection"));
        }
    });
    let round = only_round(made(&plan(&url, 5)).await);
    accepting.abort();
    let errors = &round.tally.errors;
    assert_eq!(round.tally.failed(), 5, "{errors:?}");
    assert!(errors.keys().all(|kind| matches!(kind, ErrorKind::Closed | ErrorKind::Connect)), "{errors:?}");
}

#[tokio::test]
async fn run_is_not_made_if_a_target_cannot_be_reached() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let result = run(&plan(&format!("http://{free}"), 5), &RunControl::default(), None).await;
    assert!(matches!(result, Err(RunError::Unreachable { name, .. }) if name == "router"));
}
