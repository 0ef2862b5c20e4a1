//! SGLang's own endpoints: the form of `/generate` requests, and what `/get_load`,
//! `/get_server_info` and `/get_model_info` answer. Names follow SGLang's `http_server.py` and
//! `io_struct.py` of 2025.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::accelerator::Occupancy;
use crate::sim::config::SimConfig;
use crate::sim::error::ApiError;
use crate::sim::fields::{BootstrapRoom, PromptField};
use crate::sim::generation::{Format, GenerationRequest};
use crate::sim::openai::{bounded, hashing};
use crate::sim::wording::FIRST_CREATED;
use sglang_router_rs::core::WorkerRole;

#[derive(Deserialize)]
struct GenerateRequest<'a> {
    #[serde(borrow)]
    text: Option<PromptField<'a>>,
    #[serde(borrow)]
    input_ids: Option<PromptField<'a>>,
    sampling_params: Option<SamplingParams>,
    stream: Option<bool>,
    bootstrap_room: Option<BootstrapRoom>,
    routed_dp_rank: Option<u32>,
}

#[derive(Deserialize)]
struct SamplingParams {
    max_new_tokens: Option<u64>,
    n: Option<u32>,
}

/// Reads the body of `/generate`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_generate(body: &[u8], config: &SimConfig) -> Result<GenerationRequest, ApiError> {
    let request: GenerateRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    let (param, prompt) = match (request.text, request.input_ids) {
        (Some(text), None) => ("text", text),
        (None, Some(ids)) => ("input_ids", ids),
        _ => {
            let message = "expected either `text` or `input_ids`";
            return Err(ApiError::parameter("text", message));
        }
    };
    let sampling = request.sampling_params.unwrap_or(SamplingParams { max_new_tokens: None, n: None });
    let n = sampling.n.unwrap_or(1);
    let ask = GenerationRequest {
        // SGLang answers with a list for a list of prompts, and for more than one answer.
        format: if prompt.is_batch() || n > 1 { Format::GenerateBatch } else { Format::Generate },
        prompts: prompt.read(param, hashing(config))?,
        choices_per_prompt: n,
        max_tokens: None,
        stream: request.stream.unwrap_or(false),
        include_usage: false,
        room: request.bootstrap_room.as_ref().and_then(BootstrapRoom::to_header),
        rank: request.routed_dp_rank,
        transfer: None,
    };
    bounded(ask, sampling.max_new_tokens, config)
}

/// What `/get_load` answers: one entry per data-parallel rank, and there is one rank.
pub(crate) fn load(load: &Occupancy) -> Value {
    json!([{
        "dp_rank": 0,
        "num_reqs": load.running + load.waiting,
        "num_waiting_reqs": load.waiting,
        "num_tokens": load.running_tokens + load.waiting_tokens,
    }])
}

/// What `/get_model_info` answers.
pub(crate) fn model_info(config: &SimConfig) -> Value {
    json!({
        "model_path": config.model,
        "tokenizer_path": config.model,
        "is_generation": true,
        "preferred_sampling_params": null,
        "weight_version": "default",
    })
}

/// What `/get_server_info` answers: the part of SGLang's server arguments that describes this
/// worker, and the simulation's own settings under `sim`.
pub(crate) fn server_info(config: &SimConfig, load: &Occupancy) -> Value {
    json!({
        "model_path": config.model,
        "served_model_name": config.model,
        "tp_size": 1,
        "pp_size": 1,
        "dp_size": 1,
        "disaggregation_mode": match config.role {
            WorkerRole::Regular => "null",
            WorkerRole::Prefill | WorkerRole::Decode => config.role.as_str(),
        },
        "context_length": config.context_tokens,
        "max_running_requests": config.max_running,
        "max_queued_requests": config.max_queued,
        "max_total_num_tokens": config.cache_tokens,
        "disable_radix_cache": config.cache_blocks() == 0,
        "random_seed": config.seed,
        "internal_states": [{ "last_gen_throughput": load.tokens_per_second }],
        "version": concat!("sim-", env!("CARGO_PKG_VERSION")),
        "sim": {
            "worker_id": config.worker_id,
            "role": config.role.as_str(),
            "time_scale": config.time_scale,
            "prefill_base_ms": config.prefill_base.as_secs_f64() * 1000.0,
            "prefill_tokens_per_second": config.prefill_tokens_per_second,
            "decode_ms": config.decode_step.as_secs_f64() * 1000.0,
            "default_tokens": config.default_tokens,
        },
    })
}

/// The entry of its model in `/v1/models`.
pub(crate) fn model_card(config: &SimConfig) -> Value {
    json!({
        "id": config.model,
        "object": "model",
        "created": FIRST_CREATED,
        "owned_by": "sglang",
        "root": config.model,
        "parent": null,
        "max_model_len": config.context_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<GenerationRequest, ApiError> {
        read_generate(json.as_bytes(), &SimConfig::default())
    }

    #[test]
    fn generate_takes_text_ids_and_lists_of_them() {
        let cases = [
            (r#"{"text":"12345678","sampling_params":{"max_new_tokens":3}}"#, Format::Generate, 2),
            (r#"{"input_ids":[1,2,3]}"#, Format::Generate, 3),
            (r#"{"text":["1234","1234"]}"#, Format::GenerateBatch, 2),
            (r#"{"input_ids":[[1],[2]],"bootstrap_room":[7,8]}"#, Format::GenerateBatch, 2),
            (r#"{"text":"1234","sampling_params":{"n":3}}"#, Format::GenerateBatch, 1),
        ];
        for (json, format, tokens) in cases {
            let ask = read(json).expect(json);
            assert_eq!((ask.format, ask.prompt_tokens()), (format, tokens), "{json}");
        }
    }

    #[test]
    fn generate_without_a_prompt_or_with_two_is_refused() {
        for json in ["{}", r#"{"text":"a","input_ids":[1]}"#] {
            let error = read(json).expect_err(json);
            assert_eq!(error.status, http::StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn load_counts_waiting_requests_and_their_tokens_in() {
        let state = Occupancy {
            running: 3,
            waiting: 2,
            running_tokens: 50,
            waiting_tokens: 7,
            tokens_per_second: 0.0,
        };
        let expected = json!([{"dp_rank": 0, "num_reqs": 5, "num_waiting_reqs": 2, "num_tokens": 57}]);
        assert_eq!(load(&state), expected);
    }
}
