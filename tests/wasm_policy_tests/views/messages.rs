//! Any message that the host writes is read as the same view, in both wire forms.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sgl_policy_abi::{Init, Reader, RowWorker, RowsMessage, Value, Wire};
use sglang_router_rs::core::{
    BasicWorker, BookEntry, CandidateWorkers, Fleet, InFlight, SliceCandidates, TableVersion, Worker,
    WorkerTable,
};
use sglang_router_rs::policies::{Explanation, LoadBalancingPolicy};
use tokio::runtime::Runtime;

use crate::views::echo::Echo;
use crate::views::inputs::{Asked, Made};
use crate::views::recorder::Mirror;
use crate::views::{echo, expected, inputs, recorder};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A fleet of these workers, and the requests that they have in flight.
fn fleet_of(workers: &[Made]) -> (Arc<WorkerTable>, Vec<InFlight>) {
    let (fleet, mut in_flight) = (Fleet::new(), Vec::new());
    for (index, made) in workers.iter().enumerate() {
        let worker = fleet.add(made.facts.clone().of(format!("http://w{index}")), made.healthy).unwrap();
        made.report.iter().for_each(|report| worker.set_report(report));
        made.latency.iter().for_each(|latency| worker.observe_latency(*latency));
        in_flight.extend((0..made.load).map(|number| {
            let mut one = InFlight::on_fleet_with(&worker, || entry(index, number));
            if number % 2 == 1 {
                one.begun();
                one.generated(7);
            }
            one
        }));
    }
    (fleet.table(), in_flight)
}

/// What a request of these numbers adds to the books.
fn entry(worker: usize, number: usize) -> BookEntry {
    let tokens = u32::try_from(worker * 10 + number).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let cost = tokens as f32 / 4.0;
    BookEntry { prompt_tokens: tokens + 1000, prefill_tokens: tokens + 100, uncached_tokens: tokens, cost }
}

/// The same workers as an embedder's own.
fn slice_of(workers: &[Made]) -> Vec<Arc<dyn Worker>> {
    let one = |(index, made): (usize, &Made)| {
        let worker = BasicWorker::new(made.facts.clone().of(format!("http://w{index}")));
        worker.set_healthy(made.healthy);
        (0..made.load).for_each(|_| worker.increment_load());
        Arc::new(worker) as Arc<dyn Worker>
    };
    workers.iter().enumerate().map(one).collect()
}

/// An instance is told of a table when it has not seen it: each case has tables of its own.
fn sees_the_same<C: CandidateWorkers>(
    workers: &C,
    asked: &Asked,
    explanation: &Explanation,
) -> TestCaseResult {
    let messages = echo::messages(explanation);
    prop_assert!(messages.table.is_some(), "it does not know this table");
    let seen = Mirror::new(&messages.init).see(messages.table.as_deref(), &messages.select);
    prop_assert_eq!(seen, expected::view(workers, asked));
    Ok(())
}

fn columns() -> &'static Echo {
    static ECHO: LazyLock<Echo> =
        LazyLock::new(|| RUNTIME.block_on(Echo::new(Wire::Columns, recorder::inputs(), 1, HashMap::new())));
    &ECHO
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        (-1e300..1e300_f64).prop_map(serde_json::Value::from),
        ".{0,40}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 30, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..18).prop_map(serde_json::Value::from),
            hash_map(".{0,8}", inner, 0..18).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A value of a plugin as JSON, which is what the operator wrote.
fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(value) => value.as_str().into(),
        Value::Array(values) => values.iter().map(as_json).collect(),
        Value::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), as_json(value))).collect(),
        other => panic!("{other:?} is not JSON"),
    }
}

fn decoded(bytes: &[u8]) -> serde_json::Value {
    let mut reader = Reader::new(bytes);
    let value = Value::decode(&mut reader).unwrap();
    reader.finish().unwrap();
    as_json(&value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn column_message_of_a_table_is_read_as_it_was_meant(workers in inputs::workers(), asked in inputs::request()) {
        let (table, _in_flight) = fleet_of(&workers);
        let explanation = Explanation::default();
        // Nobody is chosen.
        let _ = columns().policy.decide(&table, &asked.info(&explanation)).unwrap_err();
        sees_the_same(&*table, &asked, &explanation)?;
    }

    #[test]
    fn column_message_of_a_slice_is_read_as_it_was_meant(workers in inputs::workers(), asked in inputs::request()) {
        // All slices of nobody are the same one, which an earlier case may have told the guest of.
        prop_assume!(!workers.is_empty());
        let slice = slice_of(&workers);
        let explanation = Explanation::default();
        let info = asked.info(&explanation);
        let _ = RUNTIME.block_on(columns().policy.select_worker_async(&slice, &info)).unwrap_err();
        let candidates = SliceCandidates::new(TableVersion::next(), &slice);
        sees_the_same(&candidates, &asked, &explanation)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn row_and_init_messages_are_read_as_they_were_meant(
        config in hash_map(".{0,8}", json(), 0..5),
        cases in vec((inputs::workers(), inputs::request()), 1..4),
    ) {
        let echo = RUNTIME.block_on(Echo::new(Wire::Rows, Vec::new(), 1, config.clone()));
        let config: serde_json::Value = config.into_iter().collect();
        for (workers, asked) in cases {
            let (table, _in_flight) = fleet_of(&workers);
            let explanation = Explanation::default();
            let info = asked.info(&explanation);
            let _ = RUNTIME.block_on(echo.policy.decide_async(&table, &info)).unwrap_err();
            let messages = echo::messages(&explanation);

            let rows = RowsMessage::decode(&messages.select).unwrap();
            let expected = |index: usize| RowWorker {
                url: &table.workers()[index].spec().url,
                healthy: table.is_healthy(index) && info.admits(index),
                load: i64::try_from(table.load(index)).unwrap(),
            };
            let expected: Vec<_> = (0..table.len()).map(expected).collect();
            prop_assert_eq!(rows.workers().collect::<Result<Vec<_>, _>>(), Ok(expected));
            prop_assert_eq!(rows.request_text, asked.text.as_deref());
            prop_assert_eq!(decoded(rows.config), config.clone());
            prop_assert_eq!(decoded(rows.state), serde_json::json!({}));

            let init = Init::decode(&messages.init).unwrap();
            prop_assert_eq!((init.abi, init.plugin.as_str()), (1, echo::NAME));
            prop_assert_eq!(init.generation, echo.factory.plugin_infos()[0].generation);
            prop_assert_eq!(as_json(&Value::Map(init.config)), config.clone());
        }
    }
}
