//! A file of workers: a list that an author writes, or what `GET /workers` of a router answers.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::config::near_names::nearest_first;
use crate::trial::described_worker::{DescribedWorker, WorkerOrUrl};
use sgl_api::{RankView, WorkerList, WorkerView};
use sglang_router_rs::core::{BookNumbers, EngineFacts, KnownReport, ModelNames};

/// Workers of a file at most.
const MAX_WORKERS: usize = 100_000;

/// A list with a name for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedList {
    workers: Vec<WorkerOrUrl>,
}

/// What decides in which form a file is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FleetOutline {
    workers: Vec<serde_json::Value>,
}

/// Reads the workers of a file.
///
/// # Errors
///
/// What is wrong with it, with its place: a name that is none comes with the nearest ones.
pub(crate) fn described_fleet(text: &str) -> Result<Vec<DescribedWorker>, String> {
    let fault = |error: serde_json::Error| nearest_first(&error.to_string());
    let workers: Vec<DescribedWorker> = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<WorkerOrUrl>>(text).map_err(fault)?.into_iter().map(|one| one.0).collect()
    } else if is_answer(text) {
        let list: WorkerList = serde_json::from_str(text).map_err(fault)?;
        list.workers.iter().flat_map(of_view).collect()
    } else {
        let named: DescribedList = serde_json::from_str(text).map_err(fault)?;
        named.workers.into_iter().map(|one| one.0).collect()
    };
    check(&workers)?;
    Ok(workers)
}

/// What is wrong with a list.
///
/// # Errors
///
/// The first fault, with its place.
pub(crate) fn check(workers: &[DescribedWorker]) -> Result<(), String> {
    if workers.len() > MAX_WORKERS {
        return Err(format!("it has {} workers; allowed: up to {MAX_WORKERS}", workers.len()));
    }
    let mut urls = BTreeSet::new();
    for (index, worker) in workers.iter().enumerate() {
        if let Some(fault) = worker.fault() {
            return Err(format!("workers[{index}].{fault}"));
        }
        let url = worker.spec(index).url;
        if !urls.insert(url.clone()) {
            return Err(format!("workers[{index}].url: {url} is there already; each worker has its own"));
        }
    }
    Ok(())
}

/// True for an answer of a router, each of whose workers has a circuit.
fn is_answer(text: &str) -> bool {
    let outline: FleetOutline = serde_json::from_str(text).unwrap_or_default();
    outline.workers.iter().any(|worker| worker.get("circuit").is_some())
}

/// The worker that a router shows, or its ranks, each of which is a candidate of its own.
fn of_view(view: &WorkerView) -> Vec<DescribedWorker> {
    let engine = EngineFacts {
        name: view.engine.name.clone().map(Into::into),
        kv_capacity_tokens: view.engine.kv_capacity_tokens,
        block_size: view.engine.block_size,
        max_running_requests: view.engine.max_running_requests,
        dp_rank: None,
        models: ModelNames::new(view.engine.models.iter().flatten().map(String::as_str)),
    };
    let facts = DescribedWorker {
        url: Some(view.url.clone()),
        role: view.role,
        model: view.model.clone(),
        weight: Some(view.weight),
        labels: view.labels.clone(),
        engine,
        healthy: Some(view.healthy),
        load: Some(view.load),
        ..DescribedWorker::default()
    };
    if view.ranks.is_empty() {
        return vec![with_numbers(facts, &view.report, view.books.as_ref())];
    }
    view.ranks.iter().map(|rank| of_rank(&facts, rank)).collect()
}

fn of_rank(whole: &DescribedWorker, rank: &RankView) -> DescribedWorker {
    let engine = EngineFacts {
        kv_capacity_tokens: rank.kv_capacity_tokens,
        max_running_requests: rank.max_running_requests,
        dp_rank: Some(rank.rank),
        ..whole.engine.clone()
    };
    let facts = DescribedWorker {
        url: Some(rank.url.clone()),
        engine,
        healthy: Some(rank.healthy),
        load: Some(rank.load),
        ..whole.clone()
    };
    with_numbers(facts, &rank.report, rank.books.as_ref())
}

fn with_numbers(
    facts: DescribedWorker,
    report: &KnownReport,
    books: Option<&BookNumbers>,
) -> DescribedWorker {
    DescribedWorker {
        running: report.running,
        waiting: report.waiting,
        queued_tokens: report.queued_tokens,
        kv_usage: report.kv_usage,
        throughput: report.throughput,
        latency_ewma: report.latency_ms,
        report_age_ms: report.report_age_ms,
        load_elsewhere: report.load_elsewhere,
        prefill_load: books.map(|books| books.prefill_load),
        prefill_tokens: books.map(|books| books.prefill_tokens),
        uncached_tokens: books.map(|books| books.uncached_tokens),
        tokens_in_flight: books.map(|books| books.tokens_in_flight),
        pending_cost: books.map(|books| books.pending_cost),
        oldest_pending_ms: books.and_then(|books| books.oldest_pending_ms),
        ttft_ewma: books.and_then(|books| books.ttft_ms),
        tpot_ewma: books.and_then(|books| books.tpot_ms),
        ..facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_written_as_urls_or_with_their_numbers() {
        let text = r#"["http://a", {"load": 3, "kv_usage": 0.5, "role": "decode"}]"#;
        let workers = described_fleet(text).unwrap();
        assert_eq!(workers[0].spec(0).url, "http://a");
        assert_eq!((workers[1].spec(1).url.as_str(), workers[1].load), ("http://worker-1", Some(3)));
        let named = format!("{{\"workers\": {text}}}");
        assert_eq!(described_fleet(&named).unwrap(), workers);
    }

    #[test]
    fn name_that_is_none_comes_with_its_place_and_the_nearest_first() {
        let fault = described_fleet("[{\"laod\": 3}]").unwrap_err();
        assert!(fault.starts_with("unknown field `laod`, expected one of `load`, "), "{fault}");
        assert!(fault.contains("line 1 column"), "{fault}");
        for (text, part) in [
            ("[{\"weight\": 0}]", "workers[0].weight: found 0; allowed: a number above 0"),
            ("[\"http://a\", \"http://a\"]", "workers[1].url: http://a is there already"),
            ("[7]", "expected a worker: its URL, or an object"),
            ("{\"worker\": []}", "unknown field `worker`, expected `workers`"),
        ] {
            let fault = described_fleet(text).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
