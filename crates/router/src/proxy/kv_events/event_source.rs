//! Where an engine publishes: one socket for each data-parallel rank.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::checked::MAX_DP_SIZE;
use sglang_router_rs::types::shown;

/// The longest topic, in bytes.
const MAX_TOPIC_BYTES: usize = 256;

/// Entries that one line of the log names.
const MAX_NAMED: usize = 4;

/// The socket of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventSource {
    /// The rank's number.
    pub(crate) rank: u32,
    /// Where it publishes.
    pub(crate) at: SocketPlace,
    /// Where it is asked for batches that were missed.
    pub(crate) replay: Option<SocketPlace>,
    /// What its messages begin with.
    pub(crate) topic: String,
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketPlace {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
}

/// All that an engine publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Changes of its caches.
    pub(crate) events: Vec<EventSource>,
    /// Its load.
    pub(crate) loads: Vec<EventSource>,
    /// What was told and cannot be read, as the ranks name it.
    pub(crate) unreadable: Vec<String>,
}

impl Sources {
    /// One line in the log, if some of what was told cannot be read; true if so.
    pub(crate) fn warn_of_unreadable(&self, worker: &str, engine: &str) -> bool {
        if self.unreadable.is_empty() {
            return false;
        }
        let first: Vec<String> = self.unreadable.iter().take(MAX_NAMED).map(|rank| shown(rank)).collect();
        tracing::warn!(
            worker,
            engine,
            entries = self.unreadable.len(),
            first = first.join(", "),
            "tells of sockets for KV events that cannot be read: each entry must be a rank's number with an \
             `endpoint` tcp://HOST:PORT; the other entries count"
        );
        true
    }
}

/// One entry of vLLM's answer.
#[derive(Debug, Deserialize)]
struct VllmSource {
    endpoint: Option<String>,
    replay_endpoint: Option<String>,
    #[serde(default)]
    topic: String,
    publisher: Option<String>,
}

/// What vLLM (0.32) answers at `/kv_event_sources`, for the worker at `host`; `None` if that is something else.
pub(crate) fn of_vllm(body: &[u8], host: &str) -> Option<Sources> {
    let answer: BTreeMap<String, Value> = serde_json::from_slice(body).ok()?;
    let mut sources = Sources::default();
    for (rank, entry) in answer {
        match vllm_source(&rank, entry, host) {
            Some(Some(source)) => sources.events.push(source),
            Some(None) => {}
            None => sources.unreadable.push(rank),
        }
    }
    Some(sources)
}

/// The socket of an entry of vLLM's answer; `Some(None)` if it says that it publishes elsewhere or nowhere, `None`
/// if it cannot be read.
fn vllm_source(rank: &str, entry: Value, host: &str) -> Option<Option<EventSource>> {
    let rank = rank.parse().ok().filter(|rank| *rank < MAX_DP_SIZE)?;
    let source = VllmSource::deserialize(entry).ok()?;
    if source.publisher.is_some_and(|publisher| publisher != "zmq") {
        return Some(None);
    }
    let Some(endpoint) = source.endpoint else { return Some(None) };
    let at = SocketPlace::parse(&endpoint, host)?;
    let replay = source.replay_endpoint.and_then(|endpoint| SocketPlace::parse(&endpoint, host));
    Some(Some(EventSource { rank, at, replay, topic: short(source.topic)? }))
}

/// The part of SGLang's `/server_info` (0.5.23) that tells of its sockets.
#[derive(Debug, Deserialize)]
struct SglangInfo {
    kv_events: Option<SglangSources>,
}

#[derive(Debug, Deserialize)]
struct SglangSources {
    publisher: String,
    endpoint_host: String,
    endpoint_port_base: u16,
    #[serde(default)]
    topic: String,
    dp_size: Option<u32>,
    replay_endpoint_port_base: Option<u16>,
    load_endpoint_port_base: Option<u16>,
}

/// What SGLang tells, for the worker at `host`; `None` if the answer is something else.
pub(crate) fn of_sglang(body: &[u8], host: &str) -> Option<Sources> {
    let info: SglangInfo = serde_json::from_slice(body).ok()?;
    let Some(told) = info.kv_events.filter(|told| told.publisher == "zmq") else {
        return Some(Sources::default());
    };
    let advertised = real_host(&told.endpoint_host, host);
    let topic = short(told.topic)?;
    let of_rank = |base: u16, rank: u32, host: &str| {
        let port = u32::from(base).checked_add(rank).and_then(|port| u16::try_from(port).ok())?;
        Some(SocketPlace { host: host.to_owned(), port })
    };
    let ranks = 0..told.dp_size.unwrap_or(1).clamp(1, MAX_DP_SIZE);
    let events = ranks.clone().filter_map(|rank| {
        let at = of_rank(told.endpoint_port_base, rank, &advertised)?;
        let replay = told.replay_endpoint_port_base.and_then(|base| of_rank(base, rank, &advertised));
        Some(EventSource { rank, at, replay, topic: topic.clone() })
    });
    let loads = ranks.filter_map(|rank| {
        // It pushes its load from where it runs, always.
        let at = of_rank(told.load_endpoint_port_base?, rank, host)?;
        Some(EventSource { rank, at, replay: None, topic: String::new() })
    });
    Some(Sources { events: events.collect(), loads: loads.collect(), unreadable: Vec::new() })
}

impl SocketPlace {
    /// `tcp://host:port`; a host that stands for all addresses is the worker's own.
    fn parse(endpoint: &str, own: &str) -> Option<Self> {
        let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(Self { host: real_host(host, own), port })
    }
}

fn real_host(advertised: &str, own: &str) -> String {
    let bare = advertised.trim_start_matches('[').trim_end_matches(']');
    if matches!(bare, "" | "*" | "0.0.0.0" | "::") { own.to_owned() } else { bare.to_owned() }
}

fn short(topic: String) -> Option<String> {
    (topic.len() <= MAX_TOPIC_BYTES).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> SocketPlace {
        SocketPlace { host: host.to_owned(), port }
    }

    #[test]
    fn vllm_tells_a_socket_for_each_rank() {
        let body = br#"{"0": {"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": "tcp://*:5557",
            "replay_endpoint": "tcp://*:5558", "topic": "kv"}, "1": {"endpoint": "tcp://[::1]:5559", "replay_endpoint": null},
            "2": {"endpoint": "ipc:///x"}, "3": {"endpoint": "tcp://h:0"}, "many": {"endpoint": "tcp://h:1"},
            "256": {"endpoint": "tcp://h:1"}, "4": {"endpoint": "tcp://h:1", "publisher": "null"}}"#;
        let sources = of_vllm(body, "w").unwrap();
        let expected = [
            EventSource {
                rank: 0,
                at: place("w", 5557),
                replay: Some(place("w", 5558)),
                topic: "kv".to_owned(),
            },
            EventSource { rank: 1, at: place("::1", 5559), replay: None, topic: String::new() },
        ];
        let unreadable = ["2", "256", "3", "many"].map(str::to_owned).to_vec();
        assert_eq!(sources, Sources { events: expected.to_vec(), loads: Vec::new(), unreadable });
        assert_eq!(of_vllm(b"{}", "w"), Some(Sources::default()));
        assert_eq!(of_vllm(b"[]", "w"), None);
    }

    #[test]
    fn an_odd_entry_leaves_the_others_alone() {
        let good = br#"{"0": {"endpoint": "tcp://h:1"}, "x": 7, "-1": {"endpoint": "tcp://h:2"}, "1": null,
            "2": {"endpoint": ["tcp://h:3"]}}"#;
        let sources = of_vllm(good, "w").unwrap();
        assert_eq!(sources.events.iter().map(|source| source.rank).collect::<Vec<_>>(), [0]);
        assert_eq!(sources.unreadable, ["-1", "1", "2", "x"]);
    }

    #[test]
    fn sglang_counts_ports_up_from_the_first() {
        let body = br#"{"model_path": "m", "kv_events": {"publisher": "zmq", "endpoint_host": "*", "endpoint_port_base": 5557,
            "topic": "", "block_size": 1, "dp_size": 2, "replay_endpoint_port_base": 5600, "load_endpoint_port_base": 65535,
            "load_topic": "load"}}"#;
        let sources = of_sglang(body, "w").unwrap();
        let source = |rank, port, replay| EventSource {
            rank,
            at: place("w", port),
            replay: Some(place("w", replay)),
            topic: String::new(),
        };
        assert_eq!(sources.events, [source(0, 5557, 5600), source(1, 5558, 5601)]);
        let load = EventSource { rank: 0, at: place("w", 65535), replay: None, topic: String::new() };
        assert_eq!(sources.loads, [load], "there is no port above");
        assert_eq!(of_sglang(br#"{"kv_events": null}"#, "w"), Some(Sources::default()));
        assert_eq!(of_sglang(br#"{"kv_events": {"publisher": "zmq"}}"#, "w"), None);
    }
}
