//! Many runs: each policy at each load with each seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::fleet::policy_source::{PolicyFault, PolicyShelf, PolicySource};
use crate::fleet::run::{RunInputs, run};
use crate::fleet::setup::FleetSetup;
use crate::report::{RunFacts, RunReport, Slo};
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

impl Sweep {
    /// Makes all runs: ordered by load, then policy, then seed.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`]: a policy that there is not, before any run.
    pub fn run(&self, setup: &FleetSetup, workloads: &Workloads) -> Result<Vec<RunReport>, PolicyFault> {
        let shelf = PolicyShelf::new()?;
        for source in &self.policies {
            drop(shelf.take(source)?);
        }
        let mut tasks: Vec<(f64, &PolicySource, u64)> = Vec::new();
        for load in &self.loads {
            for source in &self.policies {
                tasks.extend(self.seeds.iter().map(|seed| (*load, source, *seed)));
            }
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                // Relaxed: a number that orders nothing else.
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((load, source, seed)) = tasks.get(at) else { return done };
                done.push((at, self.one(&shelf, (setup, workloads), *load, source, *seed)));
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
        done.into_iter().map(|(_, report)| report).collect()
    }

    fn one(
        &self,
        shelf: &PolicyShelf,
        (setup, workloads): (&FleetSetup, &Workloads),
        load: f64,
        source: &PolicySource,
        seed: u64,
    ) -> Result<RunReport, PolicyFault> {
        let policy = shelf.take(source)?;
        let workload = workloads.of(seed);
        let arrivals = &ArrivalTimes::new(workload, load, self.spread, seed);
        let inputs = RunInputs { setup, workload, arrivals, slo: &self.slo };
        Ok(run(inputs, &policy, RunFacts { policy: source.name.clone(), load, seed }))
    }
}
