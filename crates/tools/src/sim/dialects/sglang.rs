//! SGLang 0.5.23, after its `v1_loads.py`, `load_snapshot.py`, `kv_events.py`, `load_publisher.py` and
//! `metrics_collector.py`. The head of a stream comes with its first token; a refused one is 200 with the
//! refusal as its first event.
#![expect(clippy::indexing_slicing, reason = "the values are objects that are made here")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::sim::accelerator::{Accelerator, Occupancy};
use crate::sim::config::SimConfig;
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::exposition::histograms_text;
use crate::sim::generation::Format;
use crate::sim::kv_wire::WireLoad;
use crate::sim::ranks::Ranks;
use crate::sim::reply::{self, SimResponse};
use crate::sim::samples::{Samples, TEXT_0_0_4};
use crate::sim::sglang;
use sglang_router_rs::core::WorkerRole;

const VERSION: &str = "0.5.23";

/// What is said of the worker.
///
/// # Errors
/// A part of the loads, or a rank, that does not exist.
pub(crate) fn report(ranks: &Ranks, path: &str, query: &str) -> Result<Option<SimResponse>, ApiError> {
    let config = ranks.config();
    Ok(Some(match path {
        "/v1/loads" => reply::json(&loads(ranks, query)?),
        "/server_info" | "/get_server_info" => reply::json(&server_info(ranks)),
        "/model_info" | "/get_model_info" => reply::json(&model_info(config)),
        "/v1/models" => reply::json(&json!({ "object": "list", "data": [sglang::model_card(config)] })),
        "/metrics" => reply::typed(HeaderValue::from_static(TEXT_0_0_4), Bytes::from(metrics(ranks))),
        // Cheap, unlike `/health`, for which it generates a token.
        "/ready" if ranks.control.is_ending() => reply::empty(StatusCode::SERVICE_UNAVAILABLE),
        "/ready" => reply::empty(StatusCode::OK),
        _ => return Ok(None),
    }))
}

fn model_info(config: &SimConfig) -> Value {
    let mut info = sglang::model_info(config);
    info["served_model_name"] = json!(config.model);
    info["disaggregation_mode"] = json!(disaggregation_mode(config));
    info
}

fn disaggregation_mode(config: &SimConfig) -> &str {
    match config.role {
        WorkerRole::Regular => "null",
        WorkerRole::Prefill | WorkerRole::Decode => config.role.as_str(),
    }
}

fn server_info(ranks: &Ranks) -> Value {
    let config = ranks.config();
    let mut info = sglang::server_info(config, &ranks.first().load());
    info["dp_size"] = json!(config.dp_size);
    info["page_size"] = json!(config.block_tokens);
    info["version"] = json!(VERSION);
    info["internal_states"] =
        ranks.iter().map(|rank| json!({ "last_gen_throughput": rank.load().tokens_per_second })).collect();
    info["kv_events"] = kv_events(ranks);
    info
}

/// Where events and loads are published; hosts that are `*` stand for the worker's own.
fn kv_events(ranks: &Ranks) -> Value {
    let Some((sockets, first)) = ranks.sockets.as_ref().and_then(|all| Some((all, all.feeds.first()?)))
    else {
        return Value::Null;
    };
    let config = ranks.config();
    let mut described = json!({
        "publisher": "zmq",
        "endpoint_host": sockets.host,
        "endpoint_port_base": first.port(),
        "topic": "",
        "block_size": config.block_tokens,
        "dp_size": config.dp_size,
        "replay_endpoint_port_base": first.replay_port(),
    });
    if let Some(load) = sockets.loads.first() {
        described["load_endpoint_port_base"] = json!(load.address().port());
        described["load_topic"] = json!("load");
    }
    described
}

/// What is pushed of a rank's load, and the better part of what `/v1/loads` says of it.
pub(crate) fn load_stat(rank: u32, accelerator: &Accelerator) -> WireLoad {
    let (load, counters) = (accelerator.load(), accelerator.counters());
    let prompt = counters.prompt_tokens.load(Ordering::Relaxed);
    let cached = counters.cached_tokens.load(Ordering::Relaxed);
    let missed = 1.0 - share(cached as f64, prompt as f64);
    WireLoad {
        running: load.running as u64,
        waiting: load.waiting as u64,
        used_tokens: load.running_tokens,
        capacity_tokens: accelerator.config().cache_tokens as u64,
        rank,
        waiting_uncached_tokens: share_of(load.waiting_tokens, missed),
        total_tokens: load.running_tokens + load.waiting_tokens,
        max_running: accelerator.config().max_running as u64,
        prefilled_tokens: prompt.saturating_sub(cached),
        prefill_busy_us: counters.prefill_busy_us.load(Ordering::Relaxed),
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number is no larger"
)]
fn share_of(number: u64, share: f64) -> u64 {
    (number as f64 * share.clamp(0.0, 1.0)) as u64
}

fn loads(ranks: &Ranks, query: &str) -> Result<Value, ApiError> {
    let value =
        |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let include = value("include").map(|(_, list)| list.replace("%2C", ","));
    let wants = |part: &str| {
        include.as_deref().is_none_or(|list| list.split(',').any(|one| one == part || one == "all"))
    };
    let known = ["core", "memory", "spec", "lora", "disagg", "queues", "all"];
    if let Some(part) = include.iter().flat_map(|list| list.split(',')).find(|part| !known.contains(part)) {
        return Err(ApiError::parameter("include", format!("Invalid include sections: {{'{part}'}}.")));
    }
    let named = value("dp_rank").and_then(|(_, rank)| rank.parse::<u32>().ok());
    if let Some(rank) = named {
        ranks.pick(Some(rank))?;
    }
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let of_rank = |(rank, accelerator): (u32, &Arc<Accelerator>)| {
        let mut load = core_load(rank, accelerator, seconds);
        if wants("disagg") {
            load["disaggregation"] = json!({ "mode": disaggregation_mode(ranks.config()) });
        }
        if wants("queues") {
            load["queues"] = json!({ "waiting": accelerator.batch().waiting(), "paused": 0, "retracted": 0 });
        }
        load
    };
    let all = (0..).zip(ranks.iter()).filter(|(rank, _)| named.is_none_or(|named| named == *rank));
    Ok(json!({
        "timestamp": httpdate::fmt_http_date(now),
        "version": VERSION,
        "accelerator": null,
        "num_accelerators": 1,
        "loads": all.map(of_rank).collect::<Value>(),
    }))
}

fn core_load(rank: u32, accelerator: &Accelerator, seconds: f64) -> Value {
    let stat = load_stat(rank, accelerator);
    let Occupancy { tokens_per_second, .. } = accelerator.load();
    let counters = accelerator.counters();
    let cached = counters.cached_tokens.load(Ordering::Relaxed) as f64;
    let prompt = counters.prompt_tokens.load(Ordering::Relaxed) as f64;
    json!({
        "timestamp": seconds,
        "dp_rank": rank,
        "num_running_reqs": stat.running,
        "num_waiting_reqs": stat.waiting,
        "num_waiting_uncached_tokens": stat.waiting_uncached_tokens,
        "num_used_tokens": stat.used_tokens,
        "num_total_tokens": stat.total_tokens,
        "num_active_tokens": stat.total_tokens,
        "num_prealloc_ready_tokens": 0,
        "max_total_num_tokens": stat.capacity_tokens,
        "max_running_requests": stat.max_running,
        "token_usage": share(stat.used_tokens as f64, stat.capacity_tokens as f64),
        "gen_throughput": tokens_per_second,
        "cache_hit_rate": share(cached, prompt),
        "utilization": share(stat.running as f64, stat.max_running as f64),
        "total_prefill_uncached_tokens": stat.prefilled_tokens,
        "total_prefill_busy_us": stat.prefill_busy_us,
        "decode_moments": null,
    })
}

/// The events of a stream that is refused.
pub(crate) fn refusal(format: Format, error: &ApiError) -> Bytes {
    let event = match format {
        Format::Generate | Format::GenerateBatch => {
            let told = error.in_dialect(Dialect::Sglang);
            let finish = json!({ "type": "abort", "status_code": told["code"], "message": told["message"] });
            json!({ "text": "", "output_ids": [], "meta_info": {
                "id": "refused", "finish_reason": finish, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0,
            } })
        }
        _ => {
            json!({ "error": error.in_dialect(Dialect::Sglang) })
        }
    };
    Bytes::from(format!("data: {event}\n\ndata: [DONE]\n\n"))
}

/// A gauge of each rank: name, help, value.
type LoadGauge = (&'static str, &'static str, fn(&WireLoad) -> f64);

/// What the scheduler of each rank and the one tokenizer manager show.
fn metrics(ranks: &Ranks) -> String {
    let config = ranks.config();
    let engine = if config.role == WorkerRole::Regular { "unified" } else { config.role.as_str() };
    let mut samples = Samples::default();
    let gauges: [LoadGauge; 8] = [
        ("num_running_reqs", "The number of running requests.", |stat| stat.running as f64),
        ("num_queue_reqs", "The number of requests in the waiting queue.", |stat| stat.waiting as f64),
        ("num_used_tokens", "The number of used tokens.", |stat| stat.used_tokens as f64),
        ("token_usage", "The token usage.", |stat| {
            share(stat.used_tokens as f64, stat.capacity_tokens as f64)
        }),
        ("utilization", "The utilization.", |stat| share(stat.running as f64, stat.max_running as f64)),
        ("max_total_num_tokens", "Maximum total number of tokens in the KV cache pool.", |stat| {
            stat.capacity_tokens as f64
        }),
        ("kv_used_tokens", "Number of actively used token slots in the KV cache pool.", |stat| {
            stat.used_tokens as f64
        }),
        ("kv_available_tokens", "Number of free token slots in the KV cache pool.", |stat| {
            stat.capacity_tokens.saturating_sub(stat.used_tokens) as f64
        }),
    ];
    for (name, help, read) in gauges {
        let name = format!("sglang:{name}");
        samples.family(&name, "gauge", help);
        for (rank, accelerator) in (0..).zip(ranks.iter()) {
            let number = rank.to_string();
            let mut labels = vec![
                ("model_name", config.model.as_str()),
                ("engine_type", engine),
                ("tp_rank", "0"),
                ("pp_rank", "0"),
                ("moe_ep_rank", "0"),
            ];
            if config.dp_size > 1 {
                labels.push(("dp_rank", &number));
            }
            samples.sample(&name, &labels, read(&load_stat(rank, accelerator)));
        }
    }
    counts(ranks, engine, &mut samples);
    let own = vec![("model_name", config.model.clone()), ("engine_type", engine.to_owned())];
    let first_token = ranks.iter().take(1).map(|rank| (own.clone(), rank.counters().first_token.clone()));
    let series: Vec<_> = first_token.collect();
    let help = "Histogram of time to first token in seconds";
    samples.into_text() + &histograms_text("sglang:time_to_first_token_seconds", help, &series)
}

fn counts(ranks: &Ranks, engine: &str, samples: &mut Samples) {
    let total = |of: fn(&Accelerator) -> u64| ranks.sum(of) as f64;
    let labels = [("model_name", ranks.config().model.as_str()), ("engine_type", engine)];
    // Those of an engine that has answered; of aborted ones it tells when there were some.
    let counts: [(&str, &str, f64); 3] = [
        (
            "prompt_tokens_total",
            "Number of prefill tokens processed.",
            total(|rank| rank.counters().prompt_tokens.load(Ordering::Relaxed)),
        ),
        (
            "generation_tokens_total",
            "Number of generation tokens processed.",
            total(|rank| rank.counters().generated_tokens.load(Ordering::Relaxed)),
        ),
        ("num_requests_total", "Number of requests processed.", total(|rank| rank.counters().requests())),
    ];
    for (name, help, value) in counts {
        samples.single(&format!("sglang:{name}"), "counter", help, &labels, value);
    }
    let cached = total(|rank| rank.counters().cached_tokens.load(Ordering::Relaxed));
    let labels = [labels[0], labels[1], ("cache_source", "device")];
    samples.single(
        "sglang:cached_tokens_total",
        "counter",
        "Number of cached prompt tokens.",
        &labels,
        cached,
    );
}
