//! Workers and requests that are made up.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use sglang_router_rs::core::{Column, EngineFacts, ModelNames, WorkerReport, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{Leg, PromptTokens, WaitOffer};
use sglang_router_rs::types::WorkerSet;

/// Texts with lengths around the borders of MessagePack's headers.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => ".{0,40}",
        1 => (30_usize..34).prop_map(|size| "x".repeat(size)),
        1 => (254_usize..258).prop_map(|size| "y".repeat(size)),
        1 => (65_534_usize..65_538).prop_map(|size| "z".repeat(size)),
    ]
}

fn role() -> impl Strategy<Value = WorkerRole> {
    prop_oneof![Just(WorkerRole::Regular), Just(WorkerRole::Prefill), Just(WorkerRole::Decode)]
}

/// What may change of a worker when it is taken out and added again.
pub(crate) fn facts() -> impl Strategy<Value = Facts> {
    // An empty model is refused by the router's own checks.
    let model = option::of(".{1,20}");
    let labels = btree_map(".{0,8}", ".{0,40}", 0..4);
    (role(), model, 1e-9..1e9_f64, labels, engine()).prop_map(|(role, model, weight, labels, engine)| Facts {
        role,
        model,
        weight,
        labels,
        engine,
    })
}

fn engine() -> impl Strategy<Value = EngineFacts> {
    let names = option::of(prop_oneof![Just("sglang".to_owned()), ".{1,40}"]);
    // Nothing has no size.
    let number = || option::of(prop_oneof![1..300_u32, 65_000..66_000_u32, 1..u32::MAX]);
    let ranks = option::of(prop_oneof![0..300_u32, 0..u32::MAX]);
    let models = vec(
        prop_oneof![Just("m".to_owned()), ".{1,40}", (250_usize..257).prop_map(|size| "x".repeat(size))],
        0..20,
    );
    (names, number(), number(), number(), ranks, models).prop_map(
        |(name, capacity, block, running, rank, models)| EngineFacts {
            name: name.map(Into::into),
            kv_capacity_tokens: capacity,
            block_size: block,
            max_running_requests: running,
            dp_rank: rank,
            models: ModelNames::new(models.iter().map(String::as_str)),
        },
    )
}

#[derive(Clone, Debug)]
pub(crate) struct Facts {
    role: WorkerRole,
    model: Option<String>,
    weight: f64,
    labels: BTreeMap<String, String>,
    engine: EngineFacts,
}

impl Facts {
    pub(crate) fn of(self, url: impl Into<String>) -> WorkerSpec {
        let Self { role, model, weight, labels, engine } = self;
        WorkerSpec { role, model, weight, labels, engine, ..WorkerSpec::new(url) }
    }
}

/// What a worker says of itself, with any bits and often with none that are known.
pub(crate) fn report() -> impl Strategy<Value = WorkerReport> {
    let known = vec(option::of(any::<u32>()), Column::COUNT);
    known.prop_map(|known| {
        WorkerReport::from_bits(|column| known[column as usize].unwrap_or(column.unknown()))
    })
}

/// One worker with all that is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) facts: Facts,
    pub(crate) report: Option<WorkerReport>,
    pub(crate) latency: Option<f32>,
    pub(crate) healthy: bool,
    /// Requests in flight.
    pub(crate) load: usize,
}

pub(crate) fn worker() -> impl Strategy<Value = Made> {
    (facts(), option::of(report()), option::of(0.0..1e6_f32), any::<bool>(), 0_usize..4)
        .prop_map(|(facts, report, latency, healthy, load)| Made { facts, report, latency, healthy, load })
}

/// Numbers of workers around the borders of bytes and headers.
pub(crate) fn workers() -> impl Strategy<Value = Vec<Made>> {
    prop_oneof![6 => vec(worker(), 0..20), 1 => vec(worker(), 63..70)]
}

/// What a router works out of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestFacts {
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) route: Option<&'static str>,
    pub(crate) session: Option<String>,
    pub(crate) prefix_hashes: Option<Vec<u64>>,
    pub(crate) arrival_rate: Option<f32>,
    pub(crate) fields: Option<Vec<(String, String)>>,
    pub(crate) query: Option<Vec<(String, String)>>,
}

fn request_facts() -> impl Strategy<Value = RequestFacts> {
    let named = |name: &'static str| option::of(text().prop_map(move |value| vec![(name.to_owned(), value)]));
    (
        option::of(any::<u64>()),
        any::<bool>(),
        option::of(prop_oneof![Just("/generate"), Just("/v1/chat/completions")]),
        option::of(text()),
        option::of(vec(any::<u64>(), 0..40)),
        option::of(0.0..1e6_f32),
        named("/a/0"),
        named("q"),
    )
        .prop_map(|(max_tokens, stream, route, session, prefix_hashes, arrival_rate, fields, query)| {
            RequestFacts { max_tokens, stream, route, session, prefix_hashes, arrival_rate, fields, query }
        })
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) text: Option<String>,
    pub(crate) tokens: Option<Vec<u32>>,
    pub(crate) prompt_tokens: Option<PromptTokens>,
    pub(crate) facts: RequestFacts,
    pub(crate) model: Option<String>,
    pub(crate) wait: Option<WaitOffer>,
    pub(crate) headers: Option<Vec<(String, String)>>,
    pub(crate) leg: Leg,
    pub(crate) excluded: Option<WorkerSet>,
    pub(crate) eligible: Option<WorkerSet>,
}

pub(crate) fn request() -> impl Strategy<Value = Asked> {
    let header = (prop_oneof![Just("x-a"), Just("x-b"), Just("x-c")], ".{0,40}");
    let headers = vec(header.prop_map(|(name, value)| (name.to_owned(), value)), 0..4);
    let leg = prop_oneof![Just(Leg::Single), Just(Leg::Prefill), Just(Leg::Decode)];
    let set = || option::of(vec(0_usize..80, 0..40).prop_map(|members| members.into_iter().collect()));
    let prompt_tokens =
        (any::<u32>(), any::<bool>()).prop_map(|(count, exact)| PromptTokens { count, exact });
    let time = || any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
    let wait =
        (time(), time(), any::<u32>()).prop_map(|(waited, left, held)| WaitOffer { waited, left, held });
    (
        option::of(text()),
        option::of(vec(any::<u32>(), 0..300)),
        option::of(prompt_tokens),
        request_facts(),
        option::of(text()),
        option::of(wait),
        option::of(headers),
        leg,
        set(),
        set(),
    )
        .prop_map(
            |(text, tokens, prompt_tokens, facts, model, wait, headers, leg, excluded, eligible)| Asked {
                text,
                tokens,
                prompt_tokens,
                facts,
                model,
                wait,
                headers,
                leg,
                excluded,
                eligible,
            },
        )
}
