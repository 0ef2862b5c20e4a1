//! Errors in a stream of server-sent events.
//!
//! Engines send the head of a streamed answer before they know whether they will serve it, so
//! refusals and failures come as events; [`crate::proxy::event_error`] knows their forms.
//!
//! A line of data is read by itself where its JSON is whole, though its event has not ended: some
//! servers end events with a line and no blank one. Where it is not, the lines of its event are joined.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

use crate::proxy::event_error::{ABORT, EventError, META_INFO, Said, read, read_beginning, read_end};

/// Longest line that is kept, and longest data. Errors are short; of what is longer the beginning
/// is read, and the end.
const MAX_LINE_BYTES: usize = 16 << 10;

/// What is kept of the end of a longer line. SGLang's `/generate` repeats all of its text in each event
/// and says behind it how the request ended, in some 500 bytes.
const MAX_END_BYTES: usize = 4 << 10;

/// Most lines that are joined: each may have the data read again.
const MAX_LINES: usize = 256;

/// What may come before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What an error has in it, be it in its data or as its name.
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("error"));

/// Looks through a stream as it comes, however it is cut into pieces.
///
/// Ordinary pieces end with an event and hold no mark of an error: they cost one search, and
/// nothing is kept or allocated.
#[derive(Debug, Default)]
pub struct EventScan {
    /// The begin of a line that has not ended.
    line: Vec<u8>,
    /// Whether the line is too long and is passed by.
    skipping: bool,
    /// The end so far of data that is too long, where it could tell of an error.
    long_end: Option<Vec<u8>>,
    /// The data of an event whose JSON goes on in its next line.
    data: Vec<u8>,
    /// Data of the event that was whole and no error by itself: the name may come behind it.
    early: Vec<u8>,
    /// Whether that was the first data.
    is_early_first: bool,
    /// Whether the line ends its event: a blank one follows in the same piece.
    is_last_line: bool,
    /// Whether the event has the name `error`.
    is_named: bool,
    /// Whether a line or an event has begun and not ended.
    is_within: bool,
    /// Whether the first line has ended.
    has_lines: bool,
    has_data: bool,
    /// Whether the first event says that no later one tells of an error by an abort.
    is_without_aborts: bool,
    /// Whether there was a line that is more than a blank one, a comment or a field beside data.
    has_content: bool,
    error: Option<EventError>,
}

impl EventScan {
    /// Looks at the next piece.
    #[inline]
    pub fn look(&mut self, piece: &[u8]) {
        let is_whole = !self.is_within && (piece.ends_with(b"\n\n") || piece.ends_with(b"\n\r\n"));
        if self.has_data && is_whole && !self.is_marked(piece) {
            return;
        }
        self.walk(piece);
    }

    /// True once an event with data came, be it an error.
    pub fn has_data(&self) -> bool {
        self.has_data
    }

    /// True if no event came, which has data: comments, blank lines and other fields at most.
    pub fn is_empty(&self) -> bool {
        !self.has_content
    }

    /// The stream is over. Its last line counts, ended or not, and so does its last event.
    pub fn end(&mut self) {
        self.end_long_line();
        let line = std::mem::take(&mut self.line);
        self.end_line(&line);
        self.end_event();
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
            if self.skipping {
                self.keep_end(line);
                self.end_long_line();
                continue;
            }
            self.is_last_line = rest.starts_with(b"\n") || rest.starts_with(b"\r\n");
            if self.line.is_empty() {
                self.end_line(line);
            } else {
                let mut begun = std::mem::take(&mut self.line);
                begun.extend_from_slice(line);
                self.end_line(&begun);
            }
        }
        if self.skipping {
            self.keep_end(rest);
        } else {
            // One byte more tells that it is too long.
            let room = (MAX_LINE_BYTES + 1 - self.line.len()).min(rest.len());
            let (begin, after) = rest.split_at(room);
            self.line.extend_from_slice(begin);
            if self.line.len() > MAX_LINE_BYTES {
                let line = std::mem::take(&mut self.line);
                self.pass_by(&line);
                self.keep_end(after);
            }
        }
        let has_begun = !self.line.is_empty() || !self.data.is_empty() || !self.early.is_empty();
        self.is_within = self.skipping || self.is_named || has_begun;
    }

    /// Comments, and fields other than `data` and `event`, say nothing.
    fn end_line(&mut self, line: &[u8]) {
        if line.len() > MAX_LINE_BYTES {
            self.pass_by(line);
            return self.end_long_line();
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = self.without_mark(line);
        if line.is_empty() {
            return self.end_event();
        }
        self.has_content |= !says_nothing(line);
        if let Some(name) = line.strip_prefix(b"event:") {
            self.is_named = name.trim_ascii() == b"error";
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            self.take(data);
        }
    }

    /// A line that is too long to be kept, or what came of it. How it was cut does not matter: its
    /// beginning is read, and its end once it is there.
    fn pass_by(&mut self, line: &[u8]) {
        self.skipping = true;
        let beginning = self.without_mark(line.get(..MAX_LINE_BYTES).unwrap_or(line));
        if let Some(data) = beginning.strip_prefix(b"data:") {
            if self.data.is_empty() {
                self.take_beginning(data);
            }
            self.long_end = (!self.is_without_aborts).then(Vec::new);
            self.keep_end(line);
        }
        self.data = Vec::new();
        self.early = Vec::new();
        self.has_data = true;
        self.has_content = true;
    }

    /// Keeps the last bytes of data that is too long.
    fn keep_end(&mut self, came: &[u8]) {
        let Some(end) = &mut self.long_end else { return };
        let came = came.get(came.len().saturating_sub(MAX_END_BYTES)..).unwrap_or(came);
        end.drain(..(end.len() + came.len()).saturating_sub(MAX_END_BYTES));
        end.extend_from_slice(came);
    }

    /// The end of a line that is too long, if there is one.
    fn end_long_line(&mut self) {
        self.skipping = false;
        if let Some(end) = self.long_end.take() {
            self.error = self.error.or_else(|| read_end(&end));
        }
    }

    fn without_mark<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        let is_first = !std::mem::replace(&mut self.has_lines, true);
        line.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first).unwrap_or(line)
    }

    /// Data of an event, after what came of the same in the lines before.
    fn take(&mut self, data: &[u8]) {
        if self.error.is_some() {
            self.has_data = true;
            return;
        }
        self.early = Vec::new();
        let mut joined = std::mem::take(&mut self.data);
        let (data, breaks) = if joined.is_empty() {
            (data, 0)
        } else {
            joined.push(b'\n');
            joined.extend_from_slice(data);
            (joined.as_slice(), memchr_iter(b'\n', &joined).count())
        };
        let is_long = data.len() > MAX_LINE_BYTES || breaks > MAX_LINES;
        if let Some(beginning) = data.get(..data.len().min(MAX_LINE_BYTES)).filter(|_| is_long) {
            self.take_beginning(beginning);
            self.has_data = true;
            return;
        }
        match read(data, self.is_named, !self.has_data) {
            Said::Unfinished => self.data = data.to_vec(),
            said => {
                // Most events end in the piece that they began in: nothing is copied of them.
                if said == Said::Content && !self.is_named && !self.is_last_line {
                    self.early = data.to_vec();
                    self.is_early_first = !self.has_data;
                }
                self.heed(said, data);
            }
        }
    }

    fn heed(&mut self, said: Said, data: &[u8]) {
        if let Said::Error(error) = said {
            self.error.get_or_insert(error);
        }
        if !self.has_data {
            self.is_without_aborts = META_INFO.find(data).is_none();
        }
        self.has_data = true;
    }

    fn take_beginning(&mut self, data: &[u8]) {
        if self.error.is_none() {
            self.error = read_beginning(data, self.is_named, !self.has_data);
        }
    }

    /// What has not become whole until here never will: it is no error, unless its name says so.
    fn end_event(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            if self.is_named {
                self.take_beginning(&data);
            }
            self.heed(Said::Content, &data);
        }
        let early = std::mem::take(&mut self.early);
        if self.is_named && !early.is_empty() {
            self.heed(read(&early, true, self.is_early_first), &early);
        }
        self.is_named = false;
    }
}

/// True for comments, and for fields that make no event without data.
fn says_nothing(line: &[u8]) -> bool {
    let name = memchr(b':', line).and_then(|end| line.get(..end)).unwrap_or(line);
    matches!(name, b"" | b"event" | b"id" | b"retry")
}

#[cfg(test)]
mod tests {
    use crate::proxy::event_error::is_dying;

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
    fn abort_behind_a_long_text_is_an_error() {
        let reason =
            |reason: &str| format!("\"meta_info\": {{\"id\": \"1\", \"finish_reason\": {reason}}}}}\n\n");
        let abort = reason(r#"{"type": "abort", "message": "stopped", "status_code": 503}"#);
        let none = reason("null");
        let quoted = reason(r#"null, "x": "{\"meta_info\": {\"finish_reason\": {\"type\": \"abort\"}}}""#);
        for length in [MAX_LINE_BYTES - 200, MAX_LINE_BYTES, 5 * MAX_LINE_BYTES] {
            let event = |end: &str| format!("data: {{\"text\": \"{}\", {end}", "x".repeat(length));
            for (end, code) in [(&abort, Some(503)), (&none, None), (&quoted, None)] {
                for before in [String::new(), event(&none)] {
                    let stream = format!("{before}{}", event(end));
                    for size in [1000, 4096, MAX_LINE_BYTES + 1, stream.len()] {
                        let mut scan = EventScan::default();
                        stream.as_bytes().chunks(size).for_each(|piece| scan.look(piece));
                        let error = scan.error().map(|error| (error.code, error.is_first));
                        assert_eq!(error, code.map(|code| (code, false)), "{length} {size} {end}");
                        assert!(!scan.is_within && scan.long_end.is_none());
                    }
                    // Without the blank line and its own end, as a server leaves it that is killed.
                    let mut scan = EventScan::default();
                    scan.look(stream.trim_end().as_bytes());
                    scan.end();
                    assert_eq!(scan.error().map(|error| error.code), code, "{length} {end}");
                }
            }
        }
        let comment = format!(": {} {abort}", "x".repeat(MAX_LINE_BYTES));
        assert_eq!(scan(&[&comment]), (true, None), "no data");
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
    fn stream_is_empty_until_data_comes() {
        for (stream, is_empty) in [
            ("", true),
            ("\n\r\n", true),
            (": keep-alive\n\n: keep-alive", true),
            (": x\n\ndata: 1", false),
            ("event: end\n\n", true),
            ("retry: 3000\nid: 7\n\nid\n\nevent: ping\n", true),
            ("event: end\ndata\n\n", false),
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

    #[test]
    fn long_error_is_known_by_its_beginning_and_long_content_is_none() {
        let long = "x".repeat(MAX_LINE_BYTES);
        for (begin, code) in [
            ("data: {\"error\": {\"message\": \"", Some(500)),
            ("data: {\"object\": \"error\", \"code\": 400, \"message\": \"", Some(400)),
            ("event: error\ndata: {\"message\": \"", Some(500)),
            ("\u{feff}data: {\"error\": {\"message\": \"", Some(500)),
            ("data: {\"choices\": [], \"error\": {\"message\": \"", None),
            ("data: {\"error\": null, \"text\": \"", None),
            ("event: message\ndata: {\"message\": \"", None),
        ] {
            let stream = format!("{begin}{long}\"}}}}\n\ndata: 1\n\n");
            for size in [1000, 4096, stream.len()] {
                let mut scan = EventScan::default();
                stream.as_bytes().chunks(size).for_each(|piece| scan.look(piece));
                let error = scan.error().map(|error| (error.code, error.is_first));
                assert_eq!(error, code.map(|code| (code, true)), "{begin}, {size}");
                assert!(scan.has_data() && !scan.is_within);
            }
        }
    }

    #[test]
    fn lines_of_data_are_joined_until_their_json_is_whole() {
        let content = "data: {\"choices\": []}\n\n";
        for (event, code) in [
            ("data: {\"error\":\ndata: {\"code\": 503}}\n\n", Some(503)),
            (
                "data: {\ndata: \"error\": {\ndata: \"x\": {},\ndata: \"code\": 503\ndata: }\ndata: }\n\n",
                Some(503),
            ),
            ("data: {\"error\": {\"x\": {}\r\nid: 7\r\ndata: , \"code\": 429}}\r\n\r\n", Some(429)),
            ("data: {\"error\": 1}\ndata: {\"error\": {\"code\": 503}}\n\n", Some(500)),
            ("data: {\"x\":\n\ndata: {\"error\": {\"code\": 502}}\n\n", Some(502)),
            ("data: {\"error\":\n\ndata: {\"code\": 503}}\n\n", None),
        ] {
            for (before, after) in [("", ""), (content, ""), ("", content), (content, content)] {
                let stream = format!("{before}{event}{after}");
                for size in 1..=stream.len() {
                    let mut scan = EventScan::default();
                    stream.as_bytes().chunks(size).for_each(|piece| scan.look(piece));
                    let error = scan.error().map(|error| error.code);
                    assert_eq!(error, code, "{stream} {size}");
                }
            }
        }
        let mut scan = EventScan::default();
        scan.look(b"data: {\"error\": [\n");
        assert!(!scan.has_data(), "the event has not ended");
        (0..MAX_LINE_BYTES).for_each(|_| scan.look(b"data: 1,\n"));
        assert!(scan.error().is_some() && scan.data.capacity() == 0, "bounded, and known by its beginning");
    }

    #[test]
    fn event_with_the_name_error_is_one_in_any_form() {
        let content = "data: {\"choices\": []}\n\n";
        for (event, code) in [
            ("event: error\ndata: {\"message\": \"full\", \"code\": 503}\n\n", Some(503)),
            ("event:error\r\ndata:{\"message\":\"x\",\"code\":\"429\"}\r\n\r\n", Some(429)),
            ("event: error\ndata: {\"error\": {\"code\": 502}}\n\n", Some(502)),
            ("event: error\ndata: {\"message\":\ndata: \"x\"}\n\n", Some(500)),
            ("event: error\ndata: it failed\n\n", Some(500)),
            ("event: error\ndata: {\"message\"\n\n", Some(500)),
            ("data: {\"message\": \"full\", \"code\": 503}\nevent: error\n\n", Some(503)),
            ("data: {\"message\": \"full\"}\nid: 7\nevent: error\nretry: 1\n\n", Some(500)),
            ("data: {\"code\": 502}\nevent: error\ndata: {\"code\": 503}\n\n", Some(503)),
            ("data: {\"message\": \"x\"}\n\nevent: error\n\n", None),
            ("event: errors\ndata: {\"message\": \"x\", \"code\": 503}\n\n", None),
            ("event: error\n\ndata: {\"message\": \"x\", \"code\": 503}\n\n", None),
        ] {
            for before in ["", content] {
                let stream = format!("{before}{event}");
                for size in 1..=stream.len() {
                    let mut scan = EventScan::default();
                    stream.as_bytes().chunks(size).for_each(|piece| scan.look(piece));
                    assert_eq!(scan.error().map(|error| error.code), code, "{stream} {size}");
                }
            }
        }
    }

    #[test]
    fn byte_order_mark_at_the_start_is_no_part_of_the_first_line() {
        let error = "data: {\"error\": {\"code\": 503}}\n\n";
        assert_eq!(scan(&[&format!("\u{feff}{error}")]), (true, Some(503)));
        assert_eq!(scan(&[&format!("\u{feff}: x\n\n{error}")]), (true, Some(503)));
        assert_eq!(scan(&[&format!("data: 1\n\n\u{feff}{error}")]), (true, None), "only there");
    }
}
