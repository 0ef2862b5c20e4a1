//! Errors in a stream of server-sent events.
//!
//! Engines send the head of a streamed answer before they know whether they will serve it, so
//! refusals and failures come as events. Three forms are known:
//!
//! - vLLM, llama.cpp: `data: {"error": {"message": …, "code": 503}}`
//! - SGLang's OpenAI endpoints: the same, or `data: {"object": "error", "message": …, "code": 503}`
//! - SGLang's `/generate`:
//!   `data: {"text": "", "meta_info": {"finish_reason": {"type": "abort", "status_code": 503, …}}}`
//!
//! Each line of data is read by itself: no engine spreads the JSON of an error over several lines.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;
use serde_json::Value;

/// Longest line that is read. Errors are short; a longer line passes unread.
const MAX_LINE_BYTES: usize = 16 << 10;

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
static ABORT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"abort\""));

/// What every event of that form has in it, from the first.
static META_INFO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"meta_info\""));

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

/// Looks through a stream as it comes, however it is cut into pieces.
///
/// Ordinary pieces end with a line and hold no mark of an error: they cost one search, and
/// nothing is kept or allocated.
#[derive(Debug, Default)]
pub struct EventScan {
    /// The begin of a line that has not ended.
    line: Vec<u8>,
    /// Whether the line is too long and is passed by.
    skipping: bool,
    has_data: bool,
    /// Whether the first event says that no later one tells of an error by an abort.
    is_without_aborts: bool,
    /// Whether there was a line that is neither blank nor a comment.
    has_fields: bool,
    error: Option<EventError>,
}

impl EventScan {
    /// Looks at the next piece.
    #[inline]
    pub fn look(&mut self, piece: &[u8]) {
        let is_whole = self.line.is_empty() && !self.skipping && piece.last() == Some(&b'\n');
        if self.has_data && is_whole && !self.is_marked(piece) {
            return;
        }
        self.walk(piece);
    }

    /// True once an event with data came, be it an error.
    pub fn has_data(&self) -> bool {
        self.has_data
    }

    /// True if nothing came but comments and blank lines.
    pub fn is_empty(&self) -> bool {
        !self.has_fields
    }

    /// The stream is over. Its last line counts, ended or not.
    pub fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.end_line(&line);
    }

    /// The first event that told of an error, if one did.
    pub fn error(&self) -> Option<EventError> {
        self.error
    }

    fn is_marked(&self, piece: &[u8]) -> bool {
        ERROR.find(piece).is_some() || (!self.is_without_aborts && ABORT.find(piece).is_some())
    }

    fn walk(&mut self, mut rest: &[u8]) {
        while let Some((line, after)) = memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) {
            rest = after.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.line.is_empty() {
                self.end_line(line);
            } else {
                let mut begun = std::mem::take(&mut self.line);
                begun.extend_from_slice(line);
                self.end_line(&begun);
            }
        }
        if self.skipping || self.line.len() + rest.len() > MAX_LINE_BYTES {
            // Too long for an error, so it is content.
            self.has_data |= !self.skipping;
            self.has_fields = true;
            self.skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(rest);
        }
    }

    /// Comments, blank lines and fields other than `data` say nothing.
    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.has_fields |= !line.is_empty() && !line.starts_with(b":");
        let Some(data) = line.strip_prefix(b"data:") else { return };
        if self.error.is_none() {
            self.error = error_of(data, !self.has_data);
        }
        if !self.has_data {
            self.is_without_aborts = META_INFO.find(data).is_none();
        }
        self.has_data = true;
    }
}

fn is_marked(text: &[u8]) -> bool {
    ERROR.find(text).is_some() || ABORT.find(text).is_some()
}

/// True if an engine says in this text that it is dying or stopping.
pub fn is_dying(text: &[u8]) -> bool {
    LAST_WORDS.iter().any(|words| words.find(text).is_some())
}

/// The error that an event tells of; `is_first` if it is the first with data.
fn error_of(data: &[u8], is_first: bool) -> Option<EventError> {
    if data.len() > MAX_LINE_BYTES || !is_marked(data) {
        return None;
    }
    let event: Value = serde_json::from_slice(data).ok()?;
    let abort = event.pointer("/meta_info/finish_reason").filter(|reason| is(reason.get("type"), "abort"));
    let code = if let Some(error) = event.get("error").filter(|error| says_something(error)) {
        error.get("code").or_else(|| event.get("code"))
    } else if is(event.get("object"), "error") {
        event.get("code")
    } else {
        abort?.get("status_code")
    };
    // SGLang's `/generate` repeats what it has generated.
    let has_text = event.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let code = code.map_or(NO_CODE, code_of);
    Some(EventError { code, is_dying: is_dying(data), is_first: is_first && !has_text })
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
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|code| (400..600).contains(code))
        .unwrap_or(NO_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&str]) -> (bool, Option<u16>) {
        let mut scan = EventScan::default();
        pieces.iter().for_each(|piece| scan.look(piece.as_bytes()));
        (scan.has_data(), scan.error().map(|error| error.code))
    }

    #[test]
    fn error_is_known_in_each_of_its_forms_with_its_code() {
        for (event, code) in [
            (r#"data: {"error": {"message": "full", "type": "x", "param": null, "code": 503}}"#, 503),
            (r#"data:{"error":{"message":"full","code":"429"}}"#, 429),
            (r#"data: {"error": {"object": "error", "message": "full", "code": 503}}"#, 503),
            (r#"data: {"object": "error", "message": "full", "code": 400}"#, 400),
            (
                r#"data: {"text": "", "meta_info": {"id": "1", "finish_reason": {"type": "abort", "status_code": 503, "message": "full"}}}"#,
                503,
            ),
            (r#"data: {"error": {"message": "no code"}}"#, 500),
            (r#"data: {"error": "a text"}"#, 500),
            (r#"data: {"error": {"code": "rate_limit_exceeded"}}"#, 500),
            (r#"data: {"error": {"code": 7}}"#, 500),
            (r#"data: {"error": {"code": null}}"#, 500),
        ] {
            for end in ["\n\n", "\r\n\r\n"] {
                assert_eq!(scan(&[event, end]), (true, Some(code)), "{event}");
                assert_eq!(scan(&[&format!("{event}{end}")]), (true, Some(code)), "{event}");
            }
        }
    }

    #[test]
    fn text_about_errors_is_no_error() {
        for event in [
            r#"data: {"choices": [{"delta": {"content": "an \"error\": {\"code\": 503}"}}]}"#,
            r#"data: {"choices": [{"delta": {"content": "error"}}], "error": null}"#,
            r#"data: {"choices": [{"delta": {"content": "error"}}]}"#,
            r#"data: {"choices": [{"finish_reason": "abort"}]}"#,
            r#"data: {"text": "x", "meta_info": {"finish_reason": null}, "type": "abort"}"#,
            r#"data: "error""#,
            r#"data: ["error"]"#,
            r#"data: {"error": {"code": 503}"#,
            "data: [DONE]",
        ] {
            assert_eq!(scan(&[event, "\n\n"]), (true, None), "{event}");
        }
    }

    #[test]
    fn stream_is_understood_however_it_is_cut() {
        let text = ": keep-alive\r\n\r\nevent: x\nid: 7\n\n:\ndata: {\"error\": {\"code\": 503}}\n\n";
        for size in 1..text.len() {
            let mut scan = EventScan::default();
            for piece in text.as_bytes().chunks(size) {
                scan.look(piece);
                assert_eq!(scan.has_data(), scan.error().is_some(), "only the error is data: {size}");
            }
            assert_eq!(scan.error().map(|error| error.code), Some(503), "{size}");
        }
    }

    #[test]
    fn error_is_seen_behind_content_and_within_the_same_piece() {
        let content = "data: {\"choices\": []}\n\n";
        let error = "data: {\"error\": {\"code\": 500}}\n\n";
        assert_eq!(scan(&[content, content]), (true, None));
        assert_eq!(scan(&[content, error]), (true, Some(500)));
        assert_eq!(scan(&[&format!("{content}{error}")]), (true, Some(500)));
        assert_eq!(scan(&[content, "data: {\"err", "or\": {\"code\": 502}}\n\n"]), (true, Some(502)));
        assert_eq!(
            scan(&[error, "data: {\"error\": {\"code\": 400}}\n\n"]),
            (true, Some(500)),
            "the first counts"
        );
    }

    #[test]
    fn abort_behind_content_is_an_error() {
        let event = |reason: &str| {
            format!("data: {{\"text\": \"x\", \"meta_info\": {{\"finish_reason\": {reason}}}}}\n\n")
        };
        let abort = event(r#"{"type": "abort", "status_code": 500}"#);
        assert_eq!(scan(&[&event("null"), &abort]), (true, Some(500)));
        assert_eq!(scan(&[": x\n\n", &event("null"), &event("null"), &abort]), (true, Some(500)));
    }

    #[test]
    fn comments_are_no_data() {
        assert_eq!(scan(&[": keep-alive\n\n", ":", " \"error\" \n", "\n"]), (false, None));
    }

    #[test]
    fn error_is_first_only_if_nothing_of_an_answer_came_before_it() {
        let error = "data: {\"error\": {\"code\": 503}}\n\n";
        let role = "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"\"}}]}\n\n";
        let abort = |text: &str| {
            let reason = "{\"finish_reason\": {\"type\": \"abort\", \"status_code\": 503}}";
            format!("data: {{\"text\": \"{text}\", \"meta_info\": {reason}}}\n\n")
        };
        for (stream, is_first) in [
            (error.to_owned(), true),
            (format!(": x\n\nevent: error\n{error}"), true),
            (abort(""), true),
            (format!("{error}{role}"), true),
            (format!("{role}{error}"), false),
            (format!("data: {}\n{error}", "x".repeat(MAX_LINE_BYTES)), false),
            (abort("some"), false),
        ] {
            for size in [1, 7, stream.len()] {
                let mut scan = EventScan::default();
                stream.as_bytes().chunks(size).for_each(|piece| scan.look(piece));
                assert_eq!(scan.error().map(|error| error.is_first), Some(is_first), "{stream:.80}");
            }
        }
    }

    #[test]
    fn stream_is_empty_with_comments_and_blank_lines_only() {
        for (stream, is_empty) in [
            ("", true),
            ("\n\r\n", true),
            (": keep-alive\n\n: keep-alive", true),
            (": x\n\ndata: 1", false),
            ("event: end\n\n", false),
            ("{\"error\": \"no event\"}", false),
        ] {
            let mut scan = EventScan::default();
            scan.look(stream.as_bytes());
            scan.end();
            assert_eq!(scan.is_empty(), is_empty, "{stream}");
        }
    }

    #[test]
    fn last_line_counts_without_its_end() {
        let mut scan = EventScan::default();
        scan.look(b"data: {\"error\": {\"code\": 503}}");
        assert_eq!((scan.has_data(), scan.error()), (false, None));
        scan.end();
        assert_eq!((scan.has_data(), scan.error().map(|error| error.code)), (true, Some(503)));
    }

    #[test]
    fn line_without_end_is_bounded_and_those_after_it_are_read() {
        let long = "x".repeat(MAX_LINE_BYTES / 2 + 1);
        let mut scan = EventScan::default();
        (0..100).for_each(|_| scan.look(long.as_bytes()));
        assert!(scan.has_data());
        assert_eq!(scan.line.capacity(), 0);
        scan.look(b"data: {\"error\": 1}\n");
        assert_eq!(scan.error(), None, "the rest of the long line");
        scan.look(b"data: {\"error\": 1}\n");
        assert_eq!(scan.error().map(|error| error.code), Some(500));
    }

    #[test]
    fn dying_engine_is_known_by_its_words() {
        let mut scan = EventScan::default();
        scan.look(b"data: {\"error\": {\"message\": \"EngineCore encountered an issue. See stack trace\", \"code\": 500}}\n\n");
        assert_eq!(scan.error(), Some(EventError { code: 500, is_dying: true, is_first: true }));
        assert!(!is_dying(b"{\"error\": {\"message\": \"list index out of range\"}}"));
    }
}
