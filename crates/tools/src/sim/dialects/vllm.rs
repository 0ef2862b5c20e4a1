//! vLLM 0.32.0, after its `loggers.py`, `kv_events.py`, `basic.py` and `async_llm.py`. The head of a stream
//! comes at once, whatever becomes of the request; who is too many is told 503, or, where the head is out
//! because several came at a time, in an event.
//!
//! vLLM's own limit, `--max-num-queued-reqs`, counts running requests too: it is the sum of `max_running`
//! and `max_queued` here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use prometheus_client::metrics::histogram::Histogram;
use serde_json::{Value, json};

use crate::sim::accelerator::Accelerator;
use crate::sim::config::SimConfig;
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::exposition::histograms_text;
use crate::sim::kv_feed::{BUFFER_STEPS, KvFeed};
use crate::sim::ranks::Ranks;
use crate::sim::reply::{self, SimResponse};
use crate::sim::samples::{Samples, TEXT_0_0_4};
use crate::sim::wording::FIRST_CREATED;

/// Names the rank that is to serve a request.
pub(crate) const RANK_HEADER: &str = "x-data-parallel-rank";

/// What is said of the worker.
pub(crate) fn report(ranks: &Ranks, path: &str) -> Option<SimResponse> {
    let config = ranks.config();
    Some(match path {
        "/version" => reply::json(&json!({ "version": "0.32.0" })),
        // 0 always, unless vLLM is started with --enable-server-load-tracking.
        "/load" => reply::json(&json!({ "server_load": ranks.sum(|rank| rank.counters().in_flight()) })),
        "/v1/models" => reply::json(&json!({ "object": "list", "data": [model_card(config)] })),
        "/kv_event_sources" => reply::json(&kv_event_sources(ranks)),
        "/ping" => reply::empty(StatusCode::OK),
        "/metrics" => reply::typed(HeaderValue::from_static(TEXT_0_0_4), Bytes::from(metrics(ranks))),
        _ => return None,
    })
}

fn model_card(config: &SimConfig) -> Value {
    json!({
        "id": config.model,
        "object": "model",
        "created": FIRST_CREATED,
        "owned_by": "vllm",
        "root": config.model,
        "parent": null,
        "max_model_len": config.context_tokens,
        "permission": [],
    })
}

/// For each rank, how its publisher was configured.
fn kv_event_sources(ranks: &Ranks) -> Value {
    let Some(sockets) = &ranks.sockets else { return json!({}) };
    let host = if sockets.host.contains(':') { format!("[{}]", sockets.host) } else { sockets.host.clone() };
    let source = |(rank, feed): (usize, &Arc<KvFeed>)| {
        let source = json!({
            "enable_kv_cache_events": true,
            "publisher": "zmq",
            "endpoint": format!("tcp://{host}:{}", feed.port()),
            "replay_endpoint": format!("tcp://{host}:{}", feed.replay_port()),
            "buffer_steps": BUFFER_STEPS,
            "hwm": 100_000,
            "max_queue_size": 100_000,
            "topic": "",
        });
        (rank.to_string(), source)
    };
    Value::Object(sockets.feeds.iter().enumerate().map(source).collect())
}

/// The events of a stream that is refused after its head.
pub(crate) fn refusal(error: &ApiError) -> Bytes {
    Bytes::from(format!("data: {}\n\ndata: [DONE]\n\n", error.in_dialect(Dialect::Vllm)))
}

/// A metric of each rank: name, kind, help, further labels, value.
type RankMetric =
    (&'static str, &'static str, &'static str, Vec<(&'static str, &'static str)>, fn(&Accelerator) -> f64);

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn families() -> Vec<RankMetric> {
    let waiting = "Number of waiting requests by reason.";
    let cached = "Prefix cache hits, in terms of number of cached tokens.";
    vec![
        ("num_requests_running", "gauge", "Number of requests in model execution batches.", vec![], |rank| {
            rank.batch().running() as f64
        }),
        ("num_requests_waiting", "gauge", "Number of requests waiting to be processed.", vec![], |rank| {
            rank.batch().waiting() as f64
        }),
        ("num_requests_waiting_by_reason", "gauge", waiting, vec![("reason", "capacity")], |rank| {
            rank.batch().waiting() as f64
        }),
        ("num_requests_waiting_by_reason", "gauge", waiting, vec![("reason", "deferred")], |_| 0.0),
        ("kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", vec![], |rank| {
            let used = rank.batch().running_tokens() as f64;
            let capacity = rank.config().cache_tokens as f64;
            if capacity > 0.0 { (used / capacity).min(1.0) } else { 0.0 }
        }),
        (
            "prefix_cache_queries_total",
            "counter",
            "Prefix cache queries, in terms of number of queried tokens.",
            vec![],
            |rank| read(&rank.counters().prompt_tokens),
        ),
        ("prefix_cache_hits_total", "counter", cached, vec![], |rank| read(&rank.counters().cached_tokens)),
        (
            "num_preemptions_total",
            "counter",
            "Cumulative number of preemption from the engine.",
            vec![],
            |_| 0.0,
        ),
        ("prompt_tokens_total", "counter", "Number of prefill tokens processed.", vec![], |rank| {
            read(&rank.counters().prompt_tokens)
        }),
        (
            "prompt_tokens_cached_total",
            "counter",
            "Number of cached prompt tokens (local + external).",
            vec![],
            |rank| read(&rank.counters().cached_tokens),
        ),
        ("generation_tokens_total", "counter", "Number of generation tokens processed.", vec![], |rank| {
            read(&rank.counters().generated_tokens)
        }),
    ]
}

fn metrics(ranks: &Ranks) -> String {
    let config = ranks.config();
    let model = config.model.as_str();
    let mut samples = Samples::default();
    let mut last = "";
    for (name, kind, help, more, read) in families() {
        let full = format!("vllm:{name}");
        if name != last {
            samples.family(&full, kind, help);
            last = name;
        }
        for (rank, accelerator) in ranks.iter().enumerate() {
            let number = rank.to_string();
            let mut labels = vec![("engine", number.as_str()), ("model_name", model)];
            labels.extend(&more);
            samples.sample(&full, &labels, read(accelerator));
        }
    }
    rejections(ranks, &mut samples);
    cache_config(ranks, &mut samples);
    let mut text = samples.into_text();
    for (name, help, of) in histograms() {
        let labels = |rank: usize| vec![("engine", rank.to_string()), ("model_name", model.to_owned())];
        let series: Vec<_> = ranks.iter().enumerate().map(|(rank, one)| (labels(rank), of(one))).collect();
        text.push_str(&histograms_text(name, help, &series));
    }
    text
}

type OneHistogram = fn(&Accelerator) -> Histogram;

fn histograms() -> [(&'static str, &'static str, OneHistogram); 3] {
    [
        ("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds", |rank| {
            rank.counters().first_token.clone()
        }),
        ("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds", |rank| {
            rank.counters().between_tokens.clone()
        }),
        ("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds", |rank| {
            rank.counters().whole_request.clone()
        }),
    ]
}

/// Counted by the server, not by its engines.
fn rejections(ranks: &Ranks, samples: &mut Samples) {
    let name = "vllm:admission_rejections_total";
    samples.family(name, "counter", "Number of admission attempts rejected by a queue limit, by reason.");
    let refused: u64 = ranks.sum(|rank| rank.counters().overloaded.load(Ordering::Relaxed));
    for (reason, value) in [("max_num_queued_reqs", refused as f64), ("max_num_queued_tokens", 0.0)] {
        samples.sample(name, &[("model_name", ranks.config().model.as_str()), ("reason", reason)], value);
    }
}

fn cache_config(ranks: &Ranks, samples: &mut Samples) {
    let config = ranks.config();
    let name = "vllm:cache_config_info";
    samples.family(name, "gauge", "Information of the LLMEngine CacheConfig");
    let block = config.block_tokens.to_string();
    let blocks = config.cache_blocks().to_string();
    let tokens = (config.cache_blocks() * config.block_tokens).to_string();
    for rank in 0..config.dp_size {
        let labels = [
            ("block_size", block.as_str()),
            ("enable_prefix_caching", if config.cache_blocks() > 0 { "True" } else { "False" }),
            ("engine", &rank.to_string()),
            ("kv_cache_size_tokens", &tokens),
            ("num_gpu_blocks", &blocks),
        ];
        samples.sample(name, &labels, 1.0);
    }
}
