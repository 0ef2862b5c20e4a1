//! SGLang: `/v1/loads` since 0.5, `/get_load` before; `/server_info`, once `/get_server_info`.

use serde::Deserialize;

use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity, RankCount, Version};
use crate::proxy::engines::figure::{Figure, Sceptic};
use crate::proxy::engines::reading::{Bounded, RankLoad, Reading};
use crate::proxy::rank::RankFields;
use sglang_router_rs::core::EngineFacts;

/// SGLang.
pub(crate) const SGLANG: Adapter = Adapter {
    name: "sglang",
    identities: &[
        EngineQuestion { path: "/server_info", read: identity },
        EngineQuestion { path: "/get_server_info", read: identity },
    ],
    loads: &[
        EngineQuestion { path: "/v1/loads?include=core", read: load },
        EngineQuestion { path: "/get_load", read: load },
    ],
    rank_counts: &[],
    rank_fields: Some(rank_fields),
};

/// From this version on it has surely `routed_dp_rank`, and warns of the name before.
const RENAMED: [u32; 3] = [0, 5, 10];

fn rank_fields(version: Option<&str>) -> RankFields {
    let Some(version) = version else { return RankFields::Both };
    let mut parts = version.split(['.', '+', '-']).map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..end).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0)
    });
    let version: [u32; 3] = std::array::from_fn(|_| parts.next().unwrap_or(0));
    if version >= RENAMED { RankFields::Routed } else { RankFields::Both }
}

/// One data-parallel rank. Names differ between versions; all of them are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rank {
    dp_rank: Figure,
    /// Running and waiting requests together.
    #[serde(alias = "num_total_reqs", alias = "load")]
    num_reqs: Figure,
    num_running_reqs: Figure,
    num_waiting_reqs: Figure,
    #[serde(alias = "num_waiting_tokens", alias = "queued_tokens")]
    num_waiting_uncached_tokens: Figure,
    #[serde(alias = "kv_usage")]
    token_usage: Figure,
    #[serde(alias = "throughput")]
    gen_throughput: Figure,
    max_total_num_tokens: Figure,
    max_running_requests: Figure,
}

/// A list inside an object.
#[derive(Debug, Deserialize)]
struct Wrapped {
    loads: Option<Bounded<Rank>>,
}

/// A list of ranks, one rank, or a list inside an object.
fn load(body: &[u8]) -> Option<Reading> {
    let ranks = match body.trim_ascii_start().first()? {
        b'[' => serde_json::from_slice::<Bounded<Rank>>(body).ok()?.0,
        _ => match serde_json::from_slice::<Wrapped>(body).ok()?.loads {
            Some(ranks) => ranks.0,
            None => vec![serde_json::from_slice(body).ok()?],
        },
    };
    let mut sceptic = Sceptic::default();
    let ranks: Vec<RankLoad> =
        (0..).zip(&ranks).map(|(place, rank)| rank.load(place, &mut sceptic)).collect();
    let is_load = ranks.iter().any(|rank| rank.running.is_some() || rank.waiting.is_some());
    (is_load || sceptic.nonsense).then_some(Reading { ranks, nonsense: sceptic.nonsense })
}

impl Rank {
    fn load(&self, place: u32, sceptic: &mut Sceptic) -> RankLoad {
        let waiting = sceptic.count(self.num_waiting_reqs);
        let running = sceptic.count(self.num_running_reqs);
        let all = sceptic
            .count(self.num_reqs)
            .filter(|_| waiting.is_some() || self.num_waiting_reqs == Figure::Absent);
        RankLoad {
            rank: match (self.dp_rank, sceptic.count(self.dp_rank)) {
                (Figure::Absent, _) => place,
                (_, number) => number.unwrap_or(RankLoad::NOBODYS),
            },
            // Without the number of those that wait it is at most that.
            running: running.or_else(|| all.map(|all| all.saturating_sub(waiting.unwrap_or(0)))),
            waiting,
            queued_tokens: sceptic.count(self.num_waiting_uncached_tokens),
            kv_usage: sceptic.share(self.token_usage),
            throughput: sceptic.rate(self.gen_throughput),
            generated: None,
            kv_capacity_tokens: sceptic.size(self.max_total_num_tokens),
            block_size: None,
            max_running_requests: sceptic.size(self.max_running_requests),
        }
    }
}

/// What is read of some hundred settings.
#[derive(Debug, Deserialize)]
struct ServerInfo {
    /// Every version has it.
    #[serde(rename = "model_path")]
    _model_path: String,
    /// And vLLM's endpoint of the same name has not.
    #[serde(rename = "tp_size")]
    _tp_size: serde::de::IgnoredAny,
    version: Option<Version>,
    #[serde(default)]
    page_size: Figure,
    #[serde(default)]
    max_total_num_tokens: Figure,
    #[serde(default)]
    dp_size: Figure,
}

fn identity(body: &[u8]) -> Option<Identity> {
    let info: ServerInfo = serde_json::from_slice(body).ok()?;
    let mut sceptic = Sceptic::default();
    let ranks = RankCount::of(info.dp_size);
    let count = if let RankCount::Known(count) = ranks { count } else { 1 };
    Some(Identity {
        ranks,
        is_sure: true,
        version: info.version.and_then(Version::shown),
        facts: EngineFacts {
            kv_capacity_tokens: sceptic
                .size(info.max_total_num_tokens)
                .and_then(|tokens| tokens.checked_mul(count)),
            block_size: sceptic.size(info.page_size),
            // The setting is often null, and each report tells what holds.
            ..EngineFacts::UNKNOWN
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 0.5.23 answers.
    const CORE: &str = r#"{"timestamp": "2026-11-27T07:00:00+00:00", "version": "0.5.23", "accelerator": "cpu",
        "num_accelerators": 1, "loads": [{"timestamp": 7.5, "dp_rank": 0, "num_running_reqs": 3, "num_waiting_reqs": 2,
        "num_waiting_uncached_tokens": 70, "num_used_tokens": 100, "num_total_tokens": 170, "num_active_tokens": 170,
        "num_prealloc_ready_tokens": 0, "max_total_num_tokens": 65536, "max_running_requests": 48, "token_usage": 0.25,
        "gen_throughput": 9.5, "cache_hit_rate": 0.0, "utilization": 0.0, "total_prefill_uncached_tokens": 9,
        "total_prefill_busy_us": 9, "decode_moments": null}, {"dp_rank": 1, "num_running_reqs": 1, "num_waiting_reqs": 0,
        "num_waiting_uncached_tokens": 0, "max_total_num_tokens": 65536, "max_running_requests": 48, "token_usage": 0.75,
        "gen_throughput": 1.0}]}"#;

    #[test]
    fn core_of_v1_loads_is_read_by_rank() {
        let reading = load(CORE.as_bytes()).unwrap();
        assert!(!reading.nonsense);
        let ranks: Vec<_> =
            reading.ranks.iter().map(|rank| (rank.rank, rank.running, rank.queued_tokens)).collect();
        assert_eq!(ranks, [(0, Some(3), Some(70)), (1, Some(1), Some(0))]);
        let report = reading.report();
        assert_eq!((report.running, report.waiting, report.queued_tokens), (4, 2, 70));
        assert!((report.kv_usage - 0.5).abs() < 1e-6 && (report.throughput - 10.5).abs() < 1e-6);
        let facts = reading.facts();
        assert_eq!((facts.kv_capacity_tokens, facts.max_running_requests), (Some(131_072), Some(96)));
    }

    #[test]
    fn all_that_a_worker_can_say_of_itself_is_read() {
        let known = serde_json::to_value(load(CORE.as_bytes()).unwrap().report().known()).unwrap();
        let unknown = known.as_object().unwrap().iter().filter(|(_, value)| value.is_null());
        let unknown: Vec<&str> = unknown.map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            unknown,
            ["latency_ms", "load_elsewhere", "report_age_ms"],
            "what a worker says has a key in `Rank`"
        );
    }

    #[test]
    fn forms_of_earlier_versions_are_read_too() {
        let read = |body: &str| load(body.as_bytes()).unwrap().report();
        let report = read(
            r#" [{"dp_rank": 0, "num_reqs": 5, "num_waiting_reqs": 2, "num_tokens": 100, "token_usage": 0.5},
                 {"dp_rank": 1, "num_reqs": 1, "num_waiting_reqs": 0, "num_tokens": 10, "token_usage": 0.7}]"#,
        );
        assert_eq!((report.running, report.waiting, report.queued_tokens), (4, 2, -1));
        assert!((report.kv_usage - 0.6).abs() < 1e-6 && report.throughput.is_nan());
        assert_eq!(read(r#"{"load": 7}"#).running, 7);
        assert_eq!(read(r#"{"num_running_reqs": 3, "num_waiting_tokens": 70}"#).queued_tokens, 70);
    }

    #[test]
    fn nonsense_is_unknown_and_the_rest_is_read() {
        let extremes = format!(
            r#"[{{"num_reqs": {min}, "num_waiting_reqs": 4, "token_usage": 1e300}}, {{"num_running_reqs": {max}, "num_waiting_reqs": "3"}}]"#,
            min = i64::MIN,
            max = i64::MAX
        );
        let reading = load(extremes.as_bytes()).unwrap();
        assert!(reading.nonsense);
        let report = reading.report();
        assert_eq!((report.running, report.waiting), (-1, 4));
        assert!(report.kv_usage.is_nan());
    }

    #[test]
    fn anything_else_is_no_report() {
        let many = format!("[{}{{\"load\": 1}}]", "{\"load\": 1},".repeat(5000));
        for other in ["", "not json", "7", "[7]", "{}", "[]", r#"{"loads": 7}"#, r#"{"data": []}"#, &many] {
            assert_eq!(load(other.as_bytes()), None, "{other:.40}");
        }
    }

    #[test]
    fn rank_is_named_as_the_version_reads_it() {
        let both = ["0.5.9.post2", "0.4.10", "x", ""];
        assert!(both.iter().all(|version| rank_fields(Some(version)) == RankFields::Both));
        assert_eq!(rank_fields(None), RankFields::Both);
        let new = ["0.5.10", "0.5.10rc1", "0.5.23+cu130", "0.6", "1"];
        assert!(new.iter().all(|version| rank_fields(Some(version)) == RankFields::Routed));
    }

    #[test]
    fn server_says_who_it_is() {
        let info = r#"{"model_path": "/m", "tp_size": 1, "page_size": 16, "dp_size": 2, "max_total_num_tokens": 65536,
            "max_running_requests": null, "internal_states": [{"a": [1]}], "kv_events": null, "version": "0.5.23"}"#;
        let identity = identity(info.as_bytes()).unwrap();
        assert!(identity.is_sure);
        assert_eq!(identity.version.as_deref(), Some("0.5.23"));
        assert_eq!((identity.facts.block_size, identity.facts.kv_capacity_tokens), (Some(16), Some(131_072)));
        assert_eq!(identity.ranks, RankCount::Known(2));
        let odd = r#"{"model_path": "/m", "tp_size": 1, "page_size": -16, "version": {"a": 1}}"#;
        let odd = super::identity(odd.as_bytes()).unwrap();
        assert_eq!((odd.version, odd.facts), (None, EngineFacts::UNKNOWN));
        for other in ["{}", r#"{"vllm_config": {}, "vllm_env": {}}"#, "[]"] {
            assert_eq!(super::identity(other.as_bytes()), None, "{other}");
        }
    }
}
