//! Bodies that end with their connection, so that a cut-off looks like an end.

use http::Version;
use http::header;
use http::response;

use crate::proxy::headers::is_readable_as;

/// How much of the end is kept: `[DONE]` and a few line ends.
const TAIL_BYTES: usize = 16;

/// The end of a body without a length, as HTTP/1.0 workers send it. Whether it came whole can only be
/// told by what it is: a stream of events ends with `[DONE]`, a JSON object with its brace.
#[derive(Debug)]
pub struct OpenEnd {
    is_stream: bool,
    tail: [u8; TAIL_BYTES],
}

impl OpenEnd {
    /// `None` if the body says itself where it ends, by its length if it `has_length`; or is neither
    /// events nor JSON, or is compressed.
    pub fn of(head: &response::Parts, has_length: bool) -> Option<Self> {
        let is_chunked =
            || head.version == Version::HTTP_11 && head.headers.contains_key(header::TRANSFER_ENCODING);
        if has_length || is_chunked() {
            return None;
        }
        let is_stream = is_readable_as(&head.headers, b"text/event-stream");
        let known = is_stream || is_readable_as(&head.headers, b"application/json");
        known.then_some(Self { is_stream, tail: [b' '; TAIL_BYTES] })
    }

    /// The next piece.
    pub fn look(&mut self, piece: &[u8]) {
        let new = piece.get(piece.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        self.tail.rotate_left(new.len());
        let at = TAIL_BYTES - new.len();
        self.tail.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
    }

    /// True if the body was cut off. One that ends in blanks only cannot be told.
    pub fn is_cut(&self) -> bool {
        let end = self.tail.trim_ascii_end();
        let ends: &[&[u8]] = if self.is_stream { &[b"[DONE]"] } else { &[b"}", b"]"] };
        !end.is_empty() && !ends.iter().any(|known| end.ends_with(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_is_known_by_what_is_missing_at_the_end() {
        let cut = |is_stream, pieces: &[&str]| {
            let mut end = OpenEnd { is_stream, tail: [b' '; TAIL_BYTES] };
            pieces.iter().for_each(|piece| end.look(piece.as_bytes()));
            end.is_cut()
        };
        assert!(!cut(true, &["data: 1\n\n", "data: [DO", "NE]\r\n", "\r\n"]));
        assert!(cut(true, &["data: 1\n\n", "data: [DO"]));
        assert!(cut(true, &["data: a long event that ends without the word for it\n\n"]));
        assert!(!cut(false, &["{\"a\": 1", "}\n"]));
        assert!(cut(false, &["{\"a\": 1"]));
        assert!(!cut(false, &[]), "nothing is known of an empty body");
    }
}
