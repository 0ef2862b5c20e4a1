//! One event: whether it tells of an error, and which.
//!
//! Three forms are known:
//!
//! - vLLM, llama.cpp: `data: {"error": {"message": …, "code": 503}}`
//! - SGLang's OpenAI endpoints: the same, or `data: {"object": "error", "message": …, "code": 503}`
//! - SGLang's `/generate`:
//!   `data: {"text": "", "meta_info": {"finish_reason": {"type": "abort", "status_code": 503, …}}}`
//!
//! An event with the name `error` is one in whatever form, usually
//! `{"message": …, "code": 503}`.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;

/// The code of an error that has no code, or one that HTTP does not know.
const NO_CODE: u16 = 500;

/// What vLLM says of itself while it dies or stops, in answers to requests that it did not serve.
static LAST_WORDS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    [
        Finder::new("EngineCore encountered an issue"),
        Finder::new("cannot schedule new futures after shutdown"),
        Finder::new("EngineDeadError"),
        Finder::new("Background loop has errored"),
    ]
});

/// What an error has in it, and hardly any other event: in a text that a model generates, the quotes
/// are escaped.
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

/// The same of an error in the form of SGLang's `/generate`.
pub(crate) static ABORT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"abort\""));

/// Where SGLang's `/generate` says how a request ended: each of its events has it, from the first.
pub(crate) static META_INFO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"meta_info\""));

/// Where a code is.
static CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"code\""));

/// An event that tells of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventError {
    /// The code, 400 to 599.
    pub code: u16,
    /// Whether the engine says that it is dying or stopping.
    pub is_dying: bool,
    /// Whether nothing of an answer came before it: no other event with data, and no text with it. Only
    /// such an error says that the request is not served; behind that the engine has worked on it
    /// (vLLM, SGLang and llama.cpp send even an event that names a role and no text with their first
    /// token only).
    pub is_first: bool,
}

/// What the data of an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// No error.
    Content,
    /// An error.
    Error(EventError),
    /// It has begun an object and not ended it, so the next line may go on with it.
    Unfinished,
}

/// What this data says of an event that `is_named` error or is not; `is_first` if it is the first
/// with data. Costs two searches if it has no mark of an error.
pub(crate) fn read(data: &[u8], is_named: bool, is_first: bool) -> Said {
    let text = data.trim_ascii();
    let is_object = text.starts_with(b"{");
    if is_object && !text.ends_with(b"}") {
        return Said::Unfinished;
    }
    if !is_named && !is_marked(data) {
        return Said::Content;
    }
    let code = match serde_json::from_slice::<Value>(data) {
        Ok(event) => {
            let bare = || is_named.then(|| event.get("code").map_or(NO_CODE, code_of));
            code_in(&event).or_else(bare).map(|code| (code, has_text(&event)))
        }
        Err(error) if is_object && error.is_eof() => return Said::Unfinished,
        Err(_) => is_named.then_some((NO_CODE, false)),
    };
    let Some((code, has_text)) = code else { return Said::Content };
    Said::Error(EventError { code, is_dying: is_dying(data), is_first: is_first && !has_text })
}

/// The same of data that is too long to be kept, by its beginning. That tells the first two forms; the
/// code is 500 unless it comes early. [`read_end`] tells the third.
pub(crate) fn read_beginning(data: &[u8], is_named: bool, is_first: bool) -> Option<EventError> {
    if !is_named && !begins_as_error(data) {
        return None;
    }
    let after_code = |at: usize| after(data.get(at..)?, &[b"\"code\"", b":"]);
    let code = CODE.find_iter(data).find_map(after_code).map_or(NO_CODE, |rest| {
        let rest = rest.trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(4);
        known(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    });
    Some(EventError { code, is_dying: is_dying(data), is_first })
}

/// The same by the end of the data: the third form has its text before what it says of its end. Within
/// that text quotes are escaped, so it never holds the name of the key with both of its quotes.
pub(crate) fn read_end(end: &[u8]) -> Option<EventError> {
    let value = after(end.get(META_INFO.find(end)?..)?, &[b"\"meta_info\"", b":"])?;
    let meta_info = serde_json::Deserializer::from_slice(value).into_iter::<Value>().next()?.ok()?;
    let code = abort_code(&meta_info)?;
    Some(EventError { code, is_dying: is_dying(value), is_first: false })
}

/// True if an engine says in this text that it is dying or stopping.
pub(crate) fn is_dying(text: &[u8]) -> bool {
    LAST_WORDS.iter().any(|words| words.find(text).is_some())
}

/// True if an error may be in it.
fn is_marked(text: &[u8]) -> bool {
    ERROR.find(text).is_some() || ABORT.find(text).is_some()
}

fn begins_as_error(data: &[u8]) -> bool {
    let says_nothing = |value: &[u8]| {
        let nothing: [&[u8]; 3] = [b"null", b"false", b"\"\""];
        nothing.iter().any(|nothing| value.starts_with(nothing))
    };
    after(data, &[b"{", b"\"error\"", b":"]).is_some_and(|value| !says_nothing(value.trim_ascii_start()))
        || after(data, &[b"{", b"\"object\"", b":", b"\"error\""]).is_some()
}

/// What comes after these words with nothing but blanks between them, if the text begins so.
fn after<'a>(text: &'a [u8], words: &[&[u8]]) -> Option<&'a [u8]> {
    words.iter().try_fold(text, |rest, word| rest.trim_ascii_start().strip_prefix(*word))
}

/// The code, if the event is an error in one of the forms.
fn code_in(event: &Value) -> Option<u16> {
    let code = if let Some(error) = event.get("error").filter(|error| says_something(error)) {
        error.get("code").or_else(|| event.get("code"))
    } else if is(event.get("object"), "error") {
        event.get("code")
    } else {
        return abort_code(event.get("meta_info")?);
    };
    Some(code.map_or(NO_CODE, code_of))
}

/// The code, if SGLang's `/generate` says here that it ended a request.
fn abort_code(meta_info: &Value) -> Option<u16> {
    let reason = meta_info.get("finish_reason").filter(|reason| is(reason.get("type"), "abort"))?;
    Some(reason.get("status_code").map_or(NO_CODE, code_of))
}

/// SGLang's `/generate` repeats what it has generated.
fn has_text(event: &Value) -> bool {
    event.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

fn is(value: Option<&Value>, text: &str) -> bool {
    value.and_then(Value::as_str) == Some(text)
}

fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn code_of(code: &Value) -> u16 {
    let number = code.as_u64().or_else(|| code.as_str()?.trim().parse().ok());
    number.map_or(NO_CODE, known)
}

fn known(number: u64) -> u16 {
    u16::try_from(number).ok().filter(|code| (400..600).contains(code)).unwrap_or(NO_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_tells_an_error_in_the_forms_that_say_it_first() {
        let read = |data: &str| read_beginning(data.as_bytes(), false, true).map(|error| error.code);
        for (data, code) in [
            (r#" { "error" : {"message": "long"#, Some(500)),
            (r#"{"error":{"code": 400, "message": "long"#, Some(400)),
            (r#"{"error":{"param": "code", "code": "503", "message": "long"#, Some(503)),
            (r#"{"error":{"message": "\"code\": 400 long"#, Some(500)),
            (r#"{"error":"long"#, Some(500)),
            (r#"{"object": "error", "message": "long"#, Some(500)),
            (r#"{"error": null, "text": "long"#, None),
            (r#"{"error":"", "text": "long"#, None),
            (r#"{"text": "{\"error\": {"#, None),
            (r#"{"object": "chat.completion.chunk", "error": "#, None),
            ("[1, 2", None),
        ] {
            assert_eq!(read(data), code, "{data}");
        }
        let named = read_beginning(b"{\"message\": \"EngineDeadError", true, true);
        assert_eq!(named, Some(EventError { code: 500, is_dying: true, is_first: true }));
    }
}
