//! From times that a known engine would take, its numbers are found again.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use sgl_simulate::calibration::{
    CalibratedModel, MeasuredBurst, MeasuredDecode, MeasuredPrompt, MeasuredRepeat, MeasuredStall,
    Measurements, NumberOrigin, ToldByEngine,
};
use sgl_simulate::engine::{EngineModel, ModelWorker, ReportedLoad};
use sgl_simulate::workload::Workload;

fn engine() -> EngineModel {
    EngineModel {
        step_ms: 4.0,
        sequence_ms: 0.2,
        context_token_ns: 150.0,
        prompt_tokens_per_second: 90_000.0,
        attention_tokens: 6000.0,
        prompt_ms: 0.5,
        request_ms: 5.0,
        request_token_ns: 3000.0,
        chunk_tokens: 2048,
        max_sequences: 48,
        kv_blocks: 8192,
        block_tokens: 128,
        prefix_cache: false,
        reports: ReportedLoad::Sglang,
        ..EngineModel::default()
    }
}

/// When the first tokens of prompts of this length come that are there at once.
fn first_tokens(model: &EngineModel, tokens: u32, prompts: u32) -> Vec<f64> {
    let mut workload = Workload::new(512);
    (0..prompts).for_each(|_| workload.push(0.0, tokens, 1, &[]));
    let mut engine = ModelWorker::new(model, 1.0, &workload);
    (0..prompts).for_each(|request| assert!(engine.enqueue(0.0, request, &workload)));
    let (mut events, mut times) = (Vec::new(), Vec::new());
    while engine.until().is_finite() {
        let at = engine.until();
        engine.end_step(&workload, &mut events);
        times.extend(events.drain(..).filter(|event| format!("{event:?}").starts_with("First")).map(|_| at));
    }
    times
}

/// What is measured of this engine by a clock that is off by a share, and far off at times.
fn measured(model: &EngineModel, noise: f64, seed: u64) -> Measurements {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut off = move || {
        let hiccup = if random.f64() < 0.05 { 2.0 } else { 1.0 };
        if noise > 0.0 { (1.0 + noise * (2.0 * random.f64() - 1.0)) * hiccup } else { 1.0 }
    };
    let mut measured = Measurements::default();
    let step = |sequences: f64, context: f64| {
        (model.step_ms + sequences * model.sequence_ms) / 1e3 + context * model.context_token_ns / 1e9
    };
    for _ in 0..5 {
        for tokens in [16, 128, 512, 1024, 2048, 3500] {
            let seconds = first_tokens(model, tokens, 1)[0] * off();
            measured.prompts.push(MeasuredPrompt { tokens, seconds });
        }
        for tokens in [64, 1000] {
            let off = off();
            let firsts = first_tokens(model, tokens, 17).into_iter().map(|first| first * off).collect();
            measured.bursts.push(MeasuredBurst { tokens, firsts });
        }
        for sequences in [1, 2, 4, 8, 16] {
            for context in [100.0, 2000.0] {
                let context = context * f64::from(sequences);
                let seconds = step(f64::from(sequences), context) * off();
                measured.decodes.push(MeasuredDecode { sequences, context, seconds });
            }
        }
        let usual = step(1.0, 100.0);
        let part = |before: f64, tokens: f64| {
            let attention = 1.0 + (before + tokens / 2.0) / model.attention_tokens;
            tokens / model.prompt_tokens_per_second * attention + model.prompt_ms / 1e3
        };
        let gaps = [0.0, part(0.0, 2047.0), part(2047.0, 1453.0), 0.0].map(|part| usual + part * off());
        measured.stalls.push(MeasuredStall { tokens: 3500, usual_gap: usual, gaps: gaps.to_vec() });
        measured.repeats.push(MeasuredRepeat { first: 0.08, second: 0.079 * off(), cached: None });
    }
    measured.told = ToldByEngine {
        kv_tokens: Some(8192 * 128),
        block_tokens: Some(128),
        max_sequences: Some(48),
        reports: Some(ReportedLoad::Sglang),
    };
    measured
}

fn assert_near(found: &EngineModel, expected: &EngineModel, share: f64) {
    let numbers = |model: &EngineModel| {
        [
            ("step_ms", model.step_ms),
            ("sequence_ms", model.sequence_ms),
            ("context_token_ns", model.context_token_ns),
            ("prompt_tokens_per_second", model.prompt_tokens_per_second),
            ("attention_tokens", model.attention_tokens),
            ("prompt_ms", model.prompt_ms),
            ("request_ms", model.request_ms),
            ("request_token_ns", model.request_token_ns),
        ]
    };
    for ((key, found), (_, expected)) in numbers(found).into_iter().zip(numbers(expected)) {
        assert!((found / expected - 1.0).abs() < share, "{key} is {found}, not {expected}");
    }
    let others = |model: &EngineModel| {
        (
            model.chunk_tokens,
            model.max_sequences,
            model.kv_blocks,
            model.block_tokens,
            model.prefix_cache,
            model.reports,
        )
    };
    assert_eq!(others(found), others(expected));
}

#[test]
fn numbers_of_an_engine_are_found_again() {
    let engine = engine();
    let exact = CalibratedModel::of(&measured(&engine, 0.0, 0));
    assert_near(&exact.model, &engine, 0.03);
    assert!(
        exact.numbers.iter().all(|number| number.key == "order" || number.origin != NumberOrigin::Default)
    );
    let off = [exact.decode_off, exact.prompt_off, exact.burst_off].map(Option::unwrap);
    assert!(off.iter().all(|off| *off < 0.01), "{off:?}");
}

#[test]
fn noise_and_hiccups_do_not_lead_far_astray() {
    let engine = engine();
    for seed in 0..10 {
        let noisy = CalibratedModel::of(&measured(&engine, 0.03, seed));
        assert_near(&noisy.model, &engine, 0.5);
        let (found, real) = (noisy.model.alone(2000, 20), engine.alone(2000, 20));
        assert!((found / real - 1.0).abs() < 0.05, "{seed}: {found} {real}");
    }
}

#[test]
fn measurements_that_contradict_one_another_are_not_to_be_trusted() {
    let doubted = |noise| {
        let found = CalibratedModel::of(&measured(&engine(), noise, 1));
        let said =
            [found.table(), found.to_toml(&[])].map(|text| text.contains("Do not trust these numbers"));
        assert_eq!(EngineModel::from_toml(&found.to_toml(&[])).unwrap(), found.model);
        said
    };
    assert_eq!(doubted(0.03), [false, false]);
    assert_eq!(doubted(0.5), [true, true]);
}

#[test]
fn what_was_not_measured_has_its_default_and_that_is_said() {
    let nothing = CalibratedModel::of(&Measurements::default());
    assert_eq!(nothing.model, EngineModel::default());
    assert!(nothing.numbers.iter().all(|number| number.origin == NumberOrigin::Default), "{nothing:?}");
    assert!(!nothing.is_measured());
    let text = nothing.to_toml(&[]);
    for line in ["chunk_tokens = 2048", "prefix_cache = true", "step_ms = 12.0"] {
        assert!(text.contains(&format!("{line} # the default: could not be measured\n")), "{text}");
    }
    // Short prompts are not cut, and one number of streams tells nothing of others.
    let mut few = measured(&engine(), 0.0, 0);
    few.decodes.retain(|decode| decode.sequences == 1 && decode.context < 200.0);
    few.stalls.iter_mut().for_each(|stall| stall.gaps.truncate(2));
    few.bursts.clear();
    let found = CalibratedModel::of(&few);
    let text = found.to_toml(&["of a test".to_owned()]);
    let default = EngineModel::default();
    assert_eq!((found.model.sequence_ms, found.model.prompt_ms), (default.sequence_ms, default.prompt_ms));
    assert_eq!(found.model.chunk_tokens, 3500);
    assert!(text.starts_with("# of a test\nstep_ms = "), "{text}");
    assert!(text.contains("sequence_ms = 0.05 # the default: could not be measured"), "{text}");
    let chunk = "chunk_tokens = 3500 # measured: a prompt of 3500 was processed in one step: at least that";
    assert!(found.is_measured() && text.contains(chunk), "{text}");
    assert_eq!(EngineModel::from_toml(&text).unwrap(), found.model, "{text}");
    assert!(found.table().contains("prompts that come together: not measured"));
}

#[test]
fn cache_is_seen_by_what_the_engine_tells_or_by_the_time() {
    let repeat = |second, cached| MeasuredRepeat { first: 0.1, second, cached };
    let found = |repeats| {
        CalibratedModel::of(&Measurements { repeats, ..Measurements::default() }).model.prefix_cache
    };
    assert!(found(vec![repeat(0.1, Some(64))]));
    assert!(found(vec![repeat(0.03, None), repeat(0.03, None), repeat(0.2, None)]));
    assert!(!found(vec![repeat(0.09, None), repeat(0.1, Some(0)), repeat(0.03, None)]));
}
