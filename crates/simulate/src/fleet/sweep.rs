//! Many runs: each policy at each load with each seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::fleet::load_search::highest_load;
use crate::fleet::policy_source::{PolicyFault, PolicyShelf, PolicySource};
use crate::fleet::run::{RunInputs, run};
use crate::fleet::run_progress::RunProgress;
use crate::fleet::setup::FleetSetup;
use crate::report::{CapacityFound, RunFacts, RunReport, Slo};
use crate::workload::{ArrivalTimes, Workloads};

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The policies.
    pub policies: Vec<PolicySource>,
    /// What the workload's times are divided by.
    pub loads: Vec<f64>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Seconds over which stamps are spread; `None` = as they look.
    pub spread: Option<f64>,
    /// What is expected.
    pub slo: Slo,
    /// Runs at a time.
    pub threads: usize,
}

/// What all runs are made of.
#[derive(Clone, Copy)]
struct SweepParts<'a> {
    shelf: &'a PolicyShelf,
    setup: &'a FleetSetup,
    workloads: &'a Workloads,
    progress: &'a RunProgress,
}

impl Sweep {
    /// Makes all runs: ordered by load, then policy, then seed.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`]: a policy that there is not, before any run.
    pub fn run(&self, setup: &FleetSetup, workloads: &Workloads) -> Result<Vec<RunReport>, PolicyFault> {
        self.run_watched(setup, workloads, &RunProgress::default())
    }

    /// The same while others see how far it is.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_watched(
        &self,
        setup: &FleetSetup,
        workloads: &Workloads,
        progress: &RunProgress,
    ) -> Result<Vec<RunReport>, PolicyFault> {
        let shelf = &self.shelf(setup)?;
        let parts = SweepParts { shelf, setup, workloads, progress };
        let mut tasks: Vec<(f64, &PolicySource, u64)> = Vec::new();
        for load in &self.loads {
            for source in &self.policies {
                tasks.extend(self.seeds.iter().map(|seed| (*load, source, *seed)));
            }
        }
        let requests = tasks.iter().map(|(_, _, seed)| u64::from(workloads.of(*seed).len()));
        progress.expect(requests.sum());
        self.in_parallel(&tasks, |(load, source, seed)| self.one(parts, *load, source, *seed))
    }

    /// The highest load of each policy with each seed at which this share of requests meets the objective.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn capacities(
        &self,
        setup: &FleetSetup,
        workloads: &Workloads,
        share: f64,
        progress: &RunProgress,
    ) -> Result<Vec<CapacityFound>, PolicyFault> {
        let shelf = &self.shelf(setup)?;
        let parts = SweepParts { shelf, setup, workloads, progress };
        let seeds = |source| self.seeds.iter().map(move |seed| (source, *seed));
        let tasks: Vec<(&PolicySource, u64)> = self.policies.iter().flat_map(seeds).collect();
        self.in_parallel(&tasks, |(source, seed)| self.capacity(parts, source, *seed, share))
    }

    fn capacity(
        &self,
        parts: SweepParts<'_>,
        source: &PolicySource,
        seed: u64,
        share: f64,
    ) -> Result<CapacityFound, PolicyFault> {
        let (mut tried, mut fault) = (Vec::new(), None);
        let mut rates: Vec<(f64, f64)> = Vec::new();
        let found = highest_load(self.loads.first().copied().unwrap_or(1.0), |load| {
            parts.progress.expect(parts.workloads.of(seed).len().into());
            match self.one(parts, load, source, seed) {
                Ok(run) => {
                    tried.push((load, run.goodput));
                    rates.push((load, run.answered_rate()));
                    run.goodput >= share
                }
                Err(why) => {
                    fault = Some(why);
                    false
                }
            }
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        let load = found.unwrap_or_default();
        let rate = rates.iter().find(|(at, _)| at.total_cmp(&load).is_eq());
        Ok(CapacityFound {
            policy: source.name.clone(),
            seed,
            load,
            requests_per_second: rate.map_or(0.0, |(_, rate)| *rate),
            tried,
        })
    }

    /// A shelf with all policies, tried once.
    fn shelf(&self, setup: &FleetSetup) -> Result<PolicyShelf, PolicyFault> {
        let shelf = PolicyShelf::new()?.with_reasks(setup.reasks);
        for source in &self.policies {
            drop(shelf.take(source)?);
        }
        Ok(shelf)
    }

    /// Does all tasks, several at a time: what came of them, in their order.
    fn in_parallel<T: Sync, D: Send, E: Send>(
        &self,
        tasks: &[T],
        task: impl Fn(&T) -> Result<D, E> + Sync,
    ) -> Result<Vec<D>, E> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                // Relaxed: a number that orders nothing else.
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = tasks.get(at) else { return done };
                done.push((at, task(one)));
            }
        };
        let mut done = thread::scope(|threads| {
            let others: Vec<_> = (1..self.threads).map(|_| threads.spawn(work)).collect();
            let mut done = work();
            for other in others {
                match other.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, done)| done).collect()
    }

    fn one(
        &self,
        parts: SweepParts<'_>,
        load: f64,
        source: &PolicySource,
        seed: u64,
    ) -> Result<RunReport, PolicyFault> {
        let SweepParts { shelf, setup, workloads, progress } = parts;
        let policy = shelf.take(source)?;
        let workload = workloads.of(seed);
        let arrivals = &ArrivalTimes::new(workload, load, self.spread, seed);
        let inputs = RunInputs { setup, workload, arrivals, slo: &self.slo, progress: Some(progress) };
        let report = run(inputs, &policy, RunFacts { policy: source.name.clone(), load, seed });
        progress.end_run(report.unasked);
        Ok(report)
    }
}
