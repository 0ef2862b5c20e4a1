//! An engine whose steps are summed up does what one does that makes each of them.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

use std::collections::VecDeque;

use sgl_simulate::engine::{EngineEvent, EngineModel, ModelWorker};
use sgl_simulate::workload::Workload;

/// When the first and the last token of a request came.
type Times = Vec<(f64, f64)>;

/// Requests that come by chance; without anything in common.
fn workload(seed: u64, count: u32) -> Workload {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut workload, mut at) = (Workload::new(512), 0.0);
    for _ in 0..count {
        at += random.f64() * 1.5;
        workload.push(at, random.u32(1..6000), random.u32(1..200), &[]);
    }
    workload
}

fn in_leaps(model: &EngineModel, workload: &Workload) -> Times {
    let mut engine = ModelWorker::new(model, 1.0, workload);
    let mut times = vec![(0.0, 0.0); workload.requests().len()];
    let mut coming = (0..workload.len()).peekable();
    let mut events = Vec::new();
    loop {
        let next = coming.peek().and_then(|number| workload.request(*number));
        if let Some(asked) = next.filter(|asked| asked.at < engine.until()) {
            let number = coming.next().unwrap();
            assert!(engine.enqueue(asked.at, number, workload));
        } else if engine.until().is_finite() {
            let at = engine.until();
            engine.end_step(workload, &mut events);
            for event in events.drain(..) {
                match event {
                    EngineEvent::FirstToken { request, .. } => times[request as usize].0 = at,
                    EngineEvent::Finished { request } => times[request as usize].1 = at,
                }
            }
        } else {
            return times;
        }
    }
}

/// A request as the plain engine knows it: its number, prompt tokens that are processed, and tokens that it
/// has.
#[derive(Clone, Copy)]
struct Plain {
    number: usize,
    computed: u32,
    tokens: u32,
}

fn step_by_step(model: &EngineModel, workload: &Workload) -> Times {
    let requests = workload.requests();
    let mut times = vec![(0.0, 0.0); requests.len()];
    let mut coming: VecDeque<usize> = (0..requests.len()).collect();
    let (mut waiting, mut running) = (VecDeque::new(), Vec::<Plain>::new());
    let mut now = 0.0;
    while !(coming.is_empty() && waiting.is_empty() && running.is_empty()) {
        if waiting.is_empty() && running.is_empty() {
            now = f64::max(now, requests[coming[0]].at);
        }
        while coming.front().is_some_and(|number| requests[*number].at <= now) {
            waiting.extend(coming.pop_front());
        }
        let (mut left, mut work, mut chunks) = (model.chunk_tokens, model.step_ms / 1e3, Vec::new());
        for one in running.iter().filter(|one| one.tokens > 0) {
            let context = requests[one.number].prompt_tokens + one.tokens;
            work += model.sequence_ms / 1e3 + model.context_token_ns / 1e9 * f64::from(context);
        }
        let mut at = 0;
        while left > 0 {
            if at == running.len() {
                if running.len() >= model.max_sequences as usize {
                    break;
                }
                let Some(number) = waiting.pop_front() else { break };
                running.push(Plain { number, computed: 0, tokens: 0 });
            }
            let one = running[at];
            let new = left.min(requests[one.number].prompt_tokens - one.computed);
            let before = f64::from(one.computed) + f64::from(new) / 2.0;
            work += f64::from(new) / model.prompt_tokens_per_second * (1.0 + before / model.attention_tokens);
            chunks.push(new);
            left -= new;
            at += 1;
        }
        now += work;
        for (at, one) in running.iter_mut().enumerate() {
            let was_whole = one.tokens > 0;
            one.computed += chunks.get(at).copied().unwrap_or_default();
            let is_whole = one.computed == requests[one.number].prompt_tokens;
            one.tokens += u32::from(was_whole || is_whole);
            if !was_whole && is_whole {
                times[one.number].0 = now;
            }
            if one.tokens == requests[one.number].output_tokens {
                times[one.number].1 = now;
            }
        }
        running.retain(|one| one.tokens < requests[one.number].output_tokens);
    }
    times
}

#[test]
fn leaps_and_steps_come_to_the_same() {
    for (seed, max_sequences) in [(1, 256), (2, 256), (3, 5)] {
        let model = EngineModel { max_sequences, kv_blocks: 1_000_000, ..EngineModel::default() };
        let workload = workload(seed, 400);
        let (leaps, steps) = (in_leaps(&model, &workload), step_by_step(&model, &workload));
        for (number, (leap, step)) in leaps.iter().zip(&steps).enumerate() {
            let is_near = |one: f64, other: f64| (one - other).abs() < 1e-6;
            assert!(is_near(leap.0, step.0) && is_near(leap.1, step.1), "{number}: {leap:?} {step:?}");
        }
    }
}

/// A request that is on its way for some time is served as one that was sent so much later.
#[test]
fn time_on_the_way_occupies_nothing() {
    let model = EngineModel::default();
    let far = EngineModel { request_ms: 700.0, ..EngineModel::default() };
    let workload = workload(5, 200);
    let mut later = Workload::new(512);
    for asked in workload.requests() {
        later.push(asked.at + 0.7, asked.prompt_tokens, asked.output_tokens, &[]);
    }
    for (one, other) in in_leaps(&far, &workload).iter().zip(in_leaps(&model, &later)) {
        assert!((one.0 - other.0).abs() < 1e-9 && (one.1 - other.1).abs() < 1e-9, "{one:?} {other:?}");
    }
}

/// With few blocks requests are preempted, and all of them are answered nevertheless.
#[test]
fn everything_is_answered_where_blocks_are_scarce() {
    let model = EngineModel { kv_blocks: 30, ..EngineModel::default() };
    let workload = workload(4, 300);
    let times = in_leaps(&model, &workload);
    assert!(times.iter().zip(workload.requests()).all(|(time, asked)| asked.at < time.0 && time.0 <= time.1));
    let small = EngineModel { block_tokens: 16, kv_blocks: 500, ..EngineModel::default() };
    let mut engine = ModelWorker::new(&small, 1.0, &workload);
    let mut events = Vec::new();
    let taken = (0..100).filter(|number| engine.enqueue(0.0, *number, &workload)).count();
    while engine.until().is_finite() {
        engine.end_step(&workload, &mut events);
    }
    let ended = events.iter().filter(|event| matches!(event, EngineEvent::Finished { .. })).count();
    assert_eq!((ended, taken), (100, 100));
    assert!(engine.totals().preemptions > 0, "{:?}", engine.totals());
    let look = engine.look(1e9);
    assert_eq!((look.running, look.waiting, look.queued_tokens, look.kv_usage), (0, 0, 0, 0.0));
}
