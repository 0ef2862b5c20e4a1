//! Runs with policies as a router has them.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use sgl_simulate::engine::{EngineModel, ReportedLoad};
use sgl_simulate::fleet::{FleetSetup, PolicyFault, PolicyModule, PolicySource, Sweep};
use sgl_simulate::report::{RunReport, Slo};
use sgl_simulate::rivals::RIVALS;
use sgl_simulate::workload::Workload;

/// Conversations that go on: each prompt has all of its last one, and all begin alike.
fn conversations() -> Workload {
    let mut random = fastrand::Rng::with_seed(4);
    let mut workload = Workload::new(512);
    let mut turns = [0_u32; 60];
    for number in 0..900 {
        let who = random.usize(..turns.len());
        turns[who] = turns[who] % 12 + 1;
        let prompt = 1024 + turns[who] * 700;
        let family = (who as u64 + 1) << 32;
        let ids = (0..u64::from(prompt.div_ceil(512))).map(|at| if at < 2 { at } else { family + at });
        workload.push(f64::from(number) * 0.25, prompt, 20 + random.u32(..100), &ids.collect::<Vec<_>>());
    }
    workload
}

fn source(name: &str) -> PolicySource {
    // Builds it, if need be.
    sgl_testkit::modules::plugin(name);
    let module = format!("{}/../../dist/plugins/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    PolicySource::module(name, PolicyModule::File(module.into()))
}

fn sweep(policies: Vec<PolicySource>, threads: usize) -> Result<Vec<RunReport>, PolicyFault> {
    let sweep = Sweep {
        policies,
        loads: vec![1.0, 1.3],
        seeds: vec![1, 2],
        spread: None,
        slo: Slo::default(),
        threads,
    };
    let model = EngineModel { kv_blocks: 200, reports: ReportedLoad::Sglang, ..EngineModel::default() };
    sweep.run(&FleetSetup::new(model, 4), &conversations().into())
}

#[test]
fn same_runs_have_the_same_figures_on_one_thread_or_several() {
    let policies =
        || vec![PolicySource::native("random"), source("least_uncached"), source("prefix_affinity")];
    let figures = |threads| -> Vec<RunReport> {
        sweep(policies(), threads).unwrap().into_iter().map(RunReport::without_wall).collect()
    };
    let runs = figures(1);
    assert_eq!(runs.len(), 3 * 2 * 2);
    assert_eq!(runs, figures(3));
    assert_ne!(runs[0].ttft, runs[1].ttft, "seeds differ");
    for run in &runs {
        assert_eq!((run.answered, run.refused, run.fallbacks.len()), (900, 0, 0), "{:?}", run.facts);
    }
}

#[test]
fn policy_that_knows_what_workers_hold_has_more_hits() {
    let runs = sweep(vec![PolicySource::native("least_load"), source("least_uncached")], 2).unwrap();
    let of = |name: &str| -> Vec<&RunReport> { runs.iter().filter(|run| run.facts.policy == name).collect() };
    for (blind, knowing) in of("least_load").iter().zip(of("least_uncached")) {
        assert!(
            knowing.hit_rate.unwrap() > blind.hit_rate.unwrap() + 0.1,
            "{:?} {:?}",
            knowing.hit_rate,
            blind.hit_rate
        );
        assert!(knowing.ttft.unwrap().p90 < blind.ttft.unwrap().p90, "{:?} {:?}", knowing.ttft, blind.ttft);
    }
}

#[test]
fn unknown_policy_is_named_before_anything_runs() {
    let fault = sweep(vec![PolicySource::native("none_such")], 1).unwrap_err();
    assert!(fault.to_string().contains("\"none_such\""), "{fault}");
}

#[test]
fn models_of_other_routers_policies_answer_all_and_know_caches_as_well_as_they_can() {
    let policies = || RIVALS.iter().copied().chain(["random"]).map(PolicySource::native).collect();
    let runs: Vec<RunReport> =
        sweep(policies(), 2).unwrap().into_iter().map(RunReport::without_wall).collect();
    let hits = |name: &str| runs.iter().find(|run| run.facts.policy == name).unwrap().hit_rate.unwrap();
    for run in &runs {
        assert_eq!((run.answered, run.refused), (900, 0), "{}", run.facts.policy);
        let name = run.facts.policy.as_str();
        assert!(name == "random" || hits(name) > hits("random") + 0.05, "{name}: {}", hits(name));
    }
    assert_eq!(
        runs,
        sweep(policies(), 1).unwrap().into_iter().map(RunReport::without_wall).collect::<Vec<_>>()
    );
}
