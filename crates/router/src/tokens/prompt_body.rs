//! The prompt in a request's body, as far as it is to be tokenized.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::tokens::chat_template::{ChatTemplate, is_list};

/// Where the prompt is in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PromptForm {
    /// Messages of a chat, in `messages`.
    Chat,
    /// One text or several, in `prompt`.
    Prompt,
    /// The same in `input`.
    Input,
    /// The same in `text`.
    Text,
}

/// Text that is to be tokenized.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PromptTexts {
    /// One text for each prompt.
    pub texts: Vec<String>,
    /// Whether the tokenizer puts special tokens around each.
    pub adds_special_tokens: bool,
    /// True if engines give the model just that, as far as can be told.
    pub is_exact: bool,
    /// True if nothing but text is in it.
    pub is_whole: bool,
}

/// Why there is no such text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoText {
    /// It is in no form that can be told.
    Form,
    /// There is no chat template.
    NoTemplate,
    /// The template failed.
    Template(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

/// The bodies whose prompt is text, by the field that holds it.
#[derive(Deserialize)]
struct PromptBody {
    prompt: Texts,
    add_special_tokens: Option<bool>,
}

#[derive(Deserialize)]
struct InputBody {
    input: Texts,
    add_special_tokens: Option<bool>,
}

#[derive(Deserialize)]
struct TextBody {
    text: Texts,
    add_special_tokens: Option<bool>,
}

#[derive(Deserialize)]
struct ChatBody {
    messages: Vec<Value>,
    tools: Option<Value>,
    documents: Option<Value>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    add_special_tokens: Option<bool>,
    chat_template: Option<IgnoredAny>,
    chat_template_kwargs: Option<BTreeMap<String, Value>>,
}

/// The prompt's text, rendered if it is a chat.
///
/// # Errors
///
/// [`NoText`].
pub(crate) fn texts(
    form: PromptForm,
    body: &[u8],
    template: Option<&ChatTemplate>,
) -> Result<PromptTexts, NoText> {
    let no_form = |_| NoText::Form;
    let (text, adds) = match form {
        PromptForm::Chat => {
            let template = template.ok_or(NoText::NoTemplate)?;
            return rendered(serde_json::from_slice(body).map_err(no_form)?, template);
        }
        PromptForm::Prompt => {
            let PromptBody { prompt, add_special_tokens } = serde_json::from_slice(body).map_err(no_form)?;
            (prompt, add_special_tokens)
        }
        PromptForm::Input => {
            let InputBody { input, add_special_tokens } = serde_json::from_slice(body).map_err(no_form)?;
            (input, add_special_tokens)
        }
        PromptForm::Text => {
            let TextBody { text, add_special_tokens } = serde_json::from_slice(body).map_err(no_form)?;
            (text, add_special_tokens)
        }
    };
    let texts = match text {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    Ok(PromptTexts { texts, adds_special_tokens: adds.unwrap_or(true), is_exact: true, is_whole: true })
}

/// What messages have beside plain texts: see [`PromptTexts`].
#[derive(Default)]
struct SeenParts {
    is_exact: bool,
    is_whole: bool,
}

fn rendered(chat: ChatBody, template: &ChatTemplate) -> Result<PromptTexts, NoText> {
    // What these ask of an engine is its own affair.
    if chat.continue_final_message == Some(true) || chat.chat_template.is_some() {
        return Err(NoText::Form);
    }
    let has = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_true);
    // Engines differ in what they make of tools before a template sees them.
    let mut seen = SeenParts { is_exact: !has(&chat.tools) && !has(&chat.documents), is_whole: true };
    let messages: Option<Vec<Value>> =
        chat.messages.into_iter().map(|message| prepared(message, template, &mut seen)).collect();
    let fixed = [
        ("messages", Value::from(messages.ok_or(NoText::Form)?)),
        ("tools", chat.tools.into()),
        ("documents", chat.documents.into()),
        ("add_generation_prompt", chat.add_generation_prompt.unwrap_or(true).into()),
    ];
    let own = chat.chat_template_kwargs.unwrap_or_default();
    let own = own.into_iter().filter(|(name, _)| fixed.iter().all(|(fixed, _)| fixed != name));
    let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let text = template.render(Value::from_pairs(fixed.chain(own))).map_err(NoText::Template)?;
    let adds_special_tokens = chat.add_special_tokens.unwrap_or(false);
    Ok(PromptTexts {
        texts: vec![text],
        adds_special_tokens,
        is_exact: seen.is_exact,
        is_whole: seen.is_whole,
    })
}

/// A message as engines hand it to a template: content in parts as text, if the template wants text;
/// arguments of calls as what they say in JSON.
fn prepared(message: Value, template: &ChatTemplate, seen: &mut SeenParts) -> Option<Value> {
    if message.kind() != ValueKind::Map {
        return None;
    }
    let has = |key: &str| message.get_attr(key).is_ok_and(|value| is_list(&value));
    if !has("content") && !has("tool_calls") {
        return Some(message);
    }
    let fields = message.try_iter().ok()?.map(|key| {
        let value = message.get_item(&key).ok()?;
        let value = match key.as_str() {
            Some("content") if is_list(&value) => content(value, template, seen)?,
            Some("tool_calls") if is_list(&value) => {
                seen.is_exact = false;
                value.try_iter().ok()?.map(with_arguments).collect::<Option<Vec<Value>>>()?.into()
            }
            _ => value,
        };
        Some((key, value))
    });
    Some(Value::from_pairs(fields.collect::<Option<Vec<_>>>()?))
}

fn content(parts: Value, template: &ChatTemplate, seen: &mut SeenParts) -> Option<Value> {
    let mut texts = Vec::new();
    let mut count = 0;
    for part in parts.try_iter().ok()? {
        count += 1;
        let is_text = part.get_attr("type").ok()?.as_str() == Some("text");
        match part.get_attr("text").ok()?.as_str() {
            Some(text) if is_text => texts.push(text.to_owned()),
            // A picture is as many tokens as the engine makes of it.
            _ => *seen = SeenParts::default(),
        }
    }
    if template.takes_parts() {
        return Some(parts);
    }
    // vLLM puts line feeds between parts, SGLang spaces.
    seen.is_exact &= count <= 1;
    Some(Value::from(texts.join("\n")))
}

/// A call whose arguments are an object, where the request has them as text.
fn with_arguments(call: Value) -> Option<Value> {
    let function = call.get_attr("function").ok()?;
    let arguments = function.get_attr("arguments").ok()?;
    let Some(Ok(arguments)) = arguments.as_str().map(serde_json::from_str::<Value>) else {
        return Some(call);
    };
    let function = replaced(&function, "arguments", arguments)?;
    replaced(&call, "function", function)
}

fn replaced(map: &Value, name: &str, value: Value) -> Option<Value> {
    let fields = map.try_iter().ok()?.map(|key| {
        let known = if key.as_str() == Some(name) { value.clone() } else { map.get_item(&key).ok()? };
        Some((key, known))
    });
    Some(Value::from_pairs(fields.collect::<Option<Vec<_>>>()?))
}
