//! What a test says about workers and requests.

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_abi::{Column, Leg, WorkerRole};

/// The worker with a field for each column, at first unknown.
macro_rules! worker {
    ($($column:ident($name:ident): $number:ident = $unknown:expr, $meaning:literal;)+) => {
        /// One worker with its facts and signals.
        #[derive(Clone, Debug, PartialEq)]
        pub struct TestWorker {
            /// Base address.
            pub url: String,
            /// The model that it serves. Default unknown.
            pub model: Option<String>,
            /// Default regular.
            pub role: WorkerRole,
            /// Default 1.0.
            pub weight: f64,
            /// Default none.
            pub labels: Vec<(String, String)>,
            /// Which engine it is. Default unknown.
            pub engine: Option<String>,
            /// Tokens that its KV cache can hold. Default unknown.
            pub kv_capacity_tokens: Option<u32>,
            /// Tokens of a block of that cache. Default unknown.
            pub block_size: Option<u32>,
            /// Requests that it runs at the same time at most. Default unknown.
            pub max_running_requests: Option<u32>,
            /// Which data-parallel rank of its engine it is. Default none: it is an engine of its own.
            pub dp_rank: Option<u32>,
            /// The names under which it serves. Default none: they are not known.
            pub models: Vec<String>,
            /// Default true.
            pub healthy: bool,
            /// Default false.
            pub excluded: bool,
            /// Input `prefix_match`: tokens of the request's prompt that it is believed to hold. Default -1.
            pub prefix_match: i32,
            $(
                #[doc = concat!("Input `", stringify!($name), "`: ", $meaning, ". Default ", stringify!($unknown), ".")]
                pub $name: $number,
            )+
        }

        impl TestWorker {
            /// A healthy idle worker of which nothing else is known.
            #[must_use]
            pub fn new(url: &str) -> Self {
                Self {
                    url: String::from(url),
                    model: None,
                    role: WorkerRole::Regular,
                    weight: 1.0,
                    labels: Vec::new(),
                    engine: None,
                    kv_capacity_tokens: None,
                    block_size: None,
                    max_running_requests: None,
                    dp_rank: None,
                    models: Vec::new(),
                    healthy: true,
                    excluded: false,
                    prefix_match: -1,
                    $($name: $unknown,)+
                }
            }

            /// Its bytes in a column.
            pub(super) const fn number(&self, column: Column) -> [u8; Column::WIDTH] {
                match column {
                    $(Column::$column => self.$name.to_le_bytes(),)+
                }
            }
        }
    };
}

sgl_policy_abi::for_each_column!(worker);

impl TestWorker {
    /// `count` such workers, `http://w0`, `http://w1` and so on.
    #[must_use]
    pub fn fleet(count: usize) -> Vec<Self> {
        (0..count).map(|index| Self::new(&alloc::format!("http://w{index}"))).collect()
    }

    /// Sets the role.
    #[must_use]
    pub fn role(self, role: WorkerRole) -> Self {
        Self { role, ..self }
    }

    /// Sets the weight.
    #[must_use]
    pub fn weight(self, weight: f64) -> Self {
        Self { weight, ..self }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((String::from(name), String::from(value)));
        self
    }

    /// Sets the names under which it serves, adapters (LoRA) among them.
    #[must_use]
    pub fn models(self, names: &[&str]) -> Self {
        Self { models: names.iter().copied().map(String::from).collect(), ..self }
    }

    /// Sets whether it may be chosen.
    #[must_use]
    pub fn healthy(self, healthy: bool) -> Self {
        Self { healthy, ..self }
    }

    /// Sets whether it was tried already.
    #[must_use]
    pub fn excluded(self, excluded: bool) -> Self {
        Self { excluded, ..self }
    }

    /// Sets how many tokens of the request's prompt it is believed to hold.
    #[must_use]
    pub fn prefix_match(self, tokens: i32) -> Self {
        Self { prefix_match: tokens, ..self }
    }

    /// Sets the requests in flight.
    #[must_use]
    pub fn load(self, load: i32) -> Self {
        Self { load, ..self }
    }
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Prompt. Default none.
    pub text: Option<String>,
    /// Token ids. Default none.
    pub tokens: Option<Vec<u32>>,
    /// Tokens of the prompt. Default 0.
    pub prompt_tokens: u64,
    /// Whether they were counted. Default false.
    pub prompt_tokens_exact: bool,
    /// Tokens that may be generated. Default none.
    pub max_tokens: Option<u64>,
    /// Whether the answer is to be a stream. Default false.
    pub stream: bool,
    /// Path of the endpoint. Default none.
    pub route: Option<String>,
    /// Key of the session. Default none.
    pub session: Option<String>,
    /// Name of the client's key. Default none.
    pub client_key: Option<String>,
    /// Hashes of the prompt's blocks. Default none.
    pub prefix_hashes: Option<Vec<u64>>,
    /// Requests a second. Default none, which arrives as NaN.
    pub arrival_rate: Option<f32>,
    /// Fields of the body, by their JSON pointers. Default none.
    pub fields: Vec<(String, String)>,
    /// Parameters of the URL. Default none.
    pub query: Vec<(String, String)>,
    /// Requested model. Default none.
    pub model: Option<String>,
    /// Headers, names in lower case. Default none.
    pub headers: Vec<(String, String)>,
    /// How long the router has held it. Default 0.
    pub waited_ms: u64,
    /// How long it may still hold it. Default 0: the policy cannot have it wait.
    pub may_wait_ms: u64,
    /// How many requests the router holds. Default 0.
    pub held: u64,
    /// Default single.
    pub leg: Leg,
    /// Default: drawn by the harness, the same sequence in each run.
    pub random: Option<u64>,
    /// Default 0.
    pub now_ns: u64,
}

impl Request {
    /// A request of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the prompt.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        Self { text: Some(String::from(text)), ..self }
    }

    /// Sets how many tokens the prompt has, as counted by the router.
    #[must_use]
    pub fn prompt_tokens(self, count: u64) -> Self {
        Self { prompt_tokens: count, prompt_tokens_exact: true, ..self }
    }

    /// Sets the key of the session.
    #[must_use]
    pub fn session(self, key: &str) -> Self {
        Self { session: Some(String::from(key)), ..self }
    }

    /// Sets the name of the client's key.
    #[must_use]
    pub fn client_key(self, name: &str) -> Self {
        Self { client_key: Some(String::from(name)), ..self }
    }

    /// Sets the hashes of the prompt's blocks.
    #[must_use]
    pub fn prefix_hashes(self, hashes: &[u64]) -> Self {
        Self { prefix_hashes: Some(Vec::from(hashes)), ..self }
    }

    /// Adds a field of the body.
    #[must_use]
    pub fn field(mut self, pointer: &str, value: &str) -> Self {
        self.fields.push((String::from(pointer), String::from(value)));
        self
    }

    /// Adds a parameter of the URL.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((String::from(name), String::from(value)));
        self
    }

    /// Sets the requested model.
    #[must_use]
    pub fn model(self, model: &str) -> Self {
        Self { model: Some(String::from(model)), ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((String::from(name), String::from(value)));
        self
    }

    /// Sets how long the router has held it, and how long it may still hold it.
    #[must_use]
    pub fn waiting(self, waited_ms: u64, may_wait_ms: u64) -> Self {
        Self { waited_ms, may_wait_ms, ..self }
    }

    /// Sets the leg.
    #[must_use]
    pub fn leg(self, leg: Leg) -> Self {
        Self { leg, ..self }
    }

    /// Sets the host's randomness.
    #[must_use]
    pub fn random(self, random: u64) -> Self {
        Self { random: Some(random), ..self }
    }
}
