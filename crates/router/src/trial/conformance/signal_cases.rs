//! Numbers of workers at their edges.

use serde_json::{Map, Value, json};

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{KitSession, worker};
use crate::trial::described_worker::DescribedWorker;
use sgl_policy_abi::{Column, ColumnNumber};

pub(crate) const CASES: [KitCase; 6] = [
    KitCase {
        name: "signals/nothing-known",
        remedy: "Take -1 and NaN for what they are: not known. Where no worker tells anything, choose by what is \
                 known, or by chance.",
        run: nothing_known,
    },
    KitCase {
        name: "signals/everything-known",
        remedy: "Decide where every input is known: read each column with its own type (i32 or f32) and in the order \
                 of the manifest.",
        run: everything_known,
    },
    KitCase {
        name: "signals/each-alone",
        remedy: "Decide where only one input is known, at zero and at its largest: compute in 64 bits or saturate, \
                 and let no sum overflow.",
        run: each_alone,
    },
    KitCase {
        name: "signals/one-worker-unknown",
        remedy: "Decide where one worker tells nothing and the others do: -1 must not look like the smallest load, and \
                 NaN makes comparisons false both ways.",
        run: one_worker_unknown,
    },
    KitCase {
        name: "signals/largest",
        remedy: "Decide where all numbers of all workers are at their largest: add loads, tokens and costs in 64 bits.",
        run: largest,
    },
    KitCase {
        name: "signals/equal",
        remedy: "Where workers are equal choose any of them; do not divide by a difference that is zero.",
        run: equal,
    },
];

/// The names of all numbers of a worker; those of the books are known as soon as one of them is.
fn names() -> impl Iterator<Item = (&'static str, ColumnNumber)> {
    let columns = Column::ALL.into_iter().map(|column| (column.name(), column.number()));
    columns.chain([("prefix_match", ColumnNumber::I32)])
}

fn small(name: &str) -> Value {
    match name {
        "kv_usage" => json!(0.5),
        _ => json!(3),
    }
}

fn most(name: &str, number: ColumnNumber) -> Value {
    match (name, number) {
        ("kv_usage", _) => json!(1.05),
        ("pending_cost", _) => json!(6.0e10),
        // The row form has no bound of 32 bits, and each request in flight counts besides.
        ("load", _) => json!(2_000_000_000),
        (_, ColumnNumber::I32) => json!(i32::MAX),
        (_, ColumnNumber::F32) => json!(3.0e38),
    }
}

fn all(value: impl Fn(&'static str, ColumnNumber) -> Value) -> Result<DescribedWorker, String> {
    let numbers: Map<String, Value> =
        names().map(|(name, number)| (name.to_owned(), value(name, number))).collect();
    worker(Value::Object(numbers))
}

fn asked(bench: &KitBench<'_>, workers: &[DescribedWorker]) -> Result<KitVerdict, String> {
    ask_all(&bench.session(workers)?)?;
    Ok(KitVerdict::Passed)
}

/// Several decisions, each of which stays in flight for the next.
fn ask_all(session: &KitSession<'_>) -> Result<(), String> {
    let placed: Result<Vec<_>, String> = (0..5).map(|_| session.ask_plainly()).collect();
    placed.map(|_| ())
}

fn nothing_known(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    asked(bench, &vec![DescribedWorker::default(); 9])
}

fn everything_known(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let one = all(|name, _| small(name))?;
    asked(bench, &vec![one; 9])
}

fn each_alone(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&[])?;
    for (name, number) in names() {
        for value in [json!(0), small(name), most(name, number)] {
            let known = worker(json!({name: value}))?;
            session.offer(&vec![known.clone(); 3]);
            ask_all(&session).map_err(|fault| format!("{name} = {value}, {fault}"))?;
            session.offer(&[DescribedWorker::default(), known, DescribedWorker::default()]);
            ask_all(&session).map_err(|fault| format!("{name} = {value} of one worker, {fault}"))?;
        }
    }
    Ok(KitVerdict::Passed)
}

fn one_worker_unknown(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let known = all(|name, _| small(name))?;
    for unknown in [0, 4, 8] {
        let mut workers = vec![known.clone(); 9];
        if let Some(worker) = workers.get_mut(unknown) {
            *worker = DescribedWorker::default();
        }
        asked(bench, &workers)?;
    }
    Ok(KitVerdict::Passed)
}

fn largest(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    // Books have room for a prompt more: the router adds to them with each decision.
    let room = |name: &str, value: Value| {
        if name.ends_with("tokens") || name.ends_with("load") { json!(2_000_000_000) } else { value }
    };
    let one = all(|name, number| room(name, most(name, number)))?;
    asked(bench, &vec![one; 9])
}

fn equal(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let one = all(|_, _| json!(1))?;
    asked(bench, &[one.clone(), one.clone(), one])
}
