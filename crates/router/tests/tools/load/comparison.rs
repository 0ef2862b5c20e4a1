//! Several targets in one run.

use std::sync::Arc;

use parking_lot::Mutex;
use sgl_testkit::upstream::{Upstream, whole};
use sgl_tools::load::{Pace, RunInfo, Summary};

use crate::load::plans::{made, plan, sim, target};

#[tokio::test]
async fn targets_take_turns_and_none_always_goes_first() {
    let log = Arc::new(Mutex::new(String::new()));
    let logging = async |name: char| {
        let log = Arc::clone(&log);
        Upstream::start(move |_| {
            log.lock().push(name);
            async { whole(200, "{}") }
        })
        .await
    };
    let (a, b) = (logging('a').await, logging('b').await);
    let mut plan = plan(&a.url(), 2);
    plan.targets = vec![target("a", &a.url()), target("b", &b.url())];
    plan.pace = Pace::Closed { connections: 1 };
    plan.rounds = 3;
    made(&plan).await;
    assert_eq!(*log.lock(), "aabb".to_owned() + "bbaa" + "aabb");
}

#[tokio::test]
async fn further_targets_are_compared_with_the_first_by_medians_of_rounds() {
    let (a, b) = (sim("a").await, sim("b").await);
    let mut plan = plan(&a.url(), 40);
    plan.targets = vec![target("first", &a.url()), target("second", &b.url())];
    plan.rounds = 3;
    let summary = Summary::new(&plan, &made(&plan).await, RunInfo::default());
    assert_eq!((a.requests(), b.requests()), (120, 120));
    for (target, worker) in summary.targets.iter().zip(["a", "b"]) {
        assert_eq!((target.requests, target.failed, target.rounds.len()), (120, 0, 3));
        assert_eq!((target.workers[0].worker.as_str(), target.workers[0].requests), (worker, 120));
        let mut medians: Vec<f64> =
            target.rounds.iter().map(|round| round.figures.latency_ms.as_ref().unwrap().p99).collect();
        medians.sort_by(f64::total_cmp);
        assert_eq!(target.median.latency_ms.as_ref().unwrap().p99, medians[1]);
    }
    let comparison = &summary.comparison[0];
    assert_eq!((comparison.name.as_str(), comparison.against.as_str()), ("second", "first"));
    assert!(comparison.latency_p50.is_some_and(|ratio| ratio > 0.0) && comparison.first_token_p50.is_none());
}
