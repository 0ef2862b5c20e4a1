//! Workers that become slow, die, fail, come and go.

use sgl_simulate::engine::{EngineModel, WorkerEvent, WorkerEvents};
use sgl_simulate::fleet::{FleetSetup, PolicySource, SetupError};
use sgl_simulate::report::RunReport;
use sgl_simulate::workload::{DrawnAmount, GeneratedLoad, Workload};

use crate::sweeps::{plugin, runs};

fn run(policy: &str, setup: &FleetSetup, workload: &Workload) -> RunReport {
    runs(&PolicySource::native(policy), setup, workload, 1).remove(0)
}

fn fleet(workers: usize, events: &str) -> FleetSetup {
    let events: Vec<WorkerEvent> = WorkerEvents::from_toml(events).unwrap().events;
    FleetSetup { events, ..FleetSetup::new(EngineModel::default(), workers) }
}

/// A request each half second, of 2000 tokens in and 50 out: an engine is busy half of the time.
fn even(requests: u32) -> Workload {
    let mut workload = Workload::new(512);
    (0..requests).for_each(|number| workload.push(f64::from(number) * 0.5, 2000, 50, &[]));
    workload
}

fn sent(run: &RunReport, worker: usize, from: f64, to: f64) -> u32 {
    let timeline = &run.sent_over_time;
    let within = timeline
        .sent
        .iter()
        .enumerate()
        .filter(|(step, _)| (from..to).contains(&(*step as f64 * timeline.step)));
    within.map(|(_, counts)| counts[worker]).sum()
}

#[test]
fn worker_is_slow_for_as_long_as_it_is_said_to_be() {
    let slow = "[[events]]\nat = 20\nworkers = [0]\nwhat = \"slow\"\nspeed = 0.25\nsecs = 30";
    let (plain, slowed) =
        (run("random", &fleet(1, ""), &even(200)), run("random", &fleet(1, slow), &even(200)));
    assert_eq!((slowed.answered, slowed.failed), (200, 0));
    assert!(
        slowed.ttft.unwrap().p50 < plain.ttft.unwrap().p50 * 3.0
            && slowed.ttft.unwrap().max > plain.ttft.unwrap().max + 10.0,
        "{slowed:?}"
    );
    let share = run("least_load", &fleet(2, slow), &even(200));
    assert!(sent(&share, 0, 24.0, 48.0) < sent(&share, 1, 24.0, 48.0), "{:?}", share.sent_over_time);
}

/// Of two workers one dies: what it had begun to answer is lost, what waits goes to the other one, and the
/// router notices after its checks, until when requests still find the port closed.
#[test]
fn dead_worker_loses_its_answers_and_gets_no_requests_until_it_is_back() {
    let crash = "[[events]]\nat = 30.1\nworkers = [1]\nwhat = \"crash\"\nsecs = 60";
    let found = run("round_robin", &fleet(2, crash), &even(400));
    assert_eq!((found.answered + found.failed, found.refused), (400, 0));
    assert!((1..=2).contains(&found.failed), "{}", found.failed);
    // Half of those that came before a tenth failure in a row opened the circuit.
    assert!((3..=12).contains(&found.retries), "{}", found.retries);
    assert_eq!(sent(&found, 1, 32.0, 88.0), 0, "{:?}", found.sent_over_time);
    assert!(sent(&found, 1, 130.0, 200.0) >= 60, "{:?}", found.sent_over_time);
    let notes = found.notes();
    assert!(notes.iter().any(|note| note.ends_with("requests failed with their workers")), "{notes:?}");
}

#[test]
fn everything_fails_while_nobody_is_there() {
    let crash = "[[events]]\nat = 10\nworkers = [0, 1]\nwhat = \"crash\"\nsecs = 40";
    let found = run("least_load", &fleet(2, crash), &even(200));
    assert!(found.failed + found.refused > 60 && found.answered > 60, "{found:?}");
    assert!(found.refused > 0, "once it is known, nobody is asked");
}

#[test]
fn error_of_a_worker_is_the_answer_and_many_in_a_row_take_it_out() {
    let part = "[[events]]\nat = 0\nworkers = [0]\nwhat = \"fail\"\nshare = 0.2";
    let found = run("random", &fleet(1, part), &even(400));
    assert!((50..110).contains(&found.failed) && found.retries == 0, "{}", found.failed);
    let all = "[[events]]\nat = 50\nworkers = [0]\nwhat = \"fail\"\nsecs = 60";
    let found = run("least_load", &fleet(2, all), &even(400));
    // Ten open the circuit; then one each ten seconds.
    assert!((12..=18).contains(&found.failed), "{}", found.failed);
    assert!(sent(&found, 0, 130.0, 200.0) > 30, "{:?}", found.sent_over_time);
}

#[test]
fn worker_that_stands_still_keeps_what_it_has_and_falls_out_after_its_checks() {
    let hang = "[[events]]\nat = 30\nworkers = [0]\nwhat = \"hang\"\nsecs = 50";
    let found = run("round_robin", &fleet(2, hang), &even(400));
    assert_eq!((found.answered, found.failed, found.retries), (400, 0, 0));
    assert!(
        sent(&found, 0, 30.0, 46.0) > 0 && sent(&found, 0, 62.0, 78.0) == 0,
        "{:?}",
        found.sent_over_time
    );
    assert!(found.ttft.unwrap().max > 30.0 && found.ttft.unwrap().max < 51.0, "{:?}", found.ttft);
}

#[test]
fn workers_come_and_go_and_lose_nothing() {
    let moves = "[[events]]\nat = 60\nworkers = [2]\nwhat = \"join\"\n\
                 [[events]]\nat = 100\nworkers = [0]\nwhat = \"leave\"\n\
                 [[events]]\nat = 150\nworkers = [0]\nwhat = \"join\"";
    for policy in [PolicySource::native("least_load"), plugin("least_uncached")] {
        let found = runs(&policy, &fleet(3, moves), &even(400), 1).remove(0);
        assert_eq!((found.answered, found.retries), (400, 0));
        assert_eq!((sent(&found, 2, 0.0, 60.0), sent(&found, 0, 102.0, 150.0)), (0, 0));
        assert!(
            sent(&found, 2, 62.0, 100.0) > 10 && sent(&found, 0, 152.0, 200.0) > 10,
            "{:?}",
            found.sent_over_time
        );
        assert!(found.workers.iter().map(|worker| worker.requests).sum::<u64>() == 400);
    }
}

/// A worker that starts anew holds nothing. A router that does not hear of it would go on believing, and send
/// prompts there instead of to another one that holds half of them.
#[test]
fn index_forgets_a_worker_that_starts_anew() {
    let mut workload = Workload::new(512);
    let ids: Vec<u64> = (0..20).collect();
    // One at a time: four before the other worker comes, a short one while the first is down, two after that.
    for (at, units) in
        [(0.0, 20), (10.0, 20), (20.0, 20), (30.0, 20), (160.0, 10_u32), (250.0, 20), (260.0, 20)]
    {
        workload.push(at, units * 512 + 300, 5, &ids[..units as usize]);
    }
    let events = "[[events]]\nat = 100\nworkers = [1]\nwhat = \"join\"\n\
                  [[events]]\nat = 120\nworkers = [0]\nwhat = \"crash\"\nsecs = 60";
    let found = runs(&plugin("least_uncached"), &fleet(2, events), &workload, 1).remove(0);
    assert_eq!((found.answered, found.failed), (7, 0));
    let cached: Vec<u64> = found.workers.iter().map(|worker| worker.cached_tokens / 512).collect();
    assert_eq!(cached, [3 * 20, 10 + 20]);
}

#[test]
fn runs_with_upsets_are_the_same_on_one_thread_or_several() {
    let events = "[[events]]\nat = 20\nworkers = [0]\nwhat = \"crash\"\nsecs = 30\n\
                  [[events]]\nat = 60\nworkers = [1]\nwhat = \"fail\"\nshare = 0.3\nsecs = 50\n\
                  [[events]]\nat = 90\nworkers = [2]\nwhat = \"leave\"\n\
                  [[events]]\nat = 120\nworkers = [0]\nwhat = \"hang\"\nsecs = 20";
    let load = GeneratedLoad {
        rate: 2.0,
        requests: Some(1200),
        turns: DrawnAmount::Fixed(4.0),
        think_secs: DrawnAmount::Lognormal { mean: 5.0, cv: 1.0, max: None },
        ..GeneratedLoad::default()
    };
    let (workload, setup) = (load.workload(1, 512), fleet(4, events));
    for policy in [PolicySource::native("power_of_two"), plugin("toll"), plugin("late")] {
        let one = runs(&policy, &setup, &workload, 1);
        assert_eq!(one, runs(&policy, &setup, &workload, 2));
        assert!(one[0].failed > 0 && one[0].unasked > 0 && one[0].fallbacks.is_empty(), "{:?}", one[0]);
    }
}

#[test]
fn event_of_no_worker_is_a_fault() {
    let setup = fleet(2, "[[events]]\nat = 1\nworkers = [2]\nwhat = \"leave\"");
    let fault = setup.check(&even(1)).unwrap_err();
    assert!(matches!(fault, SetupError::Event { .. }));
    assert_eq!(fault.to_string(), "an event at 1 s: workers: there is no worker with such a number");
}
