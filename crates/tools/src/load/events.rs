//! Server-sent events of a streamed answer, of a chat or a completion: how many of them carry text, and whether the
//! stream came to its end.

/// A line that is longer than this is no event of a chat.
const MOST_LINE_BYTES: usize = 16 << 20;
/// What is kept of an event that tells of an error.
const MOST_FAILURE_BYTES: usize = 1024;

/// Reads the events of one answer, however they are cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    /// The start of a line whose end has not come.
    carry: Vec<u8>,
    done: bool,
    failed: bool,
    /// The event that told of an error.
    failure: Vec<u8>,
}

impl EventReader {
    /// Forgets what was read, for the next answer.
    pub(crate) fn clear(&mut self) {
        self.carry.clear();
        self.failure.clear();
        (self.done, self.failed) = (false, false);
    }

    /// Reads the next piece and gives the number of events in it that carry text.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> u32 {
        let mut events = 0;
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            if self.carry.is_empty() {
                events += self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.carry);
                whole.extend_from_slice(line);
                events += self.line(&whole);
                whole.clear();
                self.carry = whole;
            }
        }
        if self.carry.len() + piece.len() > MOST_LINE_BYTES {
            self.failed = true;
        } else {
            self.carry.extend_from_slice(piece);
        }
        events
    }

    /// True if the end of the stream was announced.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// True if an event told of an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The event that told of an error; empty if there was none.
    pub(crate) fn failure(&self) -> &[u8] {
        &self.failure
    }

    fn line(&mut self, line: &[u8]) -> u32 {
        let Some(data) = line.strip_prefix(b"data:") else { return 0 };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
        } else if tells_of_an_error(data) {
            self.failed = true;
            if self.failure.is_empty() {
                self.failure.extend_from_slice(data.get(..MOST_FAILURE_BYTES).unwrap_or(data));
            }
        } else if carries_text(data) {
            return 1;
        }
        0
    }
}

/// True if a chunk tells of an error: vLLM and the router wrap it, SGLang does not.
fn tells_of_an_error(data: &[u8]) -> bool {
    [&br#"{"error""#[..], br#"{"object":"error""#, br#"{"object": "error""#]
        .iter()
        .any(|form| data.starts_with(form))
}

/// True if a chunk has text that is not empty: `content`, `reasoning_content`, `text` of a completion, or
/// the call of a tool. A scan instead of a parser: this runs once per token of the whole fleet.
fn carries_text(data: &[u8]) -> bool {
    has_text(data, br#"content":"#)
        || has_text(data, br#""text":"#)
        || find(data, br#""tool_calls":["#).is_some()
}

/// True if a key that ends like this has a text that is not empty.
fn has_text(data: &[u8], key: &[u8]) -> bool {
    let mut rest = data;
    while let Some(at) = find(rest, key) {
        rest = rest.get(at + key.len()..).unwrap_or_default();
        let value = rest.trim_ascii_start();
        if value.first() == Some(&b'"') && value.get(1) != Some(&b'"') {
            return true;
        }
    }
    false
}

/// Where a short text begins in a longer one.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The `completion_tokens` of a whole answer, if it tells.
pub(crate) fn completion_tokens(body: &[u8]) -> Option<u64> {
    usage_count(body, br#""completion_tokens":"#)
}

/// The count with this name, quotes and colon included, that is the last in an answer.
pub(crate) fn usage_count(body: &[u8], name: &[u8]) -> Option<u64> {
    // `usage` comes after the text, which may quote anything.
    let at = body.windows(name.len()).rposition(|window| window == name)?;
    let rest = body.get(at + name.len()..)?.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number: Option<u64>, digit| {
        Some(number.unwrap_or(0).saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\r\n\r\n\
        : a comment\n\
        data: {\"choices\":[{\"delta\":{\"content\": null, \"reasoning_content\": \"two\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n\
        data: [DONE]\n\n";

    #[test]
    fn events_with_text_are_counted_wherever_the_stream_is_cut() {
        for size in [1, 2, 7, 64, STREAM.len()] {
            let mut reader = EventReader::default();
            let events: u32 = STREAM.as_bytes().chunks(size).map(|piece| reader.push(piece)).sum();
            assert_eq!((events, reader.is_done(), reader.has_failed()), (3, true, false), "pieces of {size}");
        }
    }

    #[test]
    fn texts_of_completions_are_counted_and_quotations_in_chats_are_not() {
        let mut reader = EventReader::default();
        let completion = b"data: {\"choices\":[{\"index\":0,\"text\":\"\"}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"text\": \" one\"}]}\n\n";
        assert_eq!(reader.push(completion), 1);
        assert_eq!(
            reader.push(
                br#"data: {"name":"\"text\":\"x\""}
"#
            ),
            0
        );
    }

    #[test]
    fn error_and_missing_end_are_noticed_and_forgotten_for_the_next_answer() {
        let mut reader = EventReader::default();
        assert_eq!(reader.push(b"data: {\"error\":{\"message\":\"content\\\":\\\"x\"}}\n\ndata: "), 0);
        assert!(reader.has_failed() && !reader.is_done());
        reader.clear();
        assert_eq!(reader.push(b"[DONE]\n"), 0);
        assert!(!reader.has_failed() && !reader.is_done());
    }

    #[test]
    fn tokens_of_a_whole_answer_are_found_at_its_end() {
        let body = br#"{"text":"\"completion_tokens\":9","usage":{"completion_tokens": 12,"x":1}}"#;
        assert_eq!(completion_tokens(body), Some(12));
        assert_eq!(completion_tokens(b"{}"), None);
        assert_eq!(completion_tokens(br#"{"completion_tokens":null}"#), None);
    }
}
