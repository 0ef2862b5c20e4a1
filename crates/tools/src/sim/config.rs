//! What an operator or a test may choose, and the check of it.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use crate::sim::dialect::Dialect;
use crate::sim::prompt_reader::TOKENS_PER_BLOCK;
use sgl_upstream::PemFault;
use sglang_router_rs::core::WorkerRole;

/// Bound on counts: far beyond any real batch, and small enough to add up.
const MILLION: usize = 1_000_000;

/// Settings of one simulated worker. [`SimWorker::start`](crate::sim::SimWorker::start) checks
/// them; the ranges below are what it accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// Address or host name to listen on. Default `127.0.0.1`.
    pub host: String,
    /// TCP port; 0 lets the system pick one. Default 0.
    pub port: u16,
    /// The one model that is served; requests for another get 404. Not empty. Default `sim-model`.
    pub model: String,
    /// Seed of output lengths, words, jitter and failures. Default 0.
    pub seed: u64,
    /// Name of this worker: sent as header `x-sim-worker` and as `system_fingerprint`. Visible
    /// ASCII, not empty. Default `sim-worker`.
    pub worker_id: String,
    /// Which half of a request is done here. Default [`WorkerRole::Regular`].
    pub role: WorkerRole,
    /// Time of a prefill of no token. Default 4 ms.
    pub prefill_base: Duration,
    /// Prompt tokens that are prefilled in a second, above 0. Default 16,000. Prefills run one
    /// after another, as on one accelerator.
    pub prefill_tokens_per_second: f64,
    /// Time of a decode step of a batch of one; a batch of 64 takes about twice that. Default
    /// 10 ms.
    pub decode_step: Duration,
    /// Requests in the batch, 1 to 1,000,000. Default 64.
    pub max_running: usize,
    /// Requests that may wait for a place in the batch; further ones get 503. 0 to 1,000,000.
    /// Default 1024.
    pub max_queued: usize,
    /// Capacity of the prefix cache in tokens, rounded down to blocks; 0 switches the cache
    /// off, which also saves hashing every prompt. Default 262,144.
    pub cache_tokens: usize,
    /// Tokens per block of the prefix cache, 1 to 4096. Default 16.
    pub block_tokens: usize,
    /// Mean length of an answer whose request names no `max_tokens`, 1 to 1,000,000 tokens.
    /// Default 64. (With `max_tokens`, an answer has exactly that length.)
    pub default_tokens: u32,
    /// Longest prompt plus answer, in tokens, at least 1. Default 131,072.
    pub context_tokens: u32,
    /// Share by which each modelled time may be shorter or longer, 0 to 1. Default 0.05.
    pub jitter: f64,
    /// Factor on all modelled times, 0 to 1000. 0: answers at once, and sets no timer. Default 1.
    pub time_scale: f64,
    /// Share of requests that fail, 0 to 1. Default 0.
    pub fail_rate: f64,
    /// HTTP status of those failures, 400 to 599. Default 500.
    pub fail_status: u16,
    /// A stream sends this many chunks and then nothing more until its client goes away. Default
    /// none.
    pub stall_after: Option<u64>,
    /// How long a shutdown waits for running requests before it cuts them off. Default 5 s. With
    /// [`Dialect::Vllm`] they are not cut off then, but hear nothing more.
    pub shutdown_grace: Duration,
    /// The engine that is spoken like. Default none: SGLang's endpoints of 2025, with errors in OpenAI's
    /// form.
    pub engine: Option<Dialect>,
    /// Data-parallel ranks, each with a batch, a queue and a cache as configured, 1 to 64. Default 1; more
    /// need [`Dialect::Sglang`] or [`Dialect::Vllm`].
    pub dp_size: usize,
    /// Where changes of the prefix caches are published: `auto` for free ports of `host`, or
    /// `tcp://HOST:PORT` with an address or `*`, for rank 0; each further rank is a port further, and after
    /// them all come as many ports to ask for missed batches at. Needs an engine that has events. Default
    /// none.
    pub kv_events: Option<String>,
    /// Certificate in PEM, its own first and those of its issuers behind it, to speak TLS with; together with
    /// `tls_key`. Default none: no TLS.
    pub tls_cert: Option<PathBuf>,
    /// Its key in PEM. Default none.
    pub tls_key: Option<PathBuf>,
    /// Loads are pushed too, at the ports after those of `kv_events`. SGLang only. Default no.
    pub push_load: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            model: "sim-model".to_owned(),
            seed: 0,
            worker_id: "sim-worker".to_owned(),
            role: WorkerRole::Regular,
            prefill_base: Duration::from_millis(4),
            prefill_tokens_per_second: 16_000.0,
            decode_step: Duration::from_millis(10),
            max_running: 64,
            max_queued: 1024,
            cache_tokens: 262_144,
            block_tokens: TOKENS_PER_BLOCK,
            default_tokens: 64,
            context_tokens: 131_072,
            jitter: 0.05,
            time_scale: 1.0,
            fail_rate: 0.0,
            fail_status: 500,
            stall_after: None,
            shutdown_grace: Duration::from_secs(5),
            engine: None,
            dp_size: 1,
            kv_events: None,
            tls_cert: None,
            tls_key: None,
            push_load: false,
        }
    }
}

impl SimConfig {
    /// Capacity of the prefix cache in blocks; 0 if there is none.
    pub(crate) fn cache_blocks(&self) -> usize {
        self.cache_tokens / self.block_tokens.max(1)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`SimError::Config`] with all faults at once.
    pub(crate) fn check(&self) -> Result<(), SimError> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let mut faults = Vec::new();
        if self.model.is_empty() {
            faults.push("model is empty".to_owned());
        }
        if !visible(&self.worker_id) {
            faults.push(format!("worker-id is {:?}: expected visible ASCII", self.worker_id));
        }
        let rate = self.prefill_tokens_per_second;
        if !(rate.is_finite() && rate > 0.0) {
            faults.push(format!("prefill-tokens-per-second is {rate}: expected more than 0"));
        }
        if self.context_tokens == 0 {
            faults.push("context-tokens is 0: expected at least 1".to_owned());
        }
        let length = usize::try_from(self.default_tokens).unwrap_or(usize::MAX);
        let ranges = [
            range("max-running", self.max_running, 1, MILLION),
            range("max-queued", self.max_queued, 0, MILLION),
            range("block-size", self.block_tokens, 1, 4096),
            range("dp-size", self.dp_size, 1, 64),
            range("default-tokens", length, 1, MILLION),
            range("jitter", self.jitter, 0.0, 1.0),
            range("time-scale", self.time_scale, 0.0, 1000.0),
            range("fail-rate", self.fail_rate, 0.0, 1.0),
            range("fail-status", self.fail_status, 400, 599),
        ];
        faults.extend(ranges.into_iter().flatten());
        faults.extend(self.faults_of_engine());
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => faults.push("tls-cert is set: expected tls-key too".to_owned()),
            (None, Some(_)) => faults.push("tls-key is set: expected tls-cert too".to_owned()),
            _ => {}
        }
        if faults.is_empty() { Ok(()) } else { Err(SimError::Config { faults }) }
    }

    /// What the engine does not have.
    fn faults_of_engine(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let has_ranks = matches!(self.engine, Some(Dialect::Sglang | Dialect::Vllm));
        if self.dp_size > 1 && !has_ranks {
            faults.push("dp-size is above 1: expected engine sglang or vllm".to_owned());
        }
        if let Some(endpoint) = &self.kv_events {
            if !has_ranks {
                faults.push("kv-events is set: expected engine sglang or vllm".to_owned());
            }
            if self.cache_blocks() == 0 {
                faults.push("kv-events is set, but there is no prefix cache".to_owned());
            }
            if kv_address(endpoint, &self.host).is_none() {
                faults.push(format!("kv-events is {endpoint:?}: expected auto or tcp://HOST:PORT"));
            }
        }
        if self.push_load && (self.engine != Some(Dialect::Sglang) || self.kv_events.is_none()) {
            faults.push("push-load is set: expected engine sglang and kv-events".to_owned());
        }
        faults
    }
}

/// Host and port that an endpoint is bound to; port 0 is any.
pub(crate) fn kv_address<'a>(endpoint: &'a str, own_host: &'a str) -> Option<(&'a str, u16)> {
    if endpoint == "auto" {
        return Some((own_host, 0));
    }
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = if host == "*" { "0.0.0.0" } else { host };
    (!host.is_empty()).then_some((host, port))
}

/// The fault of a value outside its range; NaN is outside of every range.
fn range<T: PartialOrd + fmt::Display>(name: &str, value: T, low: T, high: T) -> Option<String> {
    if value >= low && value <= high {
        return None;
    }
    Some(format!("{name} is {value}: expected {low} to {high}"))
}

/// Why a simulated worker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// Settings out of range.
    #[error("bad settings of the simulated worker: {}", faults.join("; "))]
    Config {
        /// Every fault: what was found and what was expected.
        faults: Vec<String>,
    },
    /// Files of TLS that cannot be used.
    #[error("bad TLS of the simulated worker")]
    Tls(#[from] PemFault),
    /// The address could not be listened on.
    #[error("cannot listen on {host}:{port}")]
    Bind {
        /// The address or host name asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_the_check() {
        SimConfig::default().check().unwrap();
    }

    #[test]
    fn check_reports_all_faults_at_once() {
        let config = SimConfig {
            worker_id: "two words".to_owned(),
            prefill_tokens_per_second: 0.0,
            max_running: 0,
            fail_rate: 1.5,
            time_scale: f64::NAN,
            fail_status: 200,
            tls_key: Some("key.pem".into()),
            ..SimConfig::default()
        };
        let message = config.check().unwrap_err().to_string();
        for name in [
            "worker-id",
            "prefill-tokens-per-second",
            "max-running",
            "fail-rate is 1.5",
            "time-scale",
            "fail-status is 200",
            "tls-key is set: expected tls-cert too",
        ] {
            assert!(message.contains(name), "{name} is missing in: {message}");
        }
    }

    #[test]
    fn role_reads_what_it_prints() {
        for role in [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("both".parse::<WorkerRole>().unwrap_err().contains("both"));
    }

    #[test]
    fn what_an_engine_does_not_have_is_refused() {
        let config = SimConfig {
            engine: Some(Dialect::LlamaCpp),
            dp_size: 2,
            kv_events: Some("udp://x".to_owned()),
            push_load: true,
            ..SimConfig::default()
        };
        let message = config.check().unwrap_err().to_string();
        for part in ["dp-size is above 1", "kv-events is set", "kv-events is \"udp://x\"", "push-load"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
        let endpoint = Some("tcp://*:5557".to_owned());
        SimConfig { engine: Some(Dialect::Vllm), dp_size: 2, kv_events: endpoint, ..SimConfig::default() }
            .check()
            .unwrap();
    }

    #[test]
    fn kv_address_reads_what_engines_read() {
        assert_eq!(kv_address("auto", "127.0.0.1"), Some(("127.0.0.1", 0)));
        assert_eq!(kv_address("tcp://*:5557", "x"), Some(("0.0.0.0", 5557)));
        assert_eq!(kv_address("tcp://[::1]:5557", "x"), Some(("::1", 5557)));
        for endpoint in ["tcp://*", "tcp://*:0", "tcp://:5", "ipc:///x", "tcp://*:70000"] {
            assert_eq!(kv_address(endpoint, "x"), None, "{endpoint}");
        }
    }
}
