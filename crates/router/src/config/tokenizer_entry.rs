//! Where tokenizers are, and what tokenizing may take.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[[tokenizers]]`: the tokenizer of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerEntry {
    /// The model's name, as requests give it; `*` stands for all that have no tokenizer of their own.
    /// Must be given.
    pub model: String,
    /// A `tokenizer.json`, or the directory that holds it. Must be given.
    pub path: PathBuf,
    /// The chat template (Jinja). Default: `chat_template.jinja` beside the tokenizer, else what
    /// `tokenizer_config.json` there has; without any, chats are estimated.
    pub chat_template: Option<PathBuf>,
}

/// `[tokenizing]`: what tokenizing may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizingSection {
    /// Threads that tokenize prompts of bodies up to 128 KiB: 1 to 64. One more takes those of larger
    /// bodies. Each keeps up to some 100 MiB for a model. Default: 2.
    pub threads: usize,
    /// Bytes of what was tokenized before, shared out among the tokenizers: 0, or 1 MiB to 2^40.
    /// Default: 67,108,864 (64 MiB).
    pub cache_bytes: u64,
}

impl Default for TokenizingSection {
    fn default() -> Self {
        Self { threads: 2, cache_bytes: 64 << 20 }
    }
}
