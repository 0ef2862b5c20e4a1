//! `/v1/responses` and Anthropic's `/v1/messages`: the form of their requests, and of their answers, whole and
//! in events. Names and their order follow vLLM 0.32, whose events SGLang's are like.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::config::SimConfig;
use crate::sim::error::ApiError;
use crate::sim::fields::{Content, Text};
use crate::sim::generation::{Finish, Format, GenerationPlan, GenerationRequest};
use crate::sim::openai::{bounded, check_model, hashing, some_messages};
use crate::sim::prompt_reader::PromptReader;

/// What stands before the id of a response.
const RESPONSE_ID: &str = "resp_";

#[derive(Deserialize)]
struct ResponsesRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    instructions: Content<'a>,
    #[serde(borrow)]
    input: Option<SaidTurns<'a>>,
    max_output_tokens: Option<u64>,
    stream: Option<bool>,
    previous_response_id: Option<String>,
    store: Option<bool>,
}

#[derive(Deserialize)]
struct MessagesRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    system: Content<'a>,
    #[serde(borrow)]
    messages: Option<Vec<SaidTurn<'a>>>,
    max_tokens: Option<u64>,
    stream: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SaidTurns<'a> {
    #[serde(borrow)]
    Text(Text<'a>),
    #[serde(borrow)]
    Items(Vec<SaidTurn<'a>>),
}

#[derive(Deserialize)]
struct SaidTurn<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    output: Content<'a>,
}

/// What a request of `/v1/responses` says of responses that are kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// The one that it goes on from.
    pub(crate) previous: Option<String>,
    /// Whether the new one is kept.
    pub(crate) stores: bool,
}

/// Reads the body of `/v1/responses`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_responses(
    body: &[u8],
    config: &SimConfig,
) -> Result<(GenerationRequest, Keeping), ApiError> {
    let request: ResponsesRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    check_model(request.model.as_ref(), config)?;
    let input = request
        .input
        .ok_or_else(|| ApiError::parameter("input", "`input` is missing: expected a string or a list"))?;
    let mut reader = PromptReader::new(hashing(config));
    reader.push(request.instructions.0.as_bytes());
    match &input {
        SaidTurns::Text(text) => reader.push(text.0.as_bytes()),
        SaidTurns::Items(items) => items.iter().for_each(|item| item.read(&mut reader)),
    }
    let ask = GenerationRequest::of_prompt(Format::Responses, reader.finish(), request.stream);
    let keeping = Keeping { previous: request.previous_response_id, stores: request.store.unwrap_or(true) };
    Ok((bounded(ask, request.max_output_tokens, config)?, keeping))
}

/// Reads the body of `/v1/messages`, or of its `count_tokens`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_messages(body: &[u8], config: &SimConfig) -> Result<GenerationRequest, ApiError> {
    let request: MessagesRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    check_model(request.model.as_ref(), config)?;
    let messages = some_messages(request.messages)?;
    let mut reader = PromptReader::new(hashing(config));
    reader.push(request.system.0.as_bytes());
    messages.iter().for_each(|message| message.read(&mut reader));
    let ask = GenerationRequest::of_prompt(Format::Messages, reader.finish(), request.stream);
    bounded(ask, request.max_tokens, config)
}

impl SaidTurn<'_> {
    fn read(&self, reader: &mut PromptReader) {
        reader.push(self.content.0.as_bytes());
        reader.push(self.output.0.as_bytes());
        reader.push(b"\n");
    }
}

/// The id of a response by its number.
pub(crate) fn response_id(number: u64) -> String {
    format!("{RESPONSE_ID}{number:016x}")
}

fn text_of(plan: &GenerationPlan) -> String {
    let mut text = BytesMut::new();
    plan.push_text(&mut text, 0);
    String::from_utf8_lossy(&text).into_owned()
}

/// A whole response; `id` is its number.
pub(crate) fn response(plan: &GenerationPlan, id: u64, model: &Value, created: u64) -> Value {
    let output = json!([{
        "id": format!("msg_{id:016x}"),
        "content": [{ "annotations": [], "text": text_of(plan), "type": "output_text" }],
        "role": "assistant",
        "status": "completed",
        "type": "message",
    }]);
    response_with(plan, id, model, created, &output)
}

fn response_with(plan: &GenerationPlan, id: u64, model: &Value, created: u64, output: &Value) -> Value {
    let is_done = output.as_array().is_some_and(|items| !items.is_empty());
    let usage = json!({
        "input_tokens": plan.prompt_tokens,
        "input_tokens_details": { "cached_tokens": plan.cached_tokens },
        "output_tokens": plan.completion_tokens(),
        "total_tokens": u64::from(plan.prompt_tokens) + plan.completion_tokens(),
    });
    json!({
        "id": response_id(id),
        "created_at": created,
        "model": model,
        "object": "response",
        "output": output,
        "status": if is_done { "completed" } else { "in_progress" },
        "usage": if is_done { usage } else { Value::Null },
    })
}

/// A whole message in Anthropic's form.
pub(crate) fn message(plan: &GenerationPlan, id: u64, model: &Value) -> Value {
    json!({
        "id": format!("msg_{id:016x}"),
        "type": "message",
        "role": "assistant",
        "content": [{ "type": "text", "text": text_of(plan) }],
        "model": model,
        "stop_reason": stop_reason(plan),
        "usage": { "input_tokens": plan.prompt_tokens, "output_tokens": plan.completion_tokens() },
    })
}

fn stop_reason(plan: &GenerationPlan) -> &'static str {
    match plan.finish {
        Finish::Length => "max_tokens",
        Finish::Stop => "end_turn",
    }
}

/// The events of a token, and what comes before the first.
pub(crate) fn token_events(
    plan: &GenerationPlan,
    format: Format,
    id: u64,
    model: &Value,
    index: u32,
) -> Bytes {
    let mut text = BytesMut::new();
    plan.push_token(&mut text, 0, index);
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut out = BytesMut::new();
    if format == Format::Responses {
        if index == 0 {
            let created = response_with(plan, id, model, 0, &json!([]));
            push(&mut out, json!({ "type": "response.created", "response": created, "sequence_number": 0 }));
        }
        push(
            &mut out,
            json!({
                "type": "response.output_text.delta",
                "content_index": 0,
                "delta": text,
                "item_id": format!("msg_{id:016x}"),
                "output_index": 0,
                "sequence_number": index + 1,
            }),
        );
        return out.freeze();
    }
    if index == 0 {
        let mut begun = message(plan, id, model);
        if let Some(begun) = begun.as_object_mut() {
            begun.insert("content".to_owned(), json!([]));
            begun.insert("stop_reason".to_owned(), Value::Null);
            begun.insert(
                "usage".to_owned(),
                json!({ "input_tokens": plan.prompt_tokens, "output_tokens": 0 }),
            );
        }
        push(&mut out, json!({ "type": "message_start", "message": begun }));
        let block = json!({ "type": "text", "text": "" });
        push(&mut out, json!({ "type": "content_block_start", "index": 0, "content_block": block }));
    }
    let delta = json!({ "type": "text_delta", "text": text });
    push(&mut out, json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
    out.freeze()
}

/// The events after the last token.
pub(crate) fn end_events(plan: &GenerationPlan, format: Format, id: u64, model: &Value) -> Bytes {
    let mut out = BytesMut::new();
    if format == Format::Responses {
        let done = response(plan, id, model, 0);
        let number = plan.output_tokens + 1;
        push(&mut out, json!({ "type": "response.completed", "response": done, "sequence_number": number }));
        return out.freeze();
    }
    push(&mut out, json!({ "type": "content_block_stop", "index": 0 }));
    let usage = json!({ "input_tokens": plan.prompt_tokens, "output_tokens": plan.completion_tokens() });
    let delta = json!({ "stop_reason": stop_reason(plan), "stop_sequence": null });
    push(&mut out, json!({ "type": "message_delta", "delta": delta, "usage": usage }));
    push(&mut out, json!({ "type": "message_stop" }));
    out.freeze()
}

/// An event whose name is its type.
fn push(out: &mut BytesMut, data: Value) {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    out.put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}
