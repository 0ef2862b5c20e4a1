//! What becomes of the fleet by what a source says, case by case.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::check::{Surroundings, check};
use crate::config::router::RouterConfig;
use crate::config::worker_entry::WorkerEntry;
use crate::config::worker_source::WorkerSource;
use crate::proxy::Backends;
use crate::sources::membership::Membership;
use crate::sources::offer::{Offer, OfferedState};
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::NativePolicy;

const HOLD: Duration = Duration::from_secs(60);

struct Case {
    backends: Arc<Backends>,
    members: Membership,
}

fn case() -> Case {
    let mut config = RouterConfig::default();
    config.health.interval_secs = 0;
    config.health.load_interval_ms = 0;
    config.health.poll_models = false;
    let surroundings = Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() };
    let backends = Arc::new(Backends::new(check(config, surroundings).unwrap().proxy));
    let members = Membership::new(WorkerSource::Dns, HOLD, Arc::clone(&backends), ["s".to_owned()]);
    Case { backends, members }
}

fn url(name: &str) -> String {
    format!("http://{name}:1")
}

fn entry(name: &str) -> WorkerEntry {
    WorkerEntry { url: url(name), ..WorkerEntry::default() }
}

fn pod(name: &str, uid: &str, readiness: OfferedState) -> Offer {
    Offer { entry: entry(name), readiness, incarnation: uid.to_owned() }
}

impl Case {
    fn list(&mut self, names: &[&str]) {
        let offers = names.iter().map(|name| (url(name), Offer::ready(entry(name))));
        self.members.list("s", offers.collect());
    }

    /// The names of the workers that get requests.
    fn serving(&self) -> Vec<String> {
        let snapshot = self.backends.snapshot();
        let serving = snapshot.targets().iter().filter(|target| !target.worker().is_draining());
        let mut names: Vec<String> =
            serving.map(|target| target.endpoint().url().host().to_owned()).collect();
        names.sort();
        names
    }

    fn state(&self, id: &str) -> &'static str {
        let scope = &self.members.scopes()["s"];
        scope.members.get(id).map_or("unknown", |member| member.state(scope.missing.contains(id)))
    }
}

#[tokio::test(start_paused = true)]
async fn removed_worker_stays_away_until_the_source_forgets_it() {
    let mut case = case();
    case.list(&["a", "b"]);
    assert_eq!(case.serving(), ["a", "b"]);
    case.backends.retire(&url("a")).unwrap().await.unwrap();
    case.members.tick();
    case.list(&["a", "b"]);
    assert_eq!((case.serving(), case.state(&url("a"))), (vec!["b".to_owned()], "dismissed"));
    case.list(&["b"]);
    case.list(&["a", "b"]);
    assert_eq!(case.serving(), ["a", "b"], "it was forgotten in between");
}

#[tokio::test(start_paused = true)]
async fn worker_that_an_operator_removes_between_two_lists_is_not_brought_back_by_the_second() {
    let mut case = case();
    case.list(&["a", "b"]);
    drop(case.backends.retire(&url("a")));
    case.list(&["a", "b"]);
    assert_eq!(case.serving(), ["b"], "it is being removed, and was not recalled");
}

#[tokio::test(start_paused = true)]
async fn operators_change_lives_until_the_source_says_something_else() {
    let mut case = case();
    case.list(&["a"]);
    let weight = |case: &Case| case.backends.targets(&url("a"))[0].worker().spec().weight;
    case.backends.change(&WorkerEntry { weight: 5.0, ..entry("a") }).unwrap();
    case.list(&["a"]);
    assert_eq!(weight(&case), 5.0);
    let heavier = Offer::ready(WorkerEntry { weight: 2.0, ..entry("a") });
    case.members.list("s", BTreeMap::from([(url("a"), heavier)]));
    assert_eq!(weight(&case), 2.0);
}

#[tokio::test(start_paused = true)]
async fn drain_of_an_operator_and_that_of_the_source_end_apart() {
    let mut case = case();
    case.members.offered("s", "p", pod("a", "1", OfferedState::NotReady));
    assert_eq!((case.backends.targets(&url("a")).len(), case.state("p")), (0, "not_ready"), "not ready yet");
    case.members.offered("s", "p", pod("a", "1", OfferedState::Ready));
    assert_eq!(case.serving(), ["a"]);
    case.members.offered("s", "p", pod("a", "1", OfferedState::NotReady));
    assert_eq!(case.serving().len(), 0);
    let refused = case.backends.undrain(&url("a")).unwrap().unwrap_err().to_string();
    assert!(refused.contains("is not ready, says its source (dns)"), "{refused}");
    assert_eq!(case.backends.origin(&url("a")).unwrap().drained_by(), ["source"]);

    case.backends.drain(&url("a")).unwrap();
    case.members.offered("s", "p", pod("a", "1", OfferedState::Ready));
    assert_eq!(case.serving().len(), 0, "the operator's drain stays");
    assert_eq!(case.backends.origin(&url("a")).unwrap().drained_by(), ["operator"]);
    case.backends.undrain(&url("a")).unwrap().unwrap();
    assert_eq!(case.serving(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn list_without_more_than_half_is_held_and_a_smaller_loss_is_not() {
    let mut case = case();
    case.list(&["a", "b", "c", "d"]);
    case.list(&["a", "b"]);
    assert_eq!(case.serving(), ["a", "b"], "half of them may go");
    case.list(&[]);
    tokio::time::advance(HOLD / 2).await;
    case.list(&[]);
    tokio::time::advance(HOLD / 2 - Duration::from_secs(1)).await;
    case.members.tick();
    assert_eq!((case.serving().len(), case.state(&url("a"))), (2, "held"));
    tokio::time::advance(Duration::from_secs(2)).await;
    case.members.tick();
    assert_eq!(
        (case.serving().len(), case.state(&url("a"))),
        (0, "unknown"),
        "no later list makes it longer"
    );
}

#[tokio::test(start_paused = true)]
async fn held_worker_goes_if_its_checks_fail_and_stays_if_it_is_listed_again() {
    let mut case = case();
    case.list(&["a", "b", "c"]);
    case.list(&["d"]);
    assert_eq!(case.serving(), ["a", "b", "c", "d"]);
    case.backends.targets(&url("b"))[0].endpoint().set_passing(false);
    case.members.tick();
    assert_eq!(case.serving(), ["a", "c", "d"]);
    case.list(&["a", "c", "d"]);
    tokio::time::advance(HOLD * 2).await;
    case.members.tick();
    assert_eq!(case.serving(), ["a", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn failures_and_empty_answers_take_nobody_away_who_is_well() {
    let mut case = case();
    case.list(&["a", "b"]);
    case.backends.targets(&url("b"))[0].endpoint().set_passing(false);
    case.members.failed("s", "unanswered", "nobody answers".to_owned());
    tokio::time::advance(HOLD * 10).await;
    case.members.tick();
    assert_eq!(case.serving(), ["a", "b"]);
    case.members.empty("s", "no records".to_owned());
    tokio::time::advance(HOLD * 10).await;
    case.members.tick();
    assert_eq!(case.serving(), ["a"], "the other one's checks fail");
    let scope = &case.members.scopes()["s"];
    assert_eq!(scope.failures, BTreeMap::from([("unanswered", 1), ("empty", 1)]));
    assert!(scope.fault.is_some());
    case.list(&["a"]);
    assert!(case.members.scopes()["s"].fault.is_none());
}

#[tokio::test(start_paused = true)]
async fn url_of_another_source_waits_and_is_taken_over_when_that_one_lets_go() {
    let mut case = case();
    case.backends.add(&WorkerEntry { weight: 7.0, ..entry("a") }).unwrap();
    case.list(&["a"]);
    case.members.tick();
    assert_eq!(case.state(&url("a")), "elsewhere");
    case.list(&[]);
    assert_eq!(case.serving(), ["a"], "it is not this source's to remove");
    case.list(&["a"]);
    case.backends.remove(&url("a"));
    case.members.tick();
    let origin = case.backends.origin(&url("a")).unwrap();
    assert_eq!((origin.source, case.state(&url("a"))), (WorkerSource::Dns, "serving"));
}

#[tokio::test(start_paused = true)]
async fn pod_that_takes_anothers_name_takes_its_place() {
    let mut case = case();
    case.members.offered("s", "p", pod("a", "1", OfferedState::Ready));
    case.members.offered("s", "p", pod("b", "2", OfferedState::Ready));
    assert_eq!(case.serving(), ["b"]);
    // Another one at the same address goes on as the same worker.
    case.members.offered("s", "p", pod("b", "3", OfferedState::NotReady));
    assert_eq!(case.serving().len(), 0);
    case.members.offered("s", "p", pod("b", "3", OfferedState::Ready));
    assert_eq!(case.serving(), ["b"]);
    case.members.offered("s", "p", pod("b", "3", OfferedState::Leaving));
    assert_eq!((case.serving().len(), case.state("p")), (0, "leaving"));
    case.members.gone("s", "p");
    assert_eq!(case.state("p"), "unknown");
}

#[tokio::test(start_paused = true)]
async fn dismissal_ends_with_the_pod_that_was_dismissed() {
    let mut case = case();
    case.members.offered("s", "p", pod("a", "1", OfferedState::Ready));
    case.backends.retire(&url("a")).unwrap().await.unwrap();
    case.members.offered("s", "p", pod("a", "1", OfferedState::Ready));
    assert_eq!((case.serving().len(), case.state("p")), (0, "dismissed"));
    case.members.offered("s", "p", pod("a", "2", OfferedState::Ready));
    assert_eq!(case.serving(), ["a"], "another pod is another decision");
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_last_answer_that_was_understood() {
    let mut case = case();
    let age = |case: &Case| case.members.scopes()["s"].answered.map(|answered| answered.elapsed());
    assert_eq!(age(&case), None);
    case.list(&["a"]);
    tokio::time::advance(HOLD).await;
    assert_eq!(age(&case), Some(HOLD));
    case.members.unchanged("s");
    assert_eq!(age(&case), Some(Duration::ZERO));
    case.members.failed("s", "faulty", "a fault".to_owned());
    tokio::time::advance(HOLD).await;
    case.members.unchanged("s");
    assert_eq!(age(&case), Some(HOLD), "the same fault is no answer");
    assert!(case.members.scopes()["s"].fault.is_some());
}

fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("w{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn list_of_many_workers_is_shown_by_one_snapshot() {
    let mut case = case();
    let names = names(0..200);
    let before = case.backends.snapshots();
    case.list(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((case.serving().len(), case.backends.snapshots()), (200, before + 1));
    let heavier = names.iter().map(|name| {
        let entry = WorkerEntry { weight: 2.0, ..entry(name) };
        (entry.url.clone(), Offer::ready(entry))
    });
    case.members.list("s", heavier.collect());
    assert_eq!(case.backends.snapshots(), before + 2, "many changes too");
    case.list(&[]);
    case.list(&["a"]);
    assert_eq!(case.backends.snapshots(), before + 3, "one is enough for one");
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_large_fleet_are_shown_many_at_a_time() {
    let mut case = case();
    let names = names(0..600);
    let (listed, later) = names.split_at(300);
    case.list(&listed.iter().map(String::as_str).collect::<Vec<_>>());
    let before = case.backends.snapshots();
    for name in later {
        case.members.offered("s", name, pod(name, "1", OfferedState::Ready));
    }
    assert_eq!((case.serving().len(), case.backends.snapshots()), (300, before), "they wait for each other");
    case.backends.shown().await;
    assert_eq!((case.serving().len(), case.backends.snapshots()), (600, before + 1));
    // Those that go get nothing more at once.
    names.iter().for_each(|name| drop(case.backends.remove(&url(name))));
    let snapshot = case.backends.snapshot();
    assert!(snapshot.targets().iter().all(|target| !target.worker().is_healthy()));
    case.backends.shown().await;
    assert!(case.serving().is_empty());
}
