//! Whatever becomes of the fleet between decisions, every instance of the guest agrees with the
//! host about it when it decides.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sgl_policy_abi::{Init, Wire};
use sglang_router_rs::core::{CandidateWorkers, Fleet, FleetWorker, InFlight, WorkerReport, WorkerTable};
use sglang_router_rs::policies::Explanation;
use tokio::runtime::Runtime;

use crate::views::echo::Echo;
use crate::views::inputs::{Asked, Facts};
use crate::views::recorder::Mirror;
use crate::views::{echo, expected, inputs, recorder};

/// Instances of the guest: each must be told of every table by itself.
const INSTANCES: usize = 3;

/// One change of the fleet; workers are meant by their place, modulo how many there are.
#[derive(Clone, Debug)]
enum Change {
    Add(Facts, bool),
    Remove(usize),
    /// Out, and in again at the same URL with other facts: its model, role, weight and labels.
    Relabel(usize, Facts),
    SetHealthy(usize, bool),
    Drain(usize),
    Report(usize, WorkerReport),
    Latency(usize, f32),
    /// One request more in flight.
    Begin(usize),
    /// The oldest request ends.
    End,
    /// A table that was current once is decided on again, as by a request that has kept it.
    Keep,
    GoBack,
}

fn change() -> impl Strategy<Value = Change> {
    let place = || 0_usize..64;
    prop_oneof![
        4 => (inputs::facts(), any::<bool>()).prop_map(|(facts, healthy)| Change::Add(facts, healthy)),
        2 => place().prop_map(Change::Remove),
        2 => (place(), inputs::facts()).prop_map(|(at, facts)| Change::Relabel(at, facts)),
        2 => (place(), any::<bool>()).prop_map(|(at, healthy)| Change::SetHealthy(at, healthy)),
        1 => place().prop_map(Change::Drain),
        1 => (place(), inputs::report()).prop_map(|(at, report)| Change::Report(at, report)),
        1 => (place(), 0.0..1e6_f32).prop_map(|(at, latency)| Change::Latency(at, latency)),
        2 => place().prop_map(Change::Begin),
        1 => Just(Change::End),
        1 => Just(Change::Keep),
        1 => Just(Change::GoBack),
    ]
}

/// Who decides next: this thread, another one, or a task.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Same,
    Other,
    Task,
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![Just(Caller::Same), Just(Caller::Other), Just(Caller::Task)]
}

/// The fleet, and what has happened to it.
#[derive(Default)]
struct Story {
    fleet: Fleet,
    added: usize,
    in_flight: Vec<InFlight>,
    kept: Option<Arc<WorkerTable>>,
    goes_back: bool,
}

impl Story {
    fn worker(&self, at: usize) -> Option<Arc<FleetWorker>> {
        let table = self.fleet.table();
        table.get(at % table.len().max(1)).cloned()
    }

    fn happen(&mut self, change: Change) {
        match change {
            Change::Add(facts, healthy) => {
                let url = format!("http://w{}", self.added);
                self.added += 1;
                self.fleet.add(facts.of(url), healthy).unwrap();
            }
            Change::Keep => self.kept = Some(self.fleet.table()),
            Change::GoBack => self.goes_back = true,
            Change::End => drop((!self.in_flight.is_empty()).then(|| self.in_flight.remove(0))),
            Change::Remove(at)
            | Change::Relabel(at, _)
            | Change::SetHealthy(at, _)
            | Change::Drain(at)
            | Change::Report(at, _)
            | Change::Latency(at, _)
            | Change::Begin(at) => {
                if let Some(worker) = self.worker(at) {
                    self.happen_to(worker, change);
                }
            }
        }
    }

    fn happen_to(&mut self, worker: Arc<FleetWorker>, change: Change) {
        let url = worker.spec().url.as_str();
        match change {
            Change::Remove(_) => drop(self.fleet.remove(url).unwrap()),
            Change::Relabel(_, facts) => {
                self.fleet.remove(url).unwrap();
                self.fleet.add(facts.of(url), true).unwrap();
            }
            Change::SetHealthy(_, healthy) => worker.set_healthy(healthy),
            Change::Drain(_) => drop(self.fleet.drain(url).unwrap()),
            Change::Report(_, report) => worker.set_report(&report),
            Change::Latency(_, latency) => worker.observe_latency(latency),
            Change::Begin(_) => self.in_flight.push(InFlight::on_fleet(&worker)),
            other => panic!("{other:?} is not about one worker"),
        }
    }

    /// The table that the next decision is over.
    fn table(&mut self) -> Arc<WorkerTable> {
        let current = self.fleet.table();
        let kept = self.kept.clone().filter(|_| std::mem::take(&mut self.goes_back));
        kept.unwrap_or(current)
    }
}

/// The real guest, and a native one for each of its instances.
struct Stage {
    runtime: Runtime,
    echo: Echo,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let echo = runtime.block_on(Echo::new(Wire::Columns, recorder::inputs(), INSTANCES, HashMap::new()));
    Stage { runtime, echo }
});

fn decide(caller: Caller, table: &Arc<WorkerTable>, asked: &Asked) -> echo::Messages {
    let (policy, explanation) = (&STAGE.echo.policy, Arc::new(Explanation::default()));
    let outcome = match caller {
        Caller::Same => policy.decide(table, &asked.info(&explanation)),
        Caller::Other => std::thread::scope(|scope| {
            scope.spawn(|| policy.decide(table, &asked.info(&explanation))).join().unwrap()
        }),
        Caller::Task => {
            let (policy, table, asked) = (policy.clone(), Arc::clone(table), asked.clone());
            let explanation = Arc::clone(&explanation);
            let task = async move { policy.decide_async(&table, &asked.info(&explanation)).await };
            STAGE.runtime.block_on(STAGE.runtime.spawn(task)).unwrap()
        }
    };
    // Nobody is chosen.
    outcome.unwrap_err();
    echo::messages(&explanation)
}

/// Tells the native guest of the same instance the same, and compares what it sees with the host.
fn agrees(
    mirrors: &mut HashMap<u64, Mirror>,
    messages: &echo::Messages,
    table: &WorkerTable,
    asked: &Asked,
) -> TestCaseResult {
    let seed = Init::decode(&messages.init).unwrap().seed;
    let mirror = mirrors.entry(seed).or_insert_with(|| Mirror::new(&messages.init));
    let seen = mirror.see(messages.table.as_deref(), &messages.select);
    prop_assert_eq!(seen, expected::view(table, asked));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn guest_and_host_agree_after_any_changes_of_the_fleet(
        steps in vec((vec(change(), 0..4), caller(), inputs::request()), 1..24),
    ) {
        // A new table is made for each case, so no instance knows one of this story yet.
        let (mut story, mut mirrors) = (Story::default(), HashMap::new());
        for (changes, caller, asked) in steps {
            changes.into_iter().for_each(|change| story.happen(change));
            let table = story.table();
            let messages = decide(caller, &table, &asked);
            agrees(&mut mirrors, &messages, &table, &asked)?;
        }
    }
}
