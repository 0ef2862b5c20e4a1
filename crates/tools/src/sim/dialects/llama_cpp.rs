//! llama.cpp's own server, as its wheel `xllamacpp` 2026.10 has it. A place in the batch is a slot; who
//! finds none free waits, however many do, and gets the head of the answer with the slot.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::sim::ranks::Ranks;
use crate::sim::reply::{self, SimResponse};
use crate::sim::samples::Samples;
use crate::sim::wording::FIRST_CREATED;

/// What is said of the worker.
pub(crate) fn report(ranks: &Ranks, path: &str) -> Option<SimResponse> {
    Some(match path {
        "/health" | "/v1/health" => reply::json(&json!({ "status": "ok" })),
        "/props" => reply::json(&props(ranks)),
        "/slots" => reply::json(&slots(ranks)),
        "/v1/models" | "/models" => reply::json(&models(ranks)),
        "/metrics" => {
            reply::typed(HeaderValue::from_static("text/plain; version=0.0.4"), Bytes::from(metrics(ranks)))
        }
        _ => return None,
    })
}

/// Tokens that each slot has room for.
fn slot_tokens(ranks: &Ranks) -> usize {
    usize::try_from(ranks.config().context_tokens).unwrap_or(usize::MAX)
}

fn props(ranks: &Ranks) -> Value {
    let config = ranks.config();
    json!({
        "default_generation_settings": { "n_ctx": slot_tokens(ranks) },
        "total_slots": config.max_running,
        "model_alias": config.model,
        "model_path": config.model,
        "modalities": { "vision": false, "video": false, "audio": false },
        "endpoint_slots": true,
        "endpoint_props": false,
        "endpoint_metrics": true,
        "build_info": "b0-unknown",
        "is_sleeping": false,
    })
}

fn slots(ranks: &Ranks) -> Value {
    let running = ranks.first().batch().running();
    let slot = |id| json!({ "id": id, "n_ctx": slot_tokens(ranks), "speculative": false, "is_processing": id < running });
    (0..ranks.config().max_running).map(slot).collect()
}

fn models(ranks: &Ranks) -> Value {
    let name = &ranks.config().model;
    let card = json!({
        "id": name,
        "aliases": [name],
        "tags": [],
        "object": "model",
        "created": FIRST_CREATED,
        "owned_by": "llamacpp",
        "meta": { "n_ctx": slot_tokens(ranks), "n_ctx_train": slot_tokens(ranks) },
    });
    let short = json!({ "name": name, "model": name, "type": "model", "capabilities": ["completion"] });
    json!({ "models": [short], "object": "list", "data": [card] })
}

/// Families without labels, as it has no ranks and one model.
fn metrics(ranks: &Ranks) -> String {
    let (load, counters) = (ranks.first().load(), ranks.first().counters());
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let cached = read(&counters.cached_tokens);
    let counts = [
        (
            "prompt_tokens_total",
            "Number of prompt tokens processed, excluding cached tokens",
            read(&counters.prompt_tokens) - cached,
        ),
        ("prompt_tokens_cached_total", "Number of prompt tokens reused from the cache", cached),
        (
            "prompt_seconds_total",
            "Total time spent processing prompts",
            read(&counters.prefill_busy_us) / 1e6,
        ),
        ("tokens_predicted_total", "Number of generation tokens processed", read(&counters.generated_tokens)),
    ];
    let gauges = [
        ("predicted_tokens_seconds", "Average generation throughput in tokens/s", load.tokens_per_second),
        ("requests_processing", "Number of requests processing", load.running as f64),
        ("requests_deferred", "Number of requests deferred", load.waiting as f64),
    ];
    let mut samples = Samples::default();
    let counts = counts.map(|metric| ("counter", metric));
    let gauges = gauges.map(|metric| ("gauge", metric));
    for (kind, (name, help, value)) in counts.into_iter().chain(gauges) {
        samples.single(&format!("llamacpp:{name}"), kind, help, &[], value);
    }
    samples.into_text()
}
