//! What is known of an engine: the numbers of the model.

use serde::{Deserialize, Serialize};

use crate::engine::number_range::NumberRange;
use crate::engine::worker_event::{WorkerEvent, WorkerEvents};
use sglang_router_rs::types::shown_number;

/// The numbers of the model, as a TOML file has them. What a file leaves out has its default: a model of
/// 70 billion parameters on an instance of eight accelerators, in blocks of 512 tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineModel {
    /// Milliseconds that each step takes, whatever is in it. Default: 12.
    pub step_ms: f64,
    /// Milliseconds more for each sequence that decodes in it. Default: 0.05.
    pub sequence_ms: f64,
    /// Nanoseconds more for each token of the context of these sequences. Default: 29.
    pub context_token_ns: f64,
    /// Prompt tokens that are processed in a second, but for attention. Default: 10,000.
    pub prompt_tokens_per_second: f64,
    /// Tokens before a prompt token at which attention to them takes as long as all else of it: parameters
    /// / (2 · layers · width). 0 = attention takes no time. Default: 53,000.
    pub attention_tokens: f64,
    /// Milliseconds more for each prompt of which a part is in a step. Default: 0.
    pub prompt_ms: f64,
    /// Milliseconds that a request is on its way, before the engine has it or after: HTTP, and what is done
    /// with its text. They occupy nothing. Default: 0.
    pub request_ms: f64,
    /// Nanoseconds more of them for each token of its prompt. Default: 0.
    pub request_token_ns: f64,
    /// Prompt tokens in a step at most. Default: 2048.
    pub chunk_tokens: u32,
    /// Sequences that are processed at a time at most; others wait. Default: 256.
    pub max_sequences: u32,
    /// Blocks of the KV cache. Default: 2000.
    pub kv_blocks: u32,
    /// Tokens of a block. Default: 512.
    pub block_tokens: u32,
    /// Whether blocks of prompts are kept for those that begin alike. Default: true.
    pub prefix_cache: bool,
    /// Who of those that wait is next. Default: `fcfs`.
    pub order: QueueOrder,
    /// What the router hears of its load. Default: `vllm`.
    pub reports: ReportedLoad,
    /// Whether the router hears which blocks are computed and evicted. Default: false.
    pub kv_events: bool,
    /// Milliseconds after which it hears that. Default: 10.
    pub kv_events_delay_ms: f64,
    /// Data-parallel ranks of a worker: engines of their own, each a candidate. All numbers are those of one
    /// rank. Default: 1.
    pub ranks: u32,
    /// Workers that serve requests in pairs. Default: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairModel>,
    /// What befalls workers. Default: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<WorkerEvent>,
}

/// Workers of which some process prompts and the others generate answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairModel {
    /// How many process prompts: the first ones.
    pub prefill: u32,
    /// How many generate answers.
    pub decode: u32,
    /// Milliseconds from the end of a prompt until what was computed of it is where its answer is
    /// generated. Default: 5.
    #[serde(default = "transfer_ms")]
    pub transfer_ms: f64,
    /// Tokens of a prompt that go over in a second besides; 0 = all at once. Default: 200,000.
    #[serde(default = "transfer_tokens_per_second")]
    pub transfer_tokens_per_second: f64,
    /// Milliseconds more where the two workers differ in their label `zone`. Default: 0.
    #[serde(default)]
    pub other_zone_ms: f64,
}

fn transfer_ms() -> f64 {
    5.0
}

fn transfer_tokens_per_second() -> f64 {
    200_000.0
}

impl PairModel {
    /// Seconds that a prompt needs from one worker to the other, which may be in another zone.
    pub(crate) fn transfer(&self, prompt_tokens: u32, is_apart: bool) -> f64 {
        let rate = self.transfer_tokens_per_second;
        let apart = if is_apart { self.other_zone_ms } else { 0.0 };
        (self.transfer_ms + apart) / 1e3 + if rate > 0.0 { f64::from(prompt_tokens) / rate } else { 0.0 }
    }
}

/// Who of those that wait is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// Who came first. The default.
    #[default]
    Fcfs,
    /// Who has the fewest prompt tokens that the cache did not hold when it came.
    ShortestFirst,
    /// Who has the highest ratio of the time since it came to the time that its prompt takes.
    Hrrn,
}

/// What an engine tells the router of its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedLoad {
    /// Nothing.
    None,
    /// `running`, `waiting`, `kv_usage`, `throughput`. The default.
    #[default]
    Vllm,
    /// The same and `queued_tokens`.
    Sglang,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// It is not the TOML that it should be.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// An event is not what it should be.
    #[error("events: {0}")]
    Event(&'static str),
    /// A number is out of its range.
    #[error("{key} is {}; allowed: {allowed}", shown_number(*found))]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        found: f64,
        /// What would do.
        allowed: String,
    },
}

impl Default for EngineModel {
    fn default() -> Self {
        Self {
            step_ms: 12.0,
            sequence_ms: 0.05,
            context_token_ns: 29.0,
            prompt_tokens_per_second: 10_000.0,
            attention_tokens: 53_000.0,
            prompt_ms: 0.0,
            request_ms: 0.0,
            request_token_ns: 0.0,
            chunk_tokens: 2048,
            max_sequences: 256,
            kv_blocks: 2000,
            block_tokens: 512,
            prefix_cache: true,
            order: QueueOrder::default(),
            reports: ReportedLoad::default(),
            kv_events: false,
            kv_events_delay_ms: 10.0,
            ranks: 1,
            pairs: None,
            events: Vec::new(),
        }
    }
}

impl WorkerEvents {
    /// Reads a file; whether its events are such as can be, [`check`](crate::fleet::FleetSetup::check) says.
    ///
    /// # Errors
    ///
    /// [`ModelError::Toml`].
    pub fn from_toml(text: &str) -> Result<Self, ModelError> {
        Ok(toml::from_str(text)?)
    }
}

impl EngineModel {
    /// Reads and checks a model.
    ///
    /// # Errors
    ///
    /// [`ModelError`] names the key.
    pub fn from_toml(text: &str) -> Result<Self, ModelError> {
        toml::from_str::<Self>(text)?.checked()
    }

    /// The same model, if each number is in its range.
    ///
    /// # Errors
    ///
    /// [`ModelError::Range`].
    pub fn checked(self) -> Result<Self, ModelError> {
        let counts = [
            ("chunk_tokens", self.chunk_tokens),
            ("max_sequences", self.max_sequences),
            ("kv_blocks", self.kv_blocks),
            ("block_tokens", self.block_tokens),
        ];
        for (key, found) in counts {
            within(key, found.into(), (1..=100_000_000).contains(&found), "1 to 100000000")?;
        }
        within("ranks", self.ranks.into(), (1..=256).contains(&self.ranks), "1 to 256")?;
        if let Some(pairs) = self.pairs {
            for (key, found) in [("pairs.prefill", pairs.prefill), ("pairs.decode", pairs.decode)] {
                within(key, found.into(), (1..=10_000).contains(&found), "1 to 10000")?;
            }
        }
        for range in NumberRange::ALL {
            if let Some(found) = self.number(range.key) {
                within(range.key, found, range.allows(found), &range.said())?;
            }
        }
        match self.events.iter().find_map(WorkerEvent::fault) {
            Some(fault) => Err(ModelError::Event(fault)),
            None => Ok(self),
        }
    }

    /// The number under a key of [`NumberRange::ALL`]; `None` of pairs that there are not.
    fn number(&self, key: &str) -> Option<f64> {
        match key {
            "step_ms" => Some(self.step_ms),
            "sequence_ms" => Some(self.sequence_ms),
            "context_token_ns" => Some(self.context_token_ns),
            "prompt_tokens_per_second" => Some(self.prompt_tokens_per_second),
            "attention_tokens" => Some(self.attention_tokens),
            "prompt_ms" => Some(self.prompt_ms),
            "request_ms" => Some(self.request_ms),
            "request_token_ns" => Some(self.request_token_ns),
            "kv_events_delay_ms" => Some(self.kv_events_delay_ms),
            "pairs.transfer_ms" => self.pairs.map(|pairs| pairs.transfer_ms),
            "pairs.other_zone_ms" => self.pairs.map(|pairs| pairs.other_zone_ms),
            "pairs.transfer_tokens_per_second" => self.pairs.map(|pairs| pairs.transfer_tokens_per_second),
            _ => None,
        }
    }

    /// The nearest number to this one that may stand under a key.
    pub(crate) fn nearest_allowed(key: &str, number: f64) -> f64 {
        let range = NumberRange::ALL.into_iter().find(|range| range.key == key);
        range.map_or(number, |range| range.nearest(number))
    }

    /// Tokens that the KV cache holds.
    pub fn kv_tokens(&self) -> u32 {
        self.kv_blocks.saturating_mul(self.block_tokens)
    }
}

fn within(key: &'static str, found: f64, is_fine: bool, allowed: &str) -> Result<(), ModelError> {
    if is_fine { Ok(()) } else { Err(ModelError::Range { key, found, allowed: allowed.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_may_leave_out_what_has_a_default_but_not_misspell_it() {
        let model = EngineModel::from_toml("kv_blocks = 10\norder = \"hrrn\"\nreports = \"sglang\"").unwrap();
        let expected = EngineModel {
            kv_blocks: 10,
            order: QueueOrder::Hrrn,
            reports: ReportedLoad::Sglang,
            ..EngineModel::default()
        };
        assert_eq!(model, expected);
        assert!(EngineModel::from_toml("kv_block = 10").unwrap_err().to_string().contains("kv_block"));
    }

    #[test]
    fn number_out_of_range_is_named() {
        let rows = [
            ("chunk_tokens = 0", "chunk_tokens is 0; allowed: 1 to 100000000"),
            ("step_ms = 0.0", "step_ms is 0; allowed: 0.001 to 1000000"),
            ("step_ms = 1e300", "step_ms is 1e300; allowed: 0.001 to 1000000"),
            ("attention_tokens = 1e-300", "attention_tokens is 1e-300; allowed: 0, or 1 to 1000000000"),
            ("context_token_ns = 1e7", "context_token_ns is 10000000; allowed: 0 to 1000000"),
            ("request_token_ns = nan", "request_token_ns is NaN; allowed: 0 to 1000000"),
            (
                "[pairs]\nprefill = 1\ndecode = 1\ntransfer_tokens_per_second = 1e-9",
                "pairs.transfer_tokens_per_second is 1e-9; allowed: 0, or 1 to 1000000000000",
            ),
            ("ranks = 0", "ranks is 0; allowed: 1 to 256"),
            ("[pairs]\nprefill = 1\ndecode = 0", "pairs.decode is 0; allowed: 1 to 10000"),
            ("[[events]]\nat = 1\nworkers = []\nwhat = \"hang\"", "events: workers: allowed: a list"),
            (
                "[[events]]\nat = 1\nworkers = [0]\nwhat = \"slow\"",
                "events: speed: allowed: 0.001 to 1000, for",
            ),
            ("[[events]]\nat = 1\nworkers = [0]\nwhat = \"leave\"\nsecs = 3", "events: secs: allowed:"),
            ("[[events]]\nat = 1\nworkers = [0]\nwhat = \"crash\"\nshare = 0.5", "events: share: allowed:"),
            ("sequence_ms = -1.0", "sequence_ms is -1; allowed: 0 to 1000000"),
            ("prompt_tokens_per_second = 0.0", "prompt_tokens_per_second is 0; allowed: 1 to"),
            ("prompt_tokens_per_second = 1e-300", "prompt_tokens_per_second is 1e-300; allowed: 1 to"),
        ];
        let wrong: Vec<_> = rows
            .into_iter()
            .map(|(text, message)| (text, message, EngineModel::from_toml(text).map(drop)))
            .map(|(text, message, told)| (text, message, told.map_err(|error| error.to_string())))
            .filter(|(_, message, told)| !told.as_ref().is_err_and(|error| error.starts_with(message)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn each_number_has_a_range_that_its_default_is_in() {
        let pairs = "[pairs]\nprefill = 1\ndecode = 1";
        let model = EngineModel::from_toml(pairs).unwrap();
        for range in NumberRange::ALL {
            let number = model.number(range.key).expect(range.key);
            assert_eq!(EngineModel::nearest_allowed(range.key, number), number, "{}", range.key);
            for far in [-1.0, 1e-300, 1e300] {
                let nearest = EngineModel::nearest_allowed(range.key, far);
                assert!(range.allows(nearest), "{}: {far} {nearest}", range.key);
            }
        }
    }
}
