//! `/metrics`: names and labels as SGLang's metrics collector has them, in the OpenMetrics text
//! form that Prometheus reads. What only a simulation has begins with `sim:`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::sim::accelerator::Accelerator;
use crate::sim::counters::Counters;
use sglang_router_rs::core::WorkerRole;

/// Content type of the exposition.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one worker.
#[derive(Debug)]
pub(crate) struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub(crate) fn new(accelerator: &Arc<Accelerator>) -> Self {
        let config = accelerator.config();
        let mut registry = Registry::with_labels([label("model_name", &config.model)].into_iter());
        register_histograms(&mut registry, accelerator.counters());
        registry.register_collector(Box::new(Totals(Arc::clone(accelerator))));
        registry
            .sub_registry_with_label(label("cache_source", "device"))
            .register_collector(Box::new(CachedTokens(Arc::clone(accelerator))));
        let engine_type = match config.role {
            WorkerRole::Regular => "unified",
            WorkerRole::Prefill | WorkerRole::Decode => config.role.as_str(),
        };
        let scheduler = [label("engine_type", engine_type), label("tp_rank", "0"), label("pp_rank", "0")];
        registry
            .sub_registry_with_labels(scheduler.into_iter())
            .register_collector(Box::new(Gauges(Arc::clone(accelerator))));
        Self { registry }
    }

    /// All metrics as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; if a metric could, the rest would still be of use.
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::warn!(%error, "a metric of the simulated worker could not be written");
        }
        text
    }
}

/// Histograms in Prometheus' older text form, each with all that have its name together.
pub(crate) fn histograms_text(
    name: &str,
    help: &str,
    series: &[(Vec<(&'static str, String)>, Histogram)],
) -> String {
    let mut all = String::new();
    for (at, (labels, histogram)) in series.iter().enumerate() {
        let labels = labels.iter().map(|(key, value)| label(key, value));
        let mut registry = Registry::with_labels(labels);
        registry.register(name, help, histogram.clone());
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &registry) {
            tracing::warn!(%error, "a histogram of the simulated worker could not be written");
        }
        let wanted = |line: &&str| !line.starts_with('#') || at == 0 && *line != "# EOF";
        text.lines().filter(wanted).for_each(|line| {
            all.push_str(line);
            all.push('\n');
        });
    }
    all
}

fn label(key: &'static str, value: &str) -> (Cow<'static, str>, Cow<'static, str>) {
    (Cow::from(key), Cow::from(value.to_owned()))
}

fn register_histograms(registry: &mut Registry, counters: &Counters) {
    let histograms = [
        ("sglang:time_to_first_token_seconds", "time to first token", &counters.first_token),
        ("sglang:inter_token_latency_seconds", "inter-token latency", &counters.between_tokens),
        ("sglang:e2e_request_latency_seconds", "request latency", &counters.whole_request),
    ];
    for (name, what, histogram) in histograms {
        registry.register(name, format!("Histogram of {what} in seconds"), histogram.clone());
    }
}

/// What SGLang's scheduler reports.
#[derive(Debug)]
struct Gauges(Arc<Accelerator>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let load = self.0.load();
        let config = self.0.config();
        let counters = self.0.counters();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let prompt = counters.prompt_tokens.load(Ordering::Relaxed) as f64;
        let cached = counters.cached_tokens.load(Ordering::Relaxed) as f64;
        let running = load.running as f64;
        let waiting = load.waiting as f64;
        let used = load.running_tokens as f64;
        let capacity = config.cache_tokens as f64;
        let usage = share(used, capacity).min(1.0);
        let hits = share(cached, prompt);
        let utilization = share(running, config.max_running as f64);
        let gauges = [
            ("num_running_reqs", "The number of running requests", running),
            ("num_queue_reqs", "The number of requests in the waiting queue", waiting),
            ("num_used_tokens", "The number of used tokens", used),
            ("max_total_num_tokens", "Maximum number of tokens in the KV cache", capacity),
            ("token_usage", "The token usage", usage),
            ("gen_throughput", "The generation throughput (token/s)", load.tokens_per_second),
            ("cache_hit_rate", "The prefix cache hit rate since the start", hits),
            ("utilization", "The share of the batch in use", utilization),
        ];
        for (name, help, value) in gauges {
            let name = format!("sglang:{name}");
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// What SGLang's tokenizer manager counts, and the simulation's own counters. The encoder adds
/// `_total` to the names.
#[derive(Debug)]
struct Totals(Arc<Accelerator>);

impl Collector for Totals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let totals = [
            ("sglang:prompt_tokens", "Number of prefill tokens processed", read(&counters.prompt_tokens)),
            (
                "sglang:generation_tokens",
                "Number of generation tokens processed",
                read(&counters.generated_tokens),
            ),
            ("sglang:num_requests", "Number of requests received", counters.requests()),
            ("sglang:num_aborted_requests", "Number of requests aborted", counters.cancelled()),
            ("sim:failed_requests", "Failures that were asked for", read(&counters.failed)),
            ("sim:overloaded_requests", "Requests that found the queue full", read(&counters.overloaded)),
        ];
        for (name, help, value) in totals {
            encode_counter(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct CachedTokens(Arc<Accelerator>);

impl Collector for CachedTokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let value = self.0.counters().cached_tokens.load(Ordering::Relaxed);
        let help = "Number of cached prompt tokens";
        encode_counter(&mut encoder, "sglang:cached_tokens", help, value)
    }
}

fn encode_counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}
