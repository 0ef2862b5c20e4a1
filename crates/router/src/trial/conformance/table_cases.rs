//! Tables of workers, and their changes between calls.

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{KitSession, idle, prompt, worker};
use crate::trial::described_request::DescribedRequest;
use crate::trial::described_worker::DescribedWorker;

pub(crate) const CASES: [KitCase; 4] = [
    KitCase {
        name: "table/changes",
        remedy: "Take each table for the whole truth: it may be larger, smaller, or have other workers at the same \
                 places. Indexes kept from an earlier one mean nothing.",
        run: changes,
    },
    KitCase {
        name: "table/one-by-one",
        remedy: "Stand workers that come and go between decisions, with requests in flight: key what you keep by URL, \
                 and drop what belongs to workers that are gone.",
        run: one_by_one,
    },
    KitCase {
        name: "table/facts",
        remedy: "Read facts of workers as they may be: no model, no labels, many labels, long names, tiny and huge \
                 weights, keys that you do not know.",
        run: facts,
    },
    KitCase {
        name: "table/ranks",
        remedy: "Take data-parallel ranks for workers of their own: their URLs have an `@` and a number.",
        run: ranks,
    },
];

fn ask(session: &KitSession<'_>) -> Result<(), String> {
    let count = session.fleet.workers().len();
    session.ask_for(prompt("hi"), &(0..count).collect::<Vec<_>>())
}

fn named(prefix: &str, count: usize) -> Vec<DescribedWorker> {
    let one = |place| DescribedWorker {
        url: Some(format!("http://{prefix}{place}")),
        ..DescribedWorker::default()
    };
    (0..count).map(one).collect()
}

fn changes(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&[])?;
    for count in [3, 0, 1, 70, 2, 300, 5, 0, 4] {
        session.offer(&named("a", count));
        ask(&session).map_err(|fault| format!("with {count} workers, {fault}"))?;
        ask(&session)?;
        session.offer(&named("b", count));
        ask(&session).map_err(|fault| format!("with {count} other workers, {fault}"))?;
    }
    session.offer(&named("a", 7));
    for _ in 0..7 {
        session.fleet.turn();
        ask(&session)?;
    }
    Ok(KitVerdict::Passed)
}

fn one_by_one(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&named("a", 6))?;
    let mut placed = Vec::new();
    for turn in 0..200_usize {
        let key = Some(format!("session {}", turn % 9));
        placed.push(session.ask(DescribedRequest { session: key, ..prompt(&"word ".repeat(turn)) })?);
        match turn % 4 {
            0 => session.fleet.remove(turn % 5),
            1 => session
                .fleet
                .add(&DescribedWorker { url: Some(format!("http://b{turn}")), ..DescribedWorker::default() }),
            _ => session.fleet.show(
                turn % 6,
                &DescribedWorker {
                    healthy: Some(turn % 8 > 4),
                    load: Some(turn),
                    ..DescribedWorker::default()
                },
            ),
        }
        if turn % 3 == 0 {
            let done = placed.remove(0);
            session.plugin.complete(done, &json!({}))?;
        }
        session.tell()?;
    }
    Ok(KitVerdict::Passed)
}

fn facts(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let labels: serde_json::Map<String, serde_json::Value> =
        (0..64).map(|number| (format!("label-{number}"), json!("日".repeat(number)))).collect();
    let models: Vec<String> = (0..64).map(|number| format!("{number:0>256}")).collect();
    let engine = json!({"name": "an engine of tomorrow", "kv_capacity_tokens": u32::MAX, "block_size": 1,
                        "max_running_requests": 0, "models": models});
    let workers = [
        json!({}),
        json!({"model": "m".repeat(4096), "weight": 1e-300}),
        json!({"labels": labels, "weight": 1e300, "role": "prefill"}),
        json!({"engine": engine, "role": "decode"}),
        json!({"url": "", "labels": {"": ""}}),
        json!({"url": format!("http://{}", "long.".repeat(400)), "engine": {"block_size": 0, "kv_capacity_tokens": 0}}),
        json!({"url": "not a url 日本", "engine": {"name": "vllm", "models": ["a"]}}),
    ];
    let workers: Result<Vec<DescribedWorker>, String> = workers.into_iter().map(worker).collect();
    let session = bench.session(&workers?)?;
    (0..5).try_for_each(|_| ask(&session))?;
    Ok(KitVerdict::Passed)
}

fn ranks(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let rank = |number: u32| {
        worker(
            json!({"url": format!("http://engine@{number}"), "engine": {"name": "sglang", "dp_rank": number}}),
        )
    };
    let mut workers: Vec<DescribedWorker> = (0..4).map(rank).collect::<Result<_, _>>()?;
    workers.extend(idle(1));
    let session = bench.session(&workers)?;
    (0..5).try_for_each(|_| ask(&session))?;
    Ok(KitVerdict::Passed)
}
