//! Bodies that end with their connection, so that a cut-off looks like an end.

use http::response;

use crate::proxy::headers::{is_json, is_readable_as};

/// How much of the end of a stream is kept: `[DONE]` and a few line ends.
const TAIL_BYTES: usize = 16;

/// The end of a body without a length, as HTTP/1.0 workers send it. Whether it came whole can only be
/// told by what it is: a stream of events ends with `[DONE]`, JSON closes what it opens. An empty body
/// is neither; but an error may have nothing to say beyond its status.
#[derive(Debug)]
pub struct OpenEnd {
    so_far: SoFar,
    may_be_empty: bool,
}

#[derive(Debug)]
enum SoFar {
    /// The last bytes of a stream of events.
    Stream([u8; TAIL_BYTES]),
    Json(Nesting),
}

/// How much of a JSON text is still open.
#[derive(Debug, Default)]
struct Nesting {
    has_begun: bool,
    /// Objects and arrays that are open.
    depth: u64,
    in_string: bool,
    /// Whether the next byte of a string stands for itself.
    is_escaped: bool,
}

impl OpenEnd {
    /// Of a body that does not say itself where it ends; `None` if it is neither events nor JSON, or is
    /// compressed.
    pub fn of(head: &response::Parts) -> Option<Self> {
        let so_far = if is_readable_as(&head.headers, b"text/event-stream") {
            SoFar::Stream([b' '; TAIL_BYTES])
        } else if is_json(&head.headers) {
            SoFar::Json(Nesting::default())
        } else {
            return None;
        };
        Some(Self { so_far, may_be_empty: !head.status.is_success() })
    }

    /// True if there must be some JSON.
    pub(crate) fn promises_json(&self) -> bool {
        matches!(self.so_far, SoFar::Json(_)) && !self.may_be_empty
    }

    /// The next piece.
    pub fn look(&mut self, piece: &[u8]) {
        match &mut self.so_far {
            SoFar::Stream(tail) => {
                let new = piece.get(piece.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
                tail.rotate_left(new.len());
                let at = TAIL_BYTES - new.len();
                tail.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
            }
            SoFar::Json(nesting) => piece.iter().for_each(|byte| nesting.look(*byte)),
        }
    }

    /// True if the body was cut off. JSON that is no object, array or text may have been longer: that
    /// cannot be told.
    pub fn is_cut(&self) -> bool {
        let (is_empty, is_whole) = match &self.so_far {
            SoFar::Stream(tail) => {
                let end = tail.trim_ascii_end();
                (end.is_empty(), end.ends_with(b"[DONE]"))
            }
            SoFar::Json(nesting) => (!nesting.has_begun, nesting.is_closed()),
        };
        if is_empty { !self.may_be_empty } else { !is_whole }
    }
}

impl Nesting {
    fn look(&mut self, byte: u8) {
        if self.in_string {
            let is_escaped = std::mem::take(&mut self.is_escaped);
            match byte {
                _ if is_escaped => {}
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        self.has_begun |= !byte.is_ascii_whitespace();
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn is_closed(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use http::{Response, Version};

    use super::*;

    fn of(status: u16, kind: &str) -> Option<OpenEnd> {
        let head = Response::builder().version(Version::HTTP_10).status(status);
        OpenEnd::of(&head.header("content-type", kind).body(()).unwrap().into_parts().0)
    }

    fn cut(kind: &str, pieces: &[&str]) -> bool {
        let mut end = of(200, kind).unwrap();
        pieces.iter().for_each(|piece| end.look(piece.as_bytes()));
        end.is_cut()
    }

    #[test]
    fn cut_off_is_known_by_what_is_missing_at_the_end() {
        let events = |pieces: &[&str]| cut("text/event-stream", pieces);
        assert!(!events(&["data: 1\n\n", "data: [DO", "NE]\r\n", "\r\n"]));
        assert!(events(&["data: 1\n\n", "data: [DO"]));
        assert!(events(&["data: a long event that ends without the word for it\n\n"]));
        let json = |pieces: &[&str]| cut("application/json", pieces);
        assert!(!json(&["{\"a\": 1", "}\n"]));
        assert!(json(&["{\"a\": 1"]));
    }

    #[test]
    fn json_is_whole_once_it_has_closed_what_it_opened() {
        let whole = "{\"a\": [{\"b\": \"}]\\\"\\\\\"}, 1], \"c\": \"[{\"}";
        for size in [1, 3, whole.len()] {
            for end in 1..=whole.len() {
                let pieces: Vec<&str> = whole.as_bytes()[..end]
                    .chunks(size)
                    .map(|piece| std::str::from_utf8(piece).unwrap())
                    .collect();
                assert_eq!(cut("application/json", &pieces), end < whole.len(), "{size}: {}", &whole[..end]);
            }
        }
        assert!(
            cut("application/json", &["{\"choices\":[{\"message\":{\"content\":\"hi\"}"]),
            "an inner brace"
        );
        assert!(cut("application/json", &["\"text"]));
        for whole in ["\"text\"", "null", "1", "[]\n", "{}\n{}\n", "}"] {
            assert!(!cut("application/json", &[whole]), "{whole}");
        }
    }

    #[test]
    fn empty_body_is_cut_off_unless_it_belongs_to_an_error() {
        for kind in ["application/json", "text/event-stream"] {
            assert!(cut(kind, &[]), "whoever says 200 has something to say");
            assert!(cut(kind, &[" \r\n"]));
            for status in [404, 500] {
                assert!(!of(status, kind).unwrap().is_cut(), "{status}: its status says it all");
            }
        }
        assert!(of(200, "text/plain").is_none());
    }
}
