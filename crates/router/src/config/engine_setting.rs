//! Which engine a worker is, as the operator says.

use serde::{Deserialize, Serialize};

/// `engine` of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineSetting {
    /// The router finds out by asking, and asks again when the worker comes back.
    #[default]
    Auto,
    /// SGLang.
    Sglang,
    /// vLLM.
    Vllm,
    /// The server of llama.cpp.
    Llamacpp,
    /// Another one: it is asked for no load.
    None,
}

impl EngineSetting {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sglang => "sglang",
            Self::Vllm => "vllm",
            Self::Llamacpp => "llamacpp",
            Self::None => "none",
        }
    }

    /// True for [`Auto`](Self::Auto).
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}
