//! The last event of a stream, from the end of the stream.

use memchr::{memmem, memrchr};

use crate::proxy::json_end::Begins;

/// Most lines of data that are joined: each has what came so far read again.
const MAX_LINES: usize = 64;

/// Most bytes of them.
const MAX_BYTES: usize = 16 << 10;

/// Longest data that may say that a stream ends.
const MAX_END_BYTES: usize = 64;

/// Reads the last event with data in the end of a stream, apart from what only says that it ends: `[DONE]`,
/// and Anthropic's `message_stop`. `begins` tells where an object begins, and whether `read` has to do with
/// the end of one only. Where an event is one line and nothing
/// else its data is read at once; else its lines are joined.
pub(crate) fn last_event<T>(
    tail: &[u8],
    is_cut: bool,
    begins: impl Fn(&[u8]) -> Begins,
    read: impl FnOnce(&[u8], bool) -> Option<T>,
) -> Option<T> {
    let mut joined = Vec::new();
    let mut lines = 0;
    let mut rest = Some(tail);
    while let Some(text) = rest {
        let end = memrchr(b'\n', text);
        let line = text.get(end.map_or(0, |end| end + 1)..)?;
        rest = end.and_then(|end| text.get(..end));
        // The first line of a tail that was cut has lost its beginning: it can only be the end of data.
        let is_cut = is_cut && rest.is_none();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && !joined.is_empty() {
            return None;
        }
        let Some(data) = line.strip_prefix(b"data:").or(is_cut.then_some(line)) else { continue };
        let data = data.trim_ascii();
        if joined.is_empty() && (data.is_empty() || is_end(data)) {
            continue;
        }
        lines += 1;
        if lines > MAX_LINES || joined.len() > MAX_BYTES {
            return None;
        }
        let before = std::mem::replace(&mut joined, data.to_vec());
        joined.push(b'\n');
        joined.extend_from_slice(&before);
        match begins(&joined) {
            Begins::Here => return read(&joined, false),
            Begins::Before if is_cut => return read(&joined, true),
            // A line more may complete it.
            Begins::Before => {}
            Begins::Elsewhere => return None,
        }
    }
    None
}

/// True for data that only says that the stream ends.
fn is_end(data: &[u8]) -> bool {
    let says_stop = || memmem::find(data, b"\"message_stop\"").is_some();
    data == b"[DONE]" || (data.len() <= MAX_END_BYTES && data.starts_with(b"{") && says_stop())
}
