//! Writing messages and reading answers, without a guest.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sgl_policy_abi::{Input, Wire, Writer};
use sglang_router_rs::internals::{Draw, WirePlan, decode_choice};
use sglang_router_rs::policies::SelectWorkerInfo;

use crate::stage;

/// The inputs of `least_connections`.
const INPUTS: [Input; 4] = [Input::Healthy, Input::Excluded, Input::Load, Input::Random];

pub(crate) fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    let info = SelectWorkerInfo { request_text: Some("What is a router?"), ..SelectWorkerInfo::default() };
    for (name, form) in [("columns", Wire::Columns), ("rows", Wire::Rows)] {
        let plan = WirePlan::new(form, &INPUTS, &HashMap::new(), 16 << 20);
        for count in [2, 8, 64, 1000, 10_000] {
            let fleet = stage::fleet(count);
            let table = fleet.table();
            let mut buffer = vec![0; plan.bound(&*table, &info, &[])];
            group.bench_function(BenchmarkId::new(format!("encode-{name}"), format!("w{count}")), |b| {
                b.iter(|| black_box(plan.encode(&mut buffer, &*table, &info, &[], Draw::Fresh)));
            });
        }
    }
    for (name, answer) in [("number", number()), ("map", map())] {
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| black_box(decode_choice(black_box(&answer))));
        });
    }
    group.finish();
}

fn number() -> Vec<u8> {
    written(|writer| writer.uint(7))
}

/// What a plugin that explains itself answers.
fn map() -> Vec<u8> {
    written(|writer| {
        writer.map(2)?;
        writer.str("selected_worker")?;
        writer.uint(7)?;
        writer.str("reason")?;
        writer.str("it has the fewest requests")
    })
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), sgl_policy_abi::Full>) -> Vec<u8> {
    let mut buffer = vec![0; 256];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).expect("it fits");
    let length = writer.position();
    buffer.truncate(length);
    buffer
}
