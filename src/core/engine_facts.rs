//! What is known of the engine behind a worker, and rarely changes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::core::model_names::ModelNames;

/// What an engine says of itself; each value may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineFacts {
    /// Which one it is: `sglang`, `vllm`, `llamacpp`, or another word that the router has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<Cow<'static, str>>,
    /// Tokens that its KV cache can hold, all ranks together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_capacity_tokens: Option<u32>,
    /// Tokens of a block, or page, of that cache: what is cached and found there is cached in whole blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Requests that it runs at the same time at most, all ranks together; others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running_requests: Option<u32>,
    /// Which data-parallel rank of its engine the worker is; the other facts are those of the rank then.
    /// Unknown where an engine is one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dp_rank: Option<u32>,
    /// The names under which it serves: its models and their adapters (LoRA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub models: Option<ModelNames>,
}

impl EngineFacts {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        name: None,
        kv_capacity_tokens: None,
        block_size: None,
        max_running_requests: None,
        dp_rank: None,
        models: None,
    };

    /// True if nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }
}
