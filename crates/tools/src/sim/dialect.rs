//! Which engine a worker speaks like.

use std::fmt;
use std::str::FromStr;

/// An engine whose endpoints, refusals and ends a worker has, as its current version has them: SGLang
/// 0.5.23, vLLM 0.32.0, the server of llama.cpp of late 2026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SGLang.
    Sglang,
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
}

impl Dialect {
    /// As flags and engines themselves write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sglang => "sglang",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llamacpp",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Sglang, Self::Vllm, Self::LlamaCpp];
        let found = all.into_iter().find(|dialect| dialect.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no engine: expected sglang, vllm or llamacpp"))
    }
}
