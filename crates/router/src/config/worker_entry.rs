//! A worker, as the configuration says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::engine_setting::EngineSetting;
use crate::config::secret::Secret;
use sgl_upstream::HttpVersion;
use sglang_router_rs::core::WorkerRole;

/// `[[workers]]`, and the body of `POST /workers`: one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerEntry {
    /// `http://host[:port]` or `https://host[:port]`. Must be given.
    pub url: String,
    /// Part of a request that it serves. Default: `regular`.
    pub role: WorkerRole,
    /// Model that it serves; counts where the worker lists other names. Default: what it lists; if
    /// that is nothing, it may serve any.
    pub model: Option<String>,
    /// Relative capacity, above 0. Default: 1.0.
    pub weight: f64,
    /// Which engine it is: `sglang`, `vllm`, `llamacpp`, `none` (it is asked for no load), or `auto`: the
    /// router finds out. Default: `auto`.
    #[serde(skip_serializing_if = "EngineSetting::is_auto")]
    pub engine: EngineSetting,
    /// Which version of HTTP it is spoken to in: `1.1`, `2` (over TLS, and without it with prior knowledge,
    /// h2c), or `auto`: over TLS what the worker picks, else 1.1. Default: `auto`.
    #[serde(skip_serializing_if = "HttpVersion::is_auto")]
    #[schema(value_type = String)]
    pub http_version: HttpVersion,
    /// Whether the events of its KV cache, and the load that it pushes, are listened to where it publishes
    /// them. Default: true.
    #[serde(skip_serializing_if = "is_true")]
    pub kv_events: bool,
    /// `upstream.dp_aware` for this worker: whether its data-parallel ranks are workers of their own. Default:
    /// that of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_aware: Option<bool>,
    /// How many data-parallel ranks it has, 1 to 256, for an engine that does not tell; with it the worker is
    /// `dp_aware`. Default: the engine is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_size: Option<u32>,
    /// Key that it is shown instead of that of all (`[keys] worker_api_key`). Default: that of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// File that holds it; in the configuration file only. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub api_key_file: Option<PathBuf>,
    /// Free-form labels. Default: none.
    pub labels: BTreeMap<String, String>,
    /// Port of the bootstrap server of a prefill worker. Default: none.
    pub bootstrap_port: Option<u16>,
    /// `upstream.first_byte_timeout_secs` for this worker. Default: that of all.
    pub first_byte_timeout_secs: Option<u64>,
    /// `upstream.silence_timeout_secs` for this worker. Default: that of all.
    pub silence_timeout_secs: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_true(value: &bool) -> bool {
    *value
}

impl Default for WorkerEntry {
    fn default() -> Self {
        Self {
            url: String::new(),
            role: WorkerRole::default(),
            model: None,
            weight: 1.0,
            engine: EngineSetting::Auto,
            http_version: HttpVersion::Auto,
            kv_events: true,
            dp_aware: None,
            dp_size: None,
            api_key: None,
            api_key_file: None,
            labels: BTreeMap::new(),
            bootstrap_port: None,
            first_byte_timeout_secs: None,
            silence_timeout_secs: None,
        }
    }
}
