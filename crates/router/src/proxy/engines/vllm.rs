//! vLLM: `/metrics`, which costs it some 3 ms; `/load`, which counts only with
//! `--enable-server-load-tracking`; `/version`.

use serde::Deserialize;

use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity, RankCount, Version};
use crate::proxy::engines::exposition::{MetricSample, samples};
use crate::proxy::engines::figure::{Figure, Sceptic};
use crate::proxy::engines::reading::{RankLoad, Reading};
use crate::proxy::rank::RankFields;

/// vLLM.
pub(crate) const VLLM: Adapter = Adapter {
    name: "vllm",
    identities: &[EngineQuestion { path: "/version", read: identity }],
    loads: &[
        EngineQuestion { path: "/metrics", read: metrics },
        EngineQuestion { path: "/load", read: server_load },
    ],
    rank_counts: &[EngineQuestion { path: "/metrics", read: rank_count }],
    rank_fields: Some(|_| RankFields::None),
};

/// What a version alone is: others may answer the same.
#[derive(Debug, Deserialize)]
struct VersionAnswer {
    version: Version,
}

fn identity(body: &[u8]) -> Option<Identity> {
    let answer: VersionAnswer = serde_json::from_slice(body).ok()?;
    let version = answer.version.shown()?;
    Some(Identity { version: Some(version), ..Identity::default() })
}

/// How many engines there are numbers of.
fn rank_count(body: &[u8]) -> Option<RankCount> {
    metrics(body).map(|reading| RankCount::among(&reading))
}

fn metrics(body: &[u8]) -> Option<Reading> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut reading, mut sceptic) = (Reading::default(), Sceptic::default());
    for sample in samples(text, "vllm:") {
        if NAMES.contains(&sample.name) {
            let rank = match sample.label("engine").map(str::parse) {
                None => 0,
                Some(Ok(rank)) => rank,
                Some(Err(_)) => {
                    sceptic.nonsense = true;
                    RankLoad::NOBODYS
                }
            };
            match reading.rank(rank) {
                Some(rank) => take(&sample, rank, &mut sceptic),
                None => sceptic.nonsense = true,
            }
        }
    }
    reading.nonsense = sceptic.nonsense;
    (!reading.ranks.is_empty()).then_some(reading)
}

/// The samples that are looked at.
const NAMES: [&str; 6] = [
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    // Until 0.9.
    "gpu_cache_usage_perc",
    "generation_tokens_total",
    "cache_config_info",
];

fn take(sample: &MetricSample<'_>, rank: &mut RankLoad, sceptic: &mut Sceptic) {
    match sample.name {
        "num_requests_running" => rank.running = sceptic.count(sample.value),
        "num_requests_waiting" => rank.waiting = sceptic.count(sample.value),
        "kv_cache_usage_perc" => rank.kv_usage = sceptic.share(sample.value),
        "gpu_cache_usage_perc" => rank.kv_usage = rank.kv_usage.or_else(|| sceptic.share(sample.value)),
        "generation_tokens_total" => rank.generated = sceptic.total(sample.value),
        _ => take_config(sample, rank, sceptic),
    }
}

/// The labels of `cache_config_info` are settings as Python writes them, `None` among them.
fn take_config(sample: &MetricSample<'_>, rank: &mut RankLoad, sceptic: &mut Sceptic) {
    let mut size = |label| {
        let text = sample.label(label).filter(|text| *text != "None");
        sceptic.size(text.map_or(Figure::Absent, Figure::parse))
    };
    rank.block_size = size("block_size");
    let blocks = size("num_gpu_blocks");
    // Where layers differ, blocks times their size is too much; newer versions say what is right.
    let product = || blocks?.checked_mul(rank.block_size?);
    rank.kv_capacity_tokens = size("kv_cache_size_tokens").or_else(product);
}

/// What `/load` answers.
#[derive(Debug, Deserialize)]
struct ServerLoad {
    server_load: Figure,
}

/// Requests at the server, running or waiting. 0 says nothing: it is 0 for ever where nobody counts.
fn server_load(body: &[u8]) -> Option<Reading> {
    let answer: ServerLoad = serde_json::from_slice(body).ok()?;
    let mut sceptic = Sceptic::default();
    let running = sceptic.size(answer.server_load);
    Some(Reading { ranks: vec![RankLoad { running, ..RankLoad::default() }], nonsense: sceptic.nonsense })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of 0.32's page.
    const PAGE: &str = r#"# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 9841.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 4.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 9.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.25
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1200.0
vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.79e+09
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",kv_cache_size_tokens="None",num_gpu_blocks="256",num_gpu_blocks_override="None"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="1",kv_cache_size_tokens="4000",num_gpu_blocks="256"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="tiny"} 0.0
"#;

    #[test]
    fn metrics_page_is_read_by_engine() {
        let reading = metrics(PAGE.as_bytes()).unwrap();
        assert!(!reading.nonsense);
        assert_eq!(reading.ranks.len(), 2);
        let report = reading.report();
        assert_eq!((report.running, report.waiting, report.queued_tokens), (5, 9, -1));
        assert!((report.kv_usage - 0.375).abs() < 1e-6);
        assert_eq!(reading.ranks[0].generated, Some(1200.0));
        let facts = reading.facts();
        assert_eq!((facts.kv_capacity_tokens, facts.block_size), (Some(4096 + 4000), Some(16)));
    }

    #[test]
    fn page_of_an_old_version_is_read() {
        let old = "vllm:num_requests_running{model_name=\"m\"} 2.0\nvllm:gpu_cache_usage_perc{model_name=\"m\"} 0.125\n";
        let report = metrics(old.as_bytes()).unwrap().report();
        assert_eq!((report.running, report.waiting), (2, -1));
        assert!((report.kv_usage - 0.125).abs() < 1e-6);
    }

    #[test]
    fn nonsense_is_unknown_and_counted() {
        let page = "vllm:num_requests_running -3\nvllm:num_requests_waiting 7\nvllm:kv_cache_usage_perc NaN\n\
                    vllm:generation_tokens_total x\nvllm:cache_config_info{block_size=\"-1\",num_gpu_blocks=\"1e99\"} 1\n";
        let reading = metrics(page.as_bytes()).unwrap();
        assert!(reading.nonsense);
        let report = reading.report();
        assert_eq!((report.running, report.waiting), (-1, 7));
        assert!(report.kv_usage.is_nan());
        assert!(reading.facts().is_unknown());
        assert_eq!(rank_count(page.as_bytes()), Some(RankCount::Known(1)));
        assert_eq!(rank_count(PAGE.as_bytes()), Some(RankCount::Known(2)));
        let odd = metrics(b"vllm:num_requests_running{engine=\"-1\"} 4\n").unwrap();
        assert_eq!((odd.nonsense, odd.report().running, odd.part(Some(0)).report().running), (true, 4, -1));
        let ranks: String =
            (0..5000).map(|rank| format!("vllm:num_requests_running{{engine=\"{rank}\"}} 1\n")).collect();
        let reading = metrics(ranks.as_bytes()).unwrap();
        assert!(reading.nonsense && reading.ranks.len() <= 1024);
    }

    #[test]
    fn page_of_another_program_is_no_report() {
        for other in ["", "up 1\n", "{}", "sglang:num_running_reqs 3\n", "\u{0}"] {
            assert_eq!(metrics(other.as_bytes()), None, "{other}");
        }
        assert_eq!(metrics(b"vllm:num_requests_running 1\n\xff"), None);
    }

    #[test]
    fn server_load_of_0_says_nothing() {
        let running = |body: &str| server_load(body.as_bytes()).map(|reading| reading.report().running);
        assert_eq!(running(r#"{"server_load": 3}"#), Some(3));
        assert_eq!(running(r#"{"server_load": 0}"#), Some(-1));
        assert_eq!(running(r#"{"server_load": -3}"#), Some(-1));
        assert_eq!(running("{}"), None);
    }

    #[test]
    fn version_alone_is_not_sure() {
        let found = identity(br#"{"version": "0.32.0"}"#).unwrap();
        assert_eq!((found.is_sure, found.version.as_deref()), (false, Some("0.32.0")));
        for other in ["{}", r#"{"version": 3}"#, r#"{"version": "a b"}"#, "0.32.0"] {
            assert_eq!(identity(other.as_bytes()), None, "{other}");
        }
    }
}
