//! The body of a request to a worker.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The most blanks before and at the end of a JSON object in which members are put.
const MAX_BLANKS: usize = 4096;

/// Some clients begin a text with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is sent to a worker.
pub type Outgoing = http::Request<Payload>;

/// A body as it came, perhaps with something behind it: a body that grows is not copied for that.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    body: Bytes,
    tail: Bytes,
}

impl Payload {
    /// `body` and behind it `tail`.
    pub fn with_tail(body: Bytes, tail: Bytes) -> Self {
        Self { body, tail }
    }

    /// A JSON object with more members at its end, where they win over members of the same name before them.
    /// Nothing of the body is copied. `None` if it does not begin and end as an object, as what is compressed does
    /// not, or does so beside thousands of blanks.
    pub fn with_members(&self, members: &str) -> Option<Self> {
        let text = self.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.body);
        let first = text.iter().take(MAX_BLANKS).find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return None;
        }
        let last = if self.tail.is_empty() { &self.body } else { &self.tail };
        let blanks = last.iter().rev().take(MAX_BLANKS).take_while(|byte| byte.is_ascii_whitespace()).count();
        let kept = last.get(..last.len() - blanks)?.strip_suffix(b"}")?;
        let before = kept.iter().rev().take(MAX_BLANKS).find(|byte| !byte.is_ascii_whitespace());
        let comma = if before? == &b'{' { "" } else { "," };
        let end = format!("{comma}{members}}}");
        Some(if self.tail.is_empty() {
            Self { body: self.body.slice(..kept.len()), tail: end.into() }
        } else {
            Self { body: self.body.clone(), tail: [kept, end.as_bytes()].concat().into() }
        })
    }
}

impl From<Bytes> for Payload {
    fn from(body: Bytes) -> Self {
        Self { body, tail: Bytes::new() }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { body, tail } = self.get_mut();
        let next = std::mem::take(if body.is_empty() { tail } else { body });
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty() && self.tail.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.body.len().saturating_add(self.tail.len());
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(payload: &Payload) -> String {
        String::from_utf8([&*payload.body, &*payload.tail].concat()).unwrap()
    }

    #[test]
    fn members_are_put_at_the_end_of_an_object_once_and_again() {
        for (body, expected) in [
            (r#"{"a": 1}"#, r#"{"a": 1,"b":2}"#),
            ("\u{feff} {\"a\": {}} \n", "\u{feff} {\"a\": {},\"b\":2}"),
            (" { } ", " { \"b\":2}"),
        ] {
            let payload = Payload::from(Bytes::from(body));
            let once = payload.with_members(r#""b":2"#).unwrap();
            assert_eq!(whole(&once), expected);
            let twice = once.with_members(r#""c":3"#).unwrap();
            assert_eq!(whole(&twice), expected.replace("2}", r#"2,"c":3}"#));
        }
        let far = format!("{{}}{}", " ".repeat(5000));
        let late = format!("{}{{}}", " ".repeat(5000));
        for other in ["", "[]", "}", "7", "[{}", "abc}", "\u{1f}\u{8b}\"}", &far, &late] {
            assert!(Payload::from(Bytes::from(other.to_owned())).with_members("").is_none(), "{other:.9}");
        }
    }
}
