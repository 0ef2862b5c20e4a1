//! How vLLM hands a KV cache over from a prefill to a decode worker, after its `NixlConnector`: by parameters
//! in requests and answers. Nothing is transferred here, but who gets which parameters is watched.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::sim::config::SimConfig;
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::generation::{GenerationPlan, GenerationRequest};
use sglang_router_rs::core::WorkerRole;

/// The member of requests and answers.
const PARAMS: &str = "kv_transfer_params";

/// The port where vLLM's connector tells of itself, unless it is set.
const SIDE_CHANNEL_PORT: u64 = 5600;

/// Checks what a request says of a cache elsewhere. A decode worker of vLLM would process a prompt itself
/// that comes without; this one refuses it, as it would be slow for no visible reason. What comes without
/// because parameters are those of one prompt and one choice is served.
///
/// # Errors
/// What was found, and what was expected.
pub(crate) fn check(ask: &GenerationRequest, config: &SimConfig) -> Result<(), ApiError> {
    if config.engine != Some(Dialect::Vllm) || config.role != WorkerRole::Decode {
        return Ok(());
    }
    let refused = |message: String| Err(ApiError::parameter(PARAMS, message));
    let given = ask.transfer.as_ref().filter(|params| params.do_remote_prefill);
    match given {
        None if ask.choices() == 1 => refused(format!(
            "`{PARAMS}` is missing or asks for no remote prefill: a decode worker expects what the prefill \
             worker answered to the same prompt"
        )),
        None => Ok(()),
        Some(_) if ask.choices() > 1 => {
            refused(format!("`{PARAMS}` are those of one prompt and one choice, here are {}", ask.choices()))
        }
        Some(params) if params.remote_engine_id.is_none() => {
            refused(format!("`{PARAMS}` name no `remote_engine_id`"))
        }
        Some(params) => {
            let found = params.block_count();
            let expected = blocks(ask.prompt_tokens(), config);
            if found == expected {
                return Ok(());
            }
            refused(format!("`{PARAMS}` tell of {found} blocks, this prompt has {expected}"))
        }
    }
}

fn blocks(tokens: u32, config: &SimConfig) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX).div_ceil(config.block_tokens.max(1))
}

/// The whole answer of a prefill worker that was asked to keep the cache, with where it lies; any other answer
/// as it is.
pub(crate) fn told(
    answer: Bytes,
    ask: &GenerationRequest,
    plan: &GenerationPlan,
    config: &SimConfig,
) -> Bytes {
    let is_kept = ask.transfer.as_ref().is_some_and(|params| params.do_remote_decode)
        && config.engine == Some(Dialect::Vllm)
        && config.role == WorkerRole::Prefill;
    match answer.strip_suffix(b"}") {
        Some(object) if is_kept => {
            let member = format!(",\"{PARAMS}\":{}}}", place(plan, ask.rank, config));
            let mut told = BytesMut::from(object);
            told.extend_from_slice(member.as_bytes());
            told.freeze()
        }
        _ => answer,
    }
}

fn place(plan: &GenerationPlan, rank: Option<u32>, config: &SimConfig) -> Value {
    let rank = u64::from(rank.unwrap_or(0));
    let ids: Vec<u64> = (1..).take(blocks(plan.prompt_tokens, config)).collect();
    let engine = &config.worker_id;
    json!({
        "do_remote_prefill": true,
        "do_remote_decode": false,
        "remote_block_ids": [ids],
        "remote_engine_id": if config.dp_size > 1 { format!("{engine}_dp{rank}") } else { engine.clone() },
        "remote_request_id": format!("cmpl-{}", plan.number),
        "remote_host": config.host,
        "remote_port": SIDE_CHANNEL_PORT + rank,
        "tp_size": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::openai::read_completion;

    fn config(role: WorkerRole) -> SimConfig {
        SimConfig { engine: Some(Dialect::Vllm), role, ..SimConfig::default() }
    }

    fn refusal(body: &str) -> Option<String> {
        let config = config(WorkerRole::Decode);
        let ask = read_completion(body.as_bytes(), &config).unwrap();
        check(&ask, &config).err().map(|error| error.in_dialect(Dialect::Vllm).to_string())
    }

    #[test]
    fn decode_worker_takes_the_parameters_of_its_prompt_only() {
        let with = |params: &str| format!(r#"{{"prompt":[1,2,3],"kv_transfer_params":{params}}}"#);
        let fit = r#"{"do_remote_prefill":true,"remote_engine_id":"p","remote_block_ids":[[7]]}"#;
        assert_eq!(refusal(&with(fit)), None);
        for (params, part) in [
            ("null", "is missing"),
            (r#"{"do_remote_decode":true}"#, "is missing"),
            (r#"{"do_remote_prefill":true,"remote_block_ids":[[7]]}"#, "remote_engine_id"),
            (r#"{"do_remote_prefill":true,"remote_engine_id":"p","remote_block_ids":[[7,8]]}"#, "2 blocks"),
        ] {
            assert!(refusal(&with(params)).unwrap().contains(part), "{params}");
        }
        assert_eq!(refusal(r#"{"prompt":[[1],[2]]}"#), None);
        let two = format!(r#"{{"prompt":[1],"n":2,"kv_transfer_params":{fit}}}"#);
        assert!(refusal(&two).unwrap().contains("one choice"));
    }
}
