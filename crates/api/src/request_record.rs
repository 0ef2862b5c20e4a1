//! What was decided for one request and what came of it, as it is written and shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use sglang_router_rs::core::{BookNumbers, EngineFacts, WorkerRole};

/// The decisions of one request and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RequestRecord {
    /// The client's `x-request-id`, or one that was made up.
    pub request_id: String,
    /// When the request's head was read: milliseconds since 1970, UTC.
    pub time_unix_ms: u64,
    /// Which endpoint, as in metrics.
    pub route: String,
    /// The policy that places requests.
    pub policy: String,
    /// How much was recorded of what policies may know. Missing: what the policy declared.
    #[serde(default, skip_serializing_if = "RecordedInputs::is_declared")]
    pub inputs: RecordedInputs,
    /// One, and one more for each retry on other workers.
    pub decisions: Vec<DecisionRecord>,
    /// What came of the request.
    pub outcome: OutcomeRecord,
}

/// How much is recorded of what policies may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RecordedInputs {
    /// What the policy declared: nothing else is worked out. The default.
    #[default]
    Declared,
    /// All that can be recorded without the text of requests.
    All,
}

impl RecordedInputs {
    /// True for what policies declared.
    pub fn is_declared(&self) -> bool {
        *self == Self::Declared
    }
}

/// The newest records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DecisionList {
    /// Newest first.
    pub decisions: Vec<RequestRecord>,
}

/// Who made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// A native policy, as configured.
    Native,
    /// The plugin.
    Plugin,
    /// The fallback policy, because the plugin failed.
    Fallback,
    /// Nobody: there is no decision.
    Nobody,
}

impl DecidedBy {
    /// The name that records and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Plugin => "plugin",
            Self::Fallback => "fallback",
            Self::Nobody => "nobody",
        }
    }
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DecisionRecord {
    /// Who decided.
    pub chooser: DecidedBy,
    /// The generation of the plugin that decided, or whose failure it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Why the plugin did not decide: a cause as in metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_detail: Option<String>,
    /// What was known of the request, as far as the policy wanted to know it.
    #[serde(default, skip_serializing_if = "RequestFactsRecord::is_empty")]
    pub request: RequestFactsRecord,
    /// The version of the worker table that was decided on.
    pub table_version: u64,
    /// How many workers it had.
    pub workers: usize,
    /// Its workers just before the decision: the first 256 and those that were chosen.
    pub candidates: Vec<CandidateRecord>,
    /// Indexes of the chosen workers: one, or prefill and decode; empty if nobody was chosen.
    pub chosen: Vec<usize>,
    /// How the plugin had the request wait, if it did: the last of such answers in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitRecord>,
    /// After how many milliseconds the client may come again, if the plugin refused the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_retry_after_ms: Option<u64>,
    /// What the plugin gave as its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The plugin's own name for the request, from its answer; of a pair, that of its prefill worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// What the request costs the chosen worker until its first token, from the plugin's answer and in its
    /// unit; of a pair, the prefill worker. Left out for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f32>,
    /// The tag of a pair's decode worker, if it has another than its prefill worker: two answers chose
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tag: Option<u64>,
    /// The cost of a pair's decode worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_cost: Option<f32>,
    /// Nanoseconds from the question to the checked choice, waiting included.
    pub cost_ns: u64,
}

/// What was known of a request before a decision. What is not known, or was not wanted, is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RequestFactsRecord {
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Whether they were counted; otherwise they are an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_exact: Option<bool>,
    /// Tokens that may be generated at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// True if the answer was to be a stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Blocks of the prompt that have a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_blocks: Option<usize>,
    /// Requests a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_rate: Option<f32>,
    /// How long the router had held it, in milliseconds; left out for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// How long it could still be held, in milliseconds; 0: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_wait_ms: Option<u64>,
    /// How many requests the router held, this one included if it was; left out for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// Bytes of the prompt's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_bytes: Option<u64>,
    /// Inputs that the policy declared and the request had, but that hold text or a key of the client: by
    /// their names in the manifest (`session`, `field:POINTER`, `query:NAME`, `header:NAME`), without what they
    /// were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// The path of the endpoint; this and all below only where the router records all inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A number that stands for the key of the session, the same for the same key until the router starts
    /// anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The name of the key that the client showed, where clients have keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Tokens of a block of the prompt, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_block_tokens: Option<f32>,
    /// Chained hashes of the prompt's blocks, of the first 1024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix_hashes: Vec<u64>,
}

impl RequestFactsRecord {
    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is known of a worker and rarely changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CandidateFacts {
    /// Its capacity relative to others. Left out for 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: f64,
    /// The model that it serves, if the router knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is known of its engine.
    #[serde(default, skip_serializing_if = "EngineFacts::is_unknown")]
    pub engine: EngineFacts,
}

impl Default for CandidateFacts {
    fn default() -> Self {
        Self { weight: one(), model: None, labels: BTreeMap::new(), engine: EngineFacts::UNKNOWN }
    }
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::float_cmp, reason = "the default is exact")]
fn is_one(weight: &f64) -> bool {
    *weight == one()
}

/// One worker before a decision. Signals that are not known are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CandidateRecord {
    /// Its index in the table.
    pub index: usize,
    /// Its URL.
    pub url: String,
    /// Which part of a request it serves.
    pub role: WorkerRole,
    /// Whether it was healthy.
    pub healthy: bool,
    /// Whether the request admitted it: it serves the model, and was not tried before.
    pub admitted: bool,
    /// Requests in flight to it from this router.
    pub load: usize,
    /// Requests in its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<i32>,
    /// Requests in its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i32>,
    /// Prompt tokens that wait and are in no cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_tokens: Option<i32>,
    /// Share of its KV cache in use, 0.0 to 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_usage: Option<f32>,
    /// Generated tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f32>,
    /// Time to first byte, milliseconds, moving average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f32>,
    /// Milliseconds since it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_age_ms: Option<i32>,
    /// Requests in flight to it from the other routers of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_elsewhere: Option<i32>,
    /// Tokens of the prompt that it was believed to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_match: Option<i32>,
    /// What the router had sent to it, by its own books, if some plugin reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<BookNumbers>,
    /// What the plugin gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// What rarely changes of it, where the router records all inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<CandidateFacts>,
}

/// How a plugin had a request wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WaitRecord {
    /// Its place among those who waited: the smallest was asked first. Missing if it was infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<f64>,
    /// How long it was to wait at the most, in milliseconds; missing: as long as the router lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_ms: Option<u64>,
    /// How many answers in a row said so.
    pub times: u64,
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OutcomeRecord {
    /// How it ended.
    pub end: End,
    /// Status of the answer's head, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// URL of the worker that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// What the client was told instead of a worker's answer, or by an event in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds from the request's head to the first byte of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// Milliseconds from the request's head to the first token: the first event of a streamed answer. Left
    /// out for answers that come whole, and for refusals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// Milliseconds that it waited in the router, for its turn, for workers or for the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// Milliseconds from the request's head to the end.
    pub total_ms: f64,
    /// Tokens of the prompt as the worker counted them; this and the next two only if the policy wants to
    /// know and the answer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Tokens that were generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u32>,
    /// Tokens of the prompt that were in the worker's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u32>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole answer was passed on.
    Complete,
    /// The whole answer was passed on, but an event in it told of an error.
    ErrorEvent,
    /// The worker, or the time limit, broke the answer off.
    BrokeOff,
    /// No worker answered.
    NoAnswer,
    /// The client hung up.
    #[default]
    ClientGone,
}
