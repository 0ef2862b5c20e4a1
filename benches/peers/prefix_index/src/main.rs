//! The prefix index of this router beside those of others, on a trace of requests.
//!
//! The trace has a JSON object a line with `hash_ids`, one for each 512 tokens of the prompt (that of
//! Mooncake's FAST'25 release, `conversation_trace.jsonl`). Each becomes 32 blocks of 16 tokens. All indexes
//! note the same prompts at the same workers, which forget what they used longest ago. `--indexes` takes the
//! first ones only.
//!
//! usage: peer_prefix_index --trace FILE [--workers N,N…] [--threads N,N…] [--indexes N] [--json FILE]
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use dynamo_kv_router::{ConcurrentRadixTreeCompressed, PositionalIndexer};
use serde_json::json;

use crate::counting::{Counting, in_use};
use crate::indexes::{Chains, Change, ChangeChains, Dynamo, Fed, Index, Ours};
use crate::measure::{Requests, Times, measure, pick};
use crate::plan::{Plan, plan, prompts};

// By its source: the library and Dynamo's crate want different versions of one dependency, so no program
// can have both.
#[path = "../../../../src/prefix_index/mod.rs"]
#[allow(dead_code, unused_imports, reason = "not all of it is measured")]
mod prefix_index;

mod counting;
mod indexes;
mod measure;
mod plan;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many indexes there are.
const INDEXES: usize = 6;

struct Args {
    trace: PathBuf,
    workers: Vec<usize>,
    threads: Vec<usize>,
    indexes: usize,
    json: Option<PathBuf>,
}

fn args() -> anyhow::Result<Args> {
    let (mut trace, mut json) = (None, None);
    let (mut workers, mut threads) = (vec![8, 64, 1000], vec![1, 2]);
    let mut indexes = INDEXES;
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().with_context(|| format!("{flag}: no value"))?;
        match flag.as_str() {
            "--trace" => trace = Some(value.into()),
            "--workers" => workers = numbers(&value)?,
            "--threads" => threads = numbers(&value)?,
            "--indexes" => indexes = value.parse::<usize>().context("no number")?.min(INDEXES),
            "--json" => json = Some(value.into()),
            _ => anyhow::bail!("{flag}: unknown"),
        }
    }
    Ok(Args { trace: trace.context("--trace FILE is needed")?, workers, threads, indexes, json })
}

fn numbers(text: &str) -> anyhow::Result<Vec<usize>> {
    text.split(',').map(|number| number.parse().context("no number")).collect()
}

/// What one index takes.
#[derive(Debug, Default)]
struct Row {
    name: &'static str,
    bytes_per_held: f64,
    ns_per_block: f64,
    times: Vec<(usize, Requests, Times)>,
}

/// Fills an index with the first part of the plan, and measures it on the rest.
fn run(
    name: &'static str,
    plan: &Plan,
    index: &dyn Index,
    change: &mut dyn Change,
    before: usize,
    threads: &[usize],
    reference: &mut Vec<Vec<i32>>,
) -> Row {
    let filled = plan.steps.len() * 6 / 10;
    let mut blocks = 0;
    let begin = Instant::now();
    for steps in plan.steps[..filled].chunks(100) {
        change.apply(steps);
        blocks += steps.iter().map(|step| step.chain.len() - step.held + step.evicted.len()).sum::<usize>();
    }
    let ns_per_block = begin.elapsed().as_nanos() as f64 / blocks as f64;
    let bytes = in_use() - before;
    let stored: usize = plan.steps[..filled].iter().map(|step| step.chain.len() - step.held).sum();
    let gone: usize = plan.steps[..filled].iter().map(|step| step.evicted.len()).sum();
    let mut row =
        Row { name, bytes_per_held: bytes as f64 / (stored - gone) as f64, ns_per_block, times: Vec::new() };
    check(name, plan, index, filled, reference);
    let rounds = threads.len() * 2;
    let each = (plan.steps.len() - filled - 201) / rounds;
    let mut first = filled;
    for threads in threads {
        for requests in [Requests::Coming, Requests::Sent] {
            let times = measure(index, change, plan, (first, first + each), *threads, requests);
            row.times.push((*threads, requests, times));
            first += each;
        }
    }
    row
}

/// All indexes must say the same.
fn check(name: &str, plan: &Plan, index: &dyn Index, now: usize, reference: &mut Vec<Vec<i32>>) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut other = 0;
    let mut deep = 0;
    let count = 2000;
    for at in 0..count {
        let requests = if at % 2 == 0 { Requests::Coming } else { Requests::Sent };
        let mut column = vec![-1; plan.workers];
        index.find(&pick(plan, &mut random, requests, now), &mut column);
        deep += usize::try_from(column.iter().max().copied().unwrap_or_default() / 16).unwrap_or_default();
        match reference.get(at) {
            Some(expected) => other += usize::from(*expected != column),
            None => reference.push(column),
        }
    }
    println!(
        "  {name}: {other} of {count} answers differ from the first index; best match {} blocks on average",
        deep / count
    );
}

fn compare(plan: &Plan, threads: &[usize], indexes: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut reference = Vec::new();
    for which in 0..indexes {
        let before = in_use();
        rows.push(match which {
            0..3 => {
                let (name, fed) = [
                    ("this router, what was sent", Fed::Sent),
                    ("this router, reports", Fed::Reported),
                    ("this router, reports with names", Fed::Named),
                ][which];
                let ours = Ours::new(plan, fed);
                run(name, plan, &ours, &mut &ours, before, threads, &mut reference)
            }
            3 => {
                let chains = Chains::new(plan);
                let change = &mut ChangeChains::new(&chains);
                run("kv-index ChainIndex", plan, &chains, change, before, threads, &mut reference)
            }
            4 => {
                let dynamo = Dynamo::new(ConcurrentRadixTreeCompressed::new())?;
                run(
                    "Dynamo ConcurrentRadixTreeCompressed",
                    plan,
                    &dynamo,
                    &mut &dynamo,
                    before,
                    threads,
                    &mut reference,
                )
            }
            _ => {
                let dynamo = Dynamo::new(PositionalIndexer::new(32))?;
                run("Dynamo PositionalIndexer", plan, &dynamo, &mut &dynamo, before, threads, &mut reference)
            }
        });
    }
    Ok(rows)
}

fn main() -> anyhow::Result<()> {
    let args = args()?;
    let prompts = prompts(&args.trace)?;
    let mut all = Vec::new();
    for workers in args.workers {
        // As many that workers forget a good part of what they get.
        let capacity = if workers > 100 { 3000 } else { 16_384 };
        let plan = plan(&prompts, workers, capacity);
        println!("{workers} workers of {capacity} blocks");
        let rows = compare(&plan, &args.threads, args.indexes)?;
        for row in &rows {
            println!(
                "  {:<38}{:>7.1} B a block held{:>8.1} ns a block noted or forgotten",
                row.name, row.bytes_per_held, row.ns_per_block
            );
            for (threads, requests, times) in &row.times {
                let Times { p50_ns, p99_ns, rate } = times;
                println!(
                    "    {threads} threads, {requests:?}: p50 {p50_ns:.0} ns, p99 {p99_ns:.0} ns, {:.2} M/s",
                    rate / 1e6
                );
            }
            let times: Vec<_> = row.times.iter().map(|(threads, requests, times)| json!({
                "threads": threads, "requests": format!("{requests:?}"), "p50_ns": times.p50_ns, "p99_ns": times.p99_ns, "per_second": times.rate,
            })).collect();
            all.push(json!({"workers": workers, "capacity": capacity, "index": row.name, "bytes_per_held": row.bytes_per_held, "ns_per_block": row.ns_per_block, "times": times}));
        }
    }
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}
