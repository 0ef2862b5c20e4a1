//! Requests that are made up, and sessions whose requests come when the answers before are there.

use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::{FleetSetup, PolicySource};
use sgl_simulate::report::RunReport;
use sgl_simulate::workload::{GeneratedLoad, SessionTurn, Workload, Workloads};

use crate::sweeps::{plugin, sweep};

fn runs(policies: &[&str], setup: &FleetSetup, workloads: &Workloads, threads: usize) -> Vec<RunReport> {
    sweep(policies.iter().map(|name| PolicySource::native(*name)).collect(), setup, workloads, threads)
}

/// Three requests of one session: prompts of 1000, 2000 and 3000 tokens, answers of 101.
fn session(think: f64) -> Workload {
    let mut workload = Workload::new(512);
    for turn in 1..=3_u32 {
        let tokens = turn * 1000;
        let ids: Vec<u64> = (0..u64::from(tokens / 512)).collect();
        workload.push(5.0, tokens, 101, &ids);
    }
    let turn = |number: u32| SessionTurn { session: 0, after: number.checked_sub(1), think };
    workload.with_turns((0..3).map(turn).collect())
}

#[test]
fn follow_up_comes_a_time_to_think_after_the_answer() {
    let model = EngineModel { prefix_cache: false, ..EngineModel::default() };
    for think in [0.0, 40.0] {
        let expected: f64 =
            5.0 + 2.0 * think + [1000, 2000, 3000].map(|tokens| model.alone(tokens, 101)).iter().sum::<f64>();
        let run = &runs(&["random"], &FleetSetup::new(model.clone(), 1), &session(think).into(), 1)[0];
        assert!((run.duration - expected).abs() < 1e-6, "{} {expected}", run.duration);
        assert_eq!((run.answered, run.workers[0].cached_tokens), (3, 0));
    }
}

/// Of the second prompt 1101 tokens were there before, of the third 2101: two and four whole blocks.
#[test]
fn answers_are_in_the_cache_for_those_who_go_on_with_them() {
    let run = &runs(&["random"], &FleetSetup::new(EngineModel::default(), 1), &session(1.0).into(), 1)[0];
    assert_eq!(run.workers[0].cached_tokens, (2 + 4) * 512);
    assert_eq!(run.workers[0].processed_tokens, 6000 - 6 * 512);
    assert_eq!((run.output_tokens, run.prompt_tokens), (303, 6000));
}

fn chats() -> GeneratedLoad {
    let text = "rate = 1.2\nrequests = 1500\narrivals = \"gamma\"\nturns = { mean = 5, cv = 0.6 }\n\
                prompt_tokens = { mean = 900, cv = 1.0 }\noutput_tokens = { mean = 150, cv = 1.0 }\n\
                think_secs = { mean = 8, cv = 1.0 }\nsystem_tokens = 1024\nsystem_prompts = 3";
    GeneratedLoad::from_toml(text).unwrap().checked().unwrap()
}

#[test]
fn sessions_stay_together_where_a_policy_looks_at_their_keys_and_each_seed_has_its_own() {
    let workloads = Workloads::generated(&chats(), &[1, 2], 512);
    let setup = FleetSetup::new(EngineModel { kv_blocks: 800, ..EngineModel::default() }, 4);
    let all = runs(&["random", "consistent_hash"], &setup, &workloads, 1);
    assert_eq!(all, runs(&["random", "consistent_hash"], &setup, &workloads, 3));
    for (seed, (blind, sticky)) in [1, 2].into_iter().zip(all[..2].iter().zip(&all[2..])) {
        let asked = workloads.of(seed).requests();
        assert!(
            sticky.hit_rate.unwrap() > blind.hit_rate.unwrap() + 0.15,
            "{:?} {:?}",
            sticky.hit_rate,
            blind.hit_rate
        );
        for run in [blind, sticky] {
            assert_eq!((run.answered, run.refused, run.unasked), (1500, 0, 0));
            assert_eq!(
                run.output_tokens,
                asked.iter().map(|asked| u64::from(asked.output_tokens)).sum::<u64>()
            );
            assert_eq!(
                run.prompt_tokens,
                asked.iter().map(|asked| u64::from(asked.prompt_tokens)).sum::<u64>()
            );
            let (of_workers, cached) = run.workers.iter().fold((0, 0), |(processed, cached), worker| {
                (processed + worker.processed_tokens, cached + worker.cached_tokens)
            });
            assert!(run.workers.iter().all(|worker| worker.preemptions == 0));
            assert_eq!(of_workers + cached, run.prompt_tokens, "each token was processed or found");
        }
    }
    assert_ne!(all[0].prompt_tokens, all[1].prompt_tokens);
}

#[test]
fn plugin_that_keeps_sessions_knows_them() {
    let setup = FleetSetup::new(EngineModel { kv_blocks: 800, ..EngineModel::default() }, 4);
    let workloads = Workloads::generated(&chats(), &[1, 2], 512);
    let policies = vec![PolicySource::native("least_load"), plugin("sticky_least_loaded")];
    let all = sweep(policies, &setup, &workloads, 1);
    for (blind, sticky) in all[..2].iter().zip(&all[2..]) {
        assert!(
            sticky.hit_rate.unwrap() > blind.hit_rate.unwrap() + 0.15,
            "{:?} {:?}",
            sticky.hit_rate,
            blind.hit_rate
        );
        assert!(sticky.fallbacks.is_empty(), "{:?}", sticky.fallbacks);
    }
}

#[test]
fn session_ends_with_the_request_that_nobody_can_serve() {
    let mut workload = Workload::new(512);
    for tokens in [600, 9000, 100, 100, 700] {
        workload.push(0.0, tokens, 10, &[]);
    }
    let turn = |number: u32| SessionTurn {
        session: number / 4,
        after: number.checked_sub(1).filter(|_| number < 4),
        think: 1.0,
    };
    let workload = workload.with_turns((0..5).map(turn).collect());
    let model = EngineModel { kv_blocks: 10, ..EngineModel::default() };
    let run = &runs(&["random"], &FleetSetup::new(model, 1), &workload.into(), 1)[0];
    assert_eq!((run.answered, run.refused, run.unasked), (2, 1, 2));
    let notes = run.notes();
    assert!(notes[0].contains("1 requests were not answered: prompt and answer are larger"), "{notes:?}");
    assert!(notes[1].ends_with("2 requests of their sessions were not made then"), "{notes:?}");
}
