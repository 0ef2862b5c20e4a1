//! The search for the highest load at which enough requests are good.

use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::{FleetSetup, PolicySource, RunProgress, Sweep};
use sgl_simulate::report::Slo;
use sgl_simulate::workload::Workload;

/// One engine that takes 0.1 s for a request, and a request each 0.1 s: at a load above 1 the n-th one waits
/// n · 0.1 s · (1 - 1/load). Of 1000, 900 wait at most 0.1 s up to a load of 900/899; with half of the
/// requests at each of two engines in turn, up to almost twice that.
#[test]
fn highest_load_is_what_a_pencil_says() {
    let model = EngineModel {
        step_ms: 100.0,
        prompt_tokens_per_second: 1e12,
        attention_tokens: 0.0,
        chunk_tokens: 512,
        max_sequences: 1,
        ..EngineModel::default()
    };
    let mut workload = Workload::new(512);
    (0..1000).for_each(|number| workload.push(f64::from(number) * 0.1, 512, 1, &[]));
    let found = |workers: usize, share: f64, threads: usize| {
        let sweep = Sweep {
            policies: vec![PolicySource::native("round_robin"), PolicySource::native("least_load")],
            loads: vec![1.0],
            seeds: vec![1, 2],
            spread: Some(0.0),
            slo: Slo { ttft: 0.2 + 1e-9, ttft_per_token: 0.0, tpot: 1.0 },
            threads,
        };
        let progress = RunProgress::default();
        let setup = FleetSetup::new(model.clone(), workers);
        let found = sweep.capacities(&setup, &workload.clone().into(), share, &progress).unwrap();
        let counts = progress.counts();
        assert_eq!((counts.came, counts.runs * 1000), (counts.expected, counts.expected));
        found
    };
    let one = found(1, 0.9, 1);
    assert_eq!(one, found(1, 0.9, 3));
    let named: Vec<_> = one.iter().map(|one| (one.policy.as_str(), one.seed)).collect();
    assert_eq!(named, [("round_robin", 1), ("round_robin", 2), ("least_load", 1), ("least_load", 2)]);
    let edge = 900.0 / 899.0;
    for capacity in &one {
        assert!(capacity.load <= edge && capacity.load * 1.01 >= edge, "{capacity:?}");
        assert!((capacity.requests_per_second / 10.0 - 1.0).abs() < 0.02, "{capacity:?}");
        assert!(capacity.tried.len() < 12, "{capacity:?}");
    }
    let two = found(2, 0.9, 1);
    assert!((two[0].load / 2.0 - 1.0).abs() < 0.02, "{two:?}");
    let few = found(1, 0.1, 1);
    assert!(few[0].load > one[0].load, "{few:?}");
}
