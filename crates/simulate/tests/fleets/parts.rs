//! Fleets of pairs and of ranks, and routers that hear what engines cache.

use std::collections::BTreeMap;

use sgl_simulate::engine::{EngineModel, PairModel, ReportedLoad, WorkerEvents};
use sgl_simulate::fleet::{FleetSetup, PolicySource, SetupError};
use sgl_simulate::workload::{GeneratedLoad, Workload};

use crate::sweeps::{plugin, runs};

fn pairs(prefill: u32, decode: u32) -> FleetSetup {
    let pairs = PairModel {
        prefill,
        decode,
        transfer_ms: 100.0,
        transfer_tokens_per_second: 20_000.0,
        other_zone_ms: 400.0,
    };
    let model = EngineModel { pairs: Some(pairs), ..EngineModel::default() };
    FleetSetup::new(model, (prefill + decode) as usize)
}

fn chats(rate: f64, requests: u32) -> Workload {
    let text = format!(
        "rate = {rate}\nrequests = {requests}\nturns = {{ mean = 4, cv = 0.6 }}\n\
         prompt_tokens = {{ mean = 1500, cv = 1.0 }}\noutput_tokens = {{ mean = 120, cv = 1.0 }}\n\
         think_secs = {{ mean = 6, cv = 1.0 }}\nsystem_tokens = 2048\nsystem_prompts = 4"
    );
    GeneratedLoad::from_toml(&text).unwrap().checked().unwrap().workload(9, 512)
}

/// One request: its prompt here, 100 ms and 0.2 s for 4000 tokens to go over, then 50 tokens there, the
/// first one with the first step.
#[test]
fn answer_of_a_pair_begins_when_what_was_computed_is_there() {
    let mut workload = Workload::new(512);
    workload.push(0.0, 4000, 50, &[]);
    let setup = pairs(1, 1);
    let model = &setup.model;
    let run = &runs(&PolicySource::native("random"), &setup, &workload, 1)[0];
    let first_step = (model.step_ms) / 1e3;
    let expected = model.alone(4000, 1) + 0.3 + first_step;
    assert!((run.ttft.unwrap().max - expected).abs() < 1e-4, "{} {expected}", run.ttft.unwrap().max);
    let decoding = model.alone(4000, 50) - model.alone(4000, 1);
    assert!(
        (run.e2e.unwrap().max - expected - decoding).abs() < 1e-3,
        "{} {}",
        run.e2e.unwrap().max,
        expected + decoding
    );
    let [prompt, answer] = [run.workers[0], run.workers[1]];
    assert_eq!((prompt.requests, prompt.processed_tokens), (1, 4000));
    assert_eq!((answer.requests, answer.processed_tokens), (1, 0));
}

/// The same between two zones: 400 ms more.
#[test]
fn what_was_computed_takes_longer_to_another_zone() {
    let mut workload = Workload::new(512);
    workload.push(0.0, 4000, 50, &[]);
    let took = |zones: [&str; 2]| {
        let mut setup = pairs(1, 1);
        setup.labels = zones.map(|zone| BTreeMap::from([("zone".to_owned(), zone.to_owned())])).into();
        runs(&PolicySource::native("random"), &setup, &workload, 1)[0].ttft.unwrap().max
    };
    let (near, far) = (took(["a", "a"]), took(["a", "b"]));
    assert!((far - near - 0.4).abs() < 1e-3, "{near} {far}");
}

#[test]
fn pairs_are_chosen_as_in_production_and_nothing_is_lost() {
    let workload = chats(1.5, 800);
    let setup = pairs(3, 2);
    let prompts: u64 = workload.requests().iter().map(|asked| u64::from(asked.prompt_tokens)).sum();
    let answers: u64 = workload.requests().iter().map(|asked| u64::from(asked.output_tokens)).sum();
    let mut hits = Vec::new();
    for policy in
        [PolicySource::native("random"), plugin("pd_pair"), plugin("least_uncached"), plugin("late")]
    {
        let found = runs(&policy, &setup, &workload, 1);
        assert_eq!(found, runs(&policy, &setup, &workload, 2));
        let run = &found[0];
        assert_eq!(
            (run.answered, run.refused, run.failed, run.fallbacks.len()),
            (800, 0, 0, 0),
            "{policy:?}"
        );
        assert_eq!((run.prompt_tokens, run.output_tokens), (prompts, answers));
        let half = |workers: std::ops::Range<usize>| -> u64 {
            run.workers[workers].iter().map(|worker| worker.processed_tokens + worker.cached_tokens).sum()
        };
        assert_eq!((half(0..3), half(3..5)), (prompts, 0));
        assert_eq!(run.workers[3..].iter().map(|worker| worker.requests).sum::<u64>(), 800);
        hits.push(run.hit_rate.unwrap());
    }
    assert!(hits[2] > hits[0] + 0.1, "{hits:?}");
}

#[test]
fn either_half_of_a_pair_may_die() {
    let workload = chats(2.0, 600);
    let mut setup = pairs(2, 2);
    let events = "[[events]]\nat = 25\nworkers = [0]\nwhat = \"crash\"\nsecs = 20\n\
                  [[events]]\nat = 60\nworkers = [3]\nwhat = \"crash\"\nsecs = 30";
    setup.events = WorkerEvents::from_toml(events).unwrap().events;
    for policy in [PolicySource::native("least_load"), plugin("pd_pair")] {
        for run in runs(&policy, &setup, &workload, 1) {
            assert_eq!(run.answered + run.refused + run.failed + run.unasked, 600, "{run:?}");
            assert!(run.retries > 0 && run.failed > 0 && run.answered > 450, "{run:?}");
        }
    }
}

#[test]
fn pairs_need_as_many_workers_as_they_say() {
    let setup = FleetSetup { speeds: vec![1.0; 3], ..pairs(1, 1) };
    let fault = setup.check(&chats(1.0, 1)).unwrap_err();
    assert_eq!(fault, SetupError::Pairs { pairs: 2, workers: 3 });
}

/// Two workers of two ranks are four engines: they do what four workers do.
#[test]
fn ranks_are_candidates_of_their_own() {
    let workload = chats(2.0, 600);
    let model = EngineModel { reports: ReportedLoad::Sglang, ..EngineModel::default() };
    let ranked = FleetSetup::new(EngineModel { ranks: 2, ..model.clone() }, 2);
    for policy in [PolicySource::native("least_load"), plugin("least_uncached")] {
        let (ranks, workers) = (
            runs(&policy, &ranked, &workload, 1),
            runs(&policy, &FleetSetup::new(model.clone(), 4), &workload, 1),
        );
        assert_eq!(ranks, workers);
    }
    let slow = FleetSetup { speeds: vec![1.0, 0.2], ..ranked.clone() };
    let run = &runs(&PolicySource::native("least_load"), &slow, &workload, 1)[0];
    let requests: Vec<u64> = run.workers.iter().map(|worker| worker.requests).collect();
    assert!(requests[..2].iter().min() > requests[2..].iter().max(), "{requests:?}");
    let dead =
        WorkerEvents::from_toml("[[events]]\nat = 20\nworkers = [1]\nwhat = \"crash\"").unwrap().events;
    let run =
        &runs(&PolicySource::native("least_load"), &FleetSetup { events: dead, ..ranked }, &workload, 1)[0];
    let late: u32 = run.sent_over_time.sent.iter().skip(24).map(|counts| counts[2] + counts[3]).sum();
    assert_eq!((late, run.answered + run.failed + run.unasked), (0, 600));
}

/// With an index that is far too small for what was sent, only what engines tell is known.
#[test]
fn index_hears_what_engines_keep_and_evict() {
    let workload = chats(2.5, 1500);
    let hits = |kv_events: bool| {
        let model = EngineModel { kv_blocks: 300, kv_events, ..EngineModel::default() };
        let setup = FleetSetup { max_blocks: 4096, ..FleetSetup::new(model, 6) };
        let found = runs(&plugin("least_uncached"), &setup, &workload, 2);
        assert!(found.iter().all(|run| run.answered == 1500 && run.fallbacks.is_empty()));
        found.iter().map(|run| run.hit_rate.unwrap()).sum::<f64>() / 2.0
    };
    let (sent, heard) = (hits(false), hits(true));
    assert!((sent - heard).abs() > 1e-6, "they know something else: {sent} {heard}");
    assert!(heard > sent - 0.01, "{sent} {heard}");
}
