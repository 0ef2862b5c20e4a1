//! Runs of two seeds, as all tests of fleets make them.

use sgl_simulate::fleet::{FleetSetup, PolicyModule, PolicySource, Sweep};
use sgl_simulate::report::{RunReport, Slo};
use sgl_simulate::workload::{Workload, Workloads};

/// A shipped plugin, from its file.
pub(crate) fn plugin(name: &str) -> PolicySource {
    // Builds it, if need be.
    sgl_testkit::modules::plugin(name);
    let module = format!("{}/../../dist/plugins/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    PolicySource::module(name, PolicyModule::File(module.into()))
}

/// Stamps are exact, and what a machine took is left out.
pub(crate) fn sweep(
    policies: Vec<PolicySource>,
    setup: &FleetSetup,
    workloads: &Workloads,
    threads: usize,
) -> Vec<RunReport> {
    let sweep = Sweep {
        policies,
        loads: vec![1.0],
        seeds: vec![1, 2],
        spread: Some(0.0),
        slo: Slo::default(),
        threads,
    };
    sweep.run(setup, workloads).unwrap().into_iter().map(RunReport::without_wall).collect()
}

/// The same of one policy and a workload that has nothing of chance.
pub(crate) fn runs(
    policy: &PolicySource,
    setup: &FleetSetup,
    workload: &Workload,
    threads: usize,
) -> Vec<RunReport> {
    setup.check(workload).unwrap();
    let runs = sweep(vec![policy.clone()], setup, &workload.clone().into(), threads);
    for run in &runs {
        let all = run.answered + run.refused + run.failed + run.unasked;
        assert_eq!(all, u64::from(workload.len()), "each is answered or counted as not: {run:?}");
    }
    runs
}
