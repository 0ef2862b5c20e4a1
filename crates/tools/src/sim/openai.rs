//! Requests in OpenAI's form. Fields that a simulation has no use for (temperature, tools, …) are
//! accepted and read over.

use serde::Deserialize;

use crate::sim::config::SimConfig;
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::fields::{BootstrapRoom, Content, PromptField, Text};
use crate::sim::generation::{Format, GenerationRequest};
use crate::sim::prompt_reader::{Hashing, PromptReader};
use crate::sim::transfer_params::TransferParams;

/// Bound on `n`, as in OpenAI's API.
const MAX_N: u32 = 128;
/// Bound on prompts times `n` in one request.
const MAX_CHOICES: u32 = 1024;

#[derive(Deserialize)]
struct ChatRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Option<Vec<ChatMessage<'a>>>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    min_tokens: Option<u64>,
    n: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    bootstrap_room: Option<BootstrapRoom>,
    routed_dp_rank: Option<u32>,
    kv_transfer_params: Option<TransferParams>,
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct CompletionRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    prompt: Option<PromptField<'a>>,
    max_tokens: Option<u64>,
    min_tokens: Option<u64>,
    n: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    bootstrap_room: Option<BootstrapRoom>,
    routed_dp_rank: Option<u32>,
    kv_transfer_params: Option<TransferParams>,
}

/// Reads the body of `/v1/chat/completions`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_chat(body: &[u8], config: &SimConfig) -> Result<GenerationRequest, ApiError> {
    let request: ChatRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    check_model(request.model.as_ref(), config)?;
    let messages = some_messages(request.messages)?;
    let mut reader = PromptReader::new(hashing(config));
    for message in &messages {
        reader.push(message.role.0.as_bytes());
        reader.push(b"\n");
        reader.push(message.content.0.as_bytes());
        reader.push(b"\n");
    }
    let ask = GenerationRequest {
        format: Format::Chat,
        prompts: vec![reader.finish()],
        choices_per_prompt: request.n.unwrap_or(1),
        max_tokens: None,
        stream: request.stream.unwrap_or(false),
        include_usage: wants_usage(request.stream_options.as_ref()),
        room: request.bootstrap_room.as_ref().and_then(BootstrapRoom::to_header),
        rank: request.routed_dp_rank,
        transfer: request.kv_transfer_params,
    };
    let max_tokens = request.max_completion_tokens.or(request.max_tokens);
    check_options(&ask, request.stream_options.is_some(), request.min_tokens, max_tokens, config)?;
    bounded(ask, max_tokens, config)
}

/// The messages of a conversation, which must have one.
pub(crate) fn some_messages<M>(messages: Option<Vec<M>>) -> Result<Vec<M>, ApiError> {
    let messages = messages.filter(|messages| !messages.is_empty());
    messages.ok_or_else(|| {
        let message = "`messages` is missing or empty: expected at least one message";
        ApiError::parameter("messages", message)
    })
}

/// Reads the body of `/v1/completions`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_completion(body: &[u8], config: &SimConfig) -> Result<GenerationRequest, ApiError> {
    let request: CompletionRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    check_model(request.model.as_ref(), config)?;
    let prompt = request
        .prompt
        .ok_or_else(|| ApiError::parameter("prompt", "`prompt` is missing: expected a string or a list"))?;
    let ask = GenerationRequest {
        format: Format::Completion,
        prompts: prompt.read("prompt", hashing(config))?,
        choices_per_prompt: request.n.unwrap_or(1),
        max_tokens: None,
        stream: request.stream.unwrap_or(false),
        include_usage: wants_usage(request.stream_options.as_ref()),
        room: request.bootstrap_room.as_ref().and_then(BootstrapRoom::to_header),
        rank: request.routed_dp_rank,
        transfer: request.kv_transfer_params,
    };
    check_options(&ask, request.stream_options.is_some(), request.min_tokens, request.max_tokens, config)?;
    bounded(ask, request.max_tokens, config)
}

/// Refuses what vLLM refuses: options of a stream without one, and a least length above the greatest.
fn check_options(
    ask: &GenerationRequest,
    has_stream_options: bool,
    min_tokens: Option<u64>,
    max_tokens: Option<u64>,
    config: &SimConfig,
) -> Result<(), ApiError> {
    if config.engine != Some(Dialect::Vllm) {
        return Ok(());
    }
    if has_stream_options && !ask.stream {
        let message = "Stream options can only be defined when `stream=True`.";
        return Err(ApiError::parameter("stream_options", message));
    }
    match (min_tokens, max_tokens) {
        (Some(min), Some(max)) if min > max => {
            let message = format!("min_tokens must be less than or equal to max_tokens={max}, got {min}.");
            Err(ApiError::parameter("min_tokens", message))
        }
        _ => Ok(()),
    }
}

/// Refuses another model than the one served, as vLLM does; SGLang and llama.cpp read over it. No model
/// means that one.
pub(crate) fn check_model(asked: Option<&Text<'_>>, config: &SimConfig) -> Result<(), ApiError> {
    if matches!(config.engine, Some(Dialect::Sglang | Dialect::LlamaCpp)) {
        return Ok(());
    }
    match asked {
        Some(asked) if asked.0 != config.model => Err(ApiError::unknown_model(&asked.0, &config.model)),
        _ => Ok(()),
    }
}

/// Prompts are hashed for the prefix cache only.
pub(crate) fn hashing(config: &SimConfig) -> Hashing {
    match config.cache_blocks() {
        0 => Hashing::Off,
        _ if config.kv_events.is_some() => Hashing::Tokens(config.block_tokens),
        _ => Hashing::Blocks(config.block_tokens),
    }
}

/// Checks the numbers of a request and sets its length.
pub(crate) fn bounded(
    ask: GenerationRequest,
    max_tokens: Option<u64>,
    config: &SimConfig,
) -> Result<GenerationRequest, ApiError> {
    let n = ask.choices_per_prompt;
    if !(1..=MAX_N).contains(&n) {
        return Err(ApiError::parameter("n", format!("`n` is {n}: expected 1 to {MAX_N}")));
    }
    if ask.choices() > MAX_CHOICES {
        let message = format!("prompts times `n` is {}: at most {MAX_CHOICES}", ask.choices());
        return Err(ApiError::parameter("n", message));
    }
    if max_tokens == Some(0) {
        return Err(ApiError::parameter("max_tokens", "`max_tokens` is 0: expected at least 1"));
    }
    let longest = ask.prompts.iter().map(|prompt| prompt.tokens).max().unwrap_or(0);
    let needed = u64::from(longest).saturating_add(max_tokens.unwrap_or(0));
    if needed > u64::from(config.context_tokens) {
        return Err(ApiError::context_exceeded(needed, config.context_tokens));
    }
    // Within the context now, so within u32.
    let max_tokens = max_tokens.and_then(|max| u32::try_from(max).ok());
    Ok(GenerationRequest { max_tokens, ..ask })
}

fn wants_usage(options: Option<&StreamOptions>) -> bool {
    options.and_then(|options| options.include_usage).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn config() -> SimConfig {
        SimConfig { context_tokens: 100, ..SimConfig::default() }
    }

    fn chat(json: &str) -> Result<GenerationRequest, ApiError> {
        read_chat(json.as_bytes(), &config())
    }

    #[test]
    fn chat_reads_what_the_simulation_needs_and_passes_over_the_rest() {
        let ask = chat(
            r#"{"model":"sim-model","messages":[{"role":"user","content":"1234567890"}],
                "temperature":0.5,"tools":[{"type":"function"}],"max_tokens":9,"n":2,
                "stream":true,"stream_options":{"include_usage":true},
                "bootstrap_host":"10.0.0.1","bootstrap_port":null,"bootstrap_room":42}"#,
        )
        .unwrap();
        assert_eq!(ask.prompt_tokens(), 4);
        assert_eq!((ask.max_tokens, ask.choices()), (Some(9), 2));
        assert!(ask.stream && ask.include_usage);
        assert_eq!(ask.room.unwrap(), "42");
    }

    #[test]
    fn chat_prefers_the_newer_name_of_the_length() {
        let ask = chat(
            r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":9,
                "max_completion_tokens":3}"#,
        );
        assert_eq!(ask.unwrap().max_tokens, Some(3));
    }

    #[test]
    fn chat_refuses_each_fault_with_its_status() {
        let cases = [
            ("{", StatusCode::BAD_REQUEST, "could not be read"),
            (r#"{"model":"sim-model"}"#, StatusCode::BAD_REQUEST, "`messages` is missing"),
            (r#"{"messages":[]}"#, StatusCode::BAD_REQUEST, "`messages` is missing"),
            (r#"{"messages":"hi"}"#, StatusCode::BAD_REQUEST, "could not be read"),
            (r#"{"model":"gpt","messages":[]}"#, StatusCode::NOT_FOUND, "`gpt`"),
            (
                r#"{"messages":[{"role":"user"}],"max_tokens":0}"#,
                StatusCode::BAD_REQUEST,
                "`max_tokens` is 0",
            ),
            (r#"{"messages":[{"role":"user"}],"max_tokens":99}"#, StatusCode::BAD_REQUEST, "context is 100"),
            (r#"{"messages":[{"role":"user"}],"n":0}"#, StatusCode::BAD_REQUEST, "`n` is 0"),
        ];
        for (json, status, part) in cases {
            let error = chat(json).expect_err(json);
            let body = String::from_utf8(error.to_json()).unwrap();
            assert_eq!(error.status, status, "{json}");
            assert!(body.contains(part), "{json}: {body}");
        }
    }

    #[test]
    fn completion_bounds_the_number_of_answers() {
        let prompts = vec!["\"a\""; 600].join(",");
        let body = format!(r#"{{"prompt":[{prompts}],"n":2}}"#);
        let error = read_completion(body.as_bytes(), &config()).unwrap_err();
        assert!(String::from_utf8(error.to_json()).unwrap().contains("is 1200"));
    }
}
