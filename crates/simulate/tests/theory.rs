//! Runs against what queueing theory and a pencil say, where they are exact.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use sgl_simulate::engine::{EngineModel, ReportedLoad};
use sgl_simulate::fleet::{FleetSetup, FreshPolicy, PolicyModule, PolicyShelf, PolicySource, RunInputs, run};
use sgl_simulate::report::{RunFacts, RunReport, Slo};
use sgl_simulate::workload::{ArrivalTimes, Workload};

/// What each request takes, in seconds.
const SERVICE: f64 = 0.1;

/// An engine that serves one prompt of 512 tokens at a time, each in [`SERVICE`].
fn one_by_one() -> EngineModel {
    EngineModel {
        step_ms: SERVICE * 1e3,
        prompt_tokens_per_second: 1e12,
        attention_tokens: 0.0,
        chunk_tokens: 512,
        max_sequences: 1,
        prefix_cache: false,
        reports: ReportedLoad::None,
        ..EngineModel::default()
    }
}

/// Prompts that come by chance, so many a second on average.
fn poisson(count: u32, rate: f64) -> Workload {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut workload, mut at) = (Workload::new(512), 0.0);
    for _ in 0..count {
        at -= (1.0 - random.f64()).ln() / rate;
        workload.push(at, 512, 1, &[]);
    }
    workload
}

fn outcome(setup: &FleetSetup, workload: &Workload, policy: &FreshPolicy) -> RunReport {
    let arrivals = ArrivalTimes::new(workload, 1.0, Some(0.0), 0);
    let inputs = RunInputs { setup, workload, arrivals: &arrivals, slo: &Slo::default(), progress: None };
    run(inputs, policy, RunFacts { policy: String::new(), load: 1.0, seed: 5 })
}

/// Mean wait, in service times, of Poisson arrivals at `servers` with a queue for all of them.
///
/// From one service time to the next, those who are served leave and as many as came are there besides:
/// n' = max(n - servers, 0) + Poisson(load · servers). The numbers in the system are as this chain has them
/// at any moment (Crommelin 1932), and Little's law makes a wait of them.
fn exact_wait(servers: usize, load: f64) -> f64 {
    const STATES: usize = 600;
    let mean = load * servers as f64;
    let mut arrivals = vec![(-mean).exp()];
    for count in 1..200 {
        arrivals.push(arrivals[count - 1] * mean / count as f64);
    }
    let mut states = vec![0.0; STATES];
    states[0] = 1.0;
    for _ in 0..3000 {
        let mut next = vec![0.0; STATES];
        for (number, share) in states.iter().enumerate() {
            let left = number.saturating_sub(servers);
            for (came, chance) in arrivals.iter().enumerate().take(STATES - left) {
                next[left + came] += share * chance;
            }
        }
        states = next;
    }
    let queued = |(number, share): (usize, &f64)| number.saturating_sub(servers) as f64 * share;
    states.iter().enumerate().map(queued).sum::<f64>() / mean
}

fn is_within(found: f64, expected: f64, share: f64) {
    assert!((found / expected - 1.0).abs() < share, "found {found}, expected {expected}");
}

#[test]
fn one_engine_waits_as_pollaczek_and_khinchine_say() {
    is_within(exact_wait(1, 0.8), 2.0, 1e-6);
    let policy = PolicyShelf::new().unwrap().take(&PolicySource::native("round_robin")).unwrap();
    for load in [0.5, 0.8] {
        let found = outcome(&FleetSetup::new(one_by_one(), 1), &poisson(150_000, load / SERVICE), &policy);
        is_within(found.ttft.unwrap().mean, SERVICE * (1.0 + load / (2.0 * (1.0 - load))), 0.02);
        is_within(found.workers[0].busy, load, 0.01);
        assert_eq!((found.answered, found.hit_rate), (150_000, Some(0.0)));
    }
}

/// A plugin that has requests wait in the router until a worker is free makes one queue of all workers.
#[test]
fn several_engines_with_one_queue_wait_as_the_embedded_chain_says() {
    let shelf = PolicyShelf::new().unwrap();
    // Builds it, if need be.
    sgl_testkit::modules::fixture("hold_back");
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/fixtures/hold_back.wasm");
    let source = PolicySource::module("hold_back", PolicyModule::File(module.into()));
    for (servers, load) in [(2_u32, 0.8), (4, 0.9)] {
        let mut setup = FleetSetup::new(one_by_one(), servers as usize);
        setup.queue_size = 10_000;
        let policy = shelf.take(&source).unwrap();
        let workload = poisson(60_000, load * f64::from(servers) / SERVICE);
        let found = outcome(&setup, &workload, &policy);
        is_within(found.ttft.unwrap().mean, SERVICE * (1.0 + exact_wait(servers as usize, load)), 0.03);
        assert!(found.held > 10_000 && found.fallbacks.is_empty(), "{found:?}");
    }
}

#[test]
fn hits_are_those_of_a_cache_by_hand() {
    const BLOCKS: usize = 60;
    let mut random = fastrand::Rng::with_seed(2);
    let mut workload = Workload::new(512);
    let (mut kept, mut hits): (Vec<u64>, u64) = (Vec::new(), 0);
    for number in 0..3000_u32 {
        let (family, length, end) = (random.u64(..8), random.u64(1..20), random.u64(..3));
        let ids: Vec<u64> =
            (0..length).map(|at| family << 32 | at | if at > 8 { end << 16 } else { 0 }).collect();
        let tokens = u32::try_from(length * 512).unwrap();
        // So far apart that nobody meets.
        workload.push(f64::from(number) * 1000.0, tokens, 1, &ids);
        let hit = ids.iter().take_while(|id| kept.contains(id)).count();
        // The last token of a prompt is processed in any case.
        hits += (hit as u64 * 512).min(u64::from(tokens) - 1);
        kept.retain(|id| !ids[..hit].contains(id));
        // One block more for the answer.
        while kept.len() + ids.len() + 1 > BLOCKS {
            kept.remove(0);
        }
        kept.retain(|id| !ids.contains(id));
        kept.extend(ids.iter().rev());
    }
    let model = EngineModel { kv_blocks: u32::try_from(BLOCKS).unwrap(), ..EngineModel::default() };
    let policy = PolicyShelf::new().unwrap().take(&PolicySource::native("round_robin")).unwrap();
    let found = outcome(&FleetSetup::new(model, 1), &workload, &policy);
    assert_eq!(found.workers[0].cached_tokens, hits);
    assert!(found.hit_rate > Some(0.3), "{:?}", found.hit_rate);
}
