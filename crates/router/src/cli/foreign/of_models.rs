//! Flags about what the other routers do themselves with prompts and answers: this one passes them on.

use crate::cli::foreign::flag::FlagOwner::{Sglang, SglangDocuments, VllmBinary};
use crate::cli::foreign::flag::FlagValues::{Nothing, One};
use crate::cli::foreign::flag::{ForeignFlag, ignored, means, refused};

/// Who tokenizes.
const TOKENIZER: &str = "requests go to workers as text; where policies are to have exact tokens, name the \
                         tokenizer in `[[tokenizers]]` of the configuration file";
/// Who parses answers.
const PARSER: &str = "engines parse their answers: give it to the engine";
/// Who remembers.
const HISTORY: &str = "the router keeps no conversations or responses; engines do";
/// Which engines.
const BACKEND: &str = "`sglang` and `vllm` are told apart by asking; any other is refused";

pub(crate) const OF_MODELS: &[ForeignFlag] = &[
    ignored("model-path", Sglang, One, TOKENIZER),
    ignored("tokenizer-path", Sglang, One, TOKENIZER),
    ignored("chat-template", Sglang, One, TOKENIZER),
    ignored("tokenizer-cache-enable-l0", Sglang, Nothing, TOKENIZER),
    ignored("tokenizer-cache-l0-max-entries", Sglang, One, TOKENIZER),
    ignored("tokenizer-cache-enable-l1", Sglang, Nothing, TOKENIZER),
    ignored("tokenizer-cache-l1-max-memory", Sglang, One, TOKENIZER),
    ignored("enable-l0-cache", SglangDocuments, Nothing, TOKENIZER),
    ignored("l0-max-entries", SglangDocuments, One, TOKENIZER),
    ignored("enable-l1-cache", SglangDocuments, Nothing, TOKENIZER),
    ignored("l1-max-memory", SglangDocuments, One, TOKENIZER),
    ignored("reasoning-parser", Sglang, One, PARSER),
    ignored("tool-call-parser", Sglang, One, PARSER),
    refused("mcp-config-path", Sglang, One, "the router calls no tools; a client or an engine does"),
    means("backend", Sglang, One, BACKEND),
    means("runtime", VllmBinary, One, BACKEND),
    means(
        "history-backend",
        Sglang,
        One,
        "`none` is how it is; any other is refused: the router keeps no conversations or responses",
    )
    .defaults("`memory`", "`none`"),
    refused("oracle-wallet-path", Sglang, One, HISTORY),
    refused("oracle-tns-alias", Sglang, One, HISTORY),
    refused("oracle-connect-descriptor", Sglang, One, HISTORY),
    refused("oracle-username", Sglang, One, HISTORY),
    refused("oracle-password", Sglang, One, HISTORY),
    refused("oracle-pool-min", Sglang, One, HISTORY),
    refused("oracle-pool-max", Sglang, One, HISTORY),
    refused("oracle-pool-timeout-secs", Sglang, One, HISTORY),
    refused("postgres-db-url", Sglang, One, HISTORY),
    refused("postgres-pool-max", Sglang, One, HISTORY),
    refused("redis-url", Sglang, One, HISTORY),
    refused("redis-pool-max", Sglang, One, HISTORY),
    refused("redis-retention-days", Sglang, One, HISTORY),
];
