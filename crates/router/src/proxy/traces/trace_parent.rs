//! The header `traceparent` (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{SpanId, TraceFlags, TraceId};

/// The header.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What vendors add to it; means nothing without it.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of a header of version 0.
const LENGTH: usize = 55;

/// A span of a trace, as whoever calls tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) is_sampled: bool,
}

impl TraceParent {
    /// What the headers say; `None` if they say nothing, or nothing that is valid: a trace begins anew then.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(&TRACEPARENT).iter();
        let (value, None) = (all.next()?, all.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let parts: Vec<&[u8]> = head.split(|byte| *byte == b'-').collect();
        let [version, trace, span, flags] = parts.as_slice() else { return None };
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = [version.len(), trace.len(), span.len(), flags.len()];
        if lengths != [2, 32, 16, 2] || !parts.iter().all(|part| is_hex(part)) || *version == b"ff" {
            return None;
        }
        // Later versions may add to it, behind another dash.
        if !rest.is_empty() && (*version == b"00" || !rest.starts_with(b"-")) {
            return None;
        }
        let text = |part| std::str::from_utf8(part).ok();
        let (trace, span) = (TraceId::from_hex(text(trace)?).ok()?, SpanId::from_hex(text(span)?).ok()?);
        let flags = u8::from_str_radix(text(flags)?, 16).ok()?;
        let is_valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        is_valid.then_some(Self { trace, span, is_sampled: TraceFlags::new(flags).is_sampled() })
    }

    /// The header that tells of it.
    pub(crate) fn header(self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (_, digits) = text.split_at_mut(3);
        let (trace, digits) = digits.split_at_mut(33);
        let (span, flags) = digits.split_at_mut(17);
        write_hex(&self.trace.to_bytes(), trace);
        write_hex(&self.span.to_bytes(), span);
        write_hex(&[u8::from(self.is_sampled)], flags);
        // It is made of digits.
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Two digits for each byte. Formatting takes ten times as long, for a header of every request.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

/// An id that no other span has, by chance.
pub(in crate::proxy::traces) fn new_span() -> SpanId {
    SpanId::from(fastrand::u64(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn header_is_read_as_it_is_written() {
        let parent = TraceParent::parse(VALID.as_bytes()).unwrap();
        assert!(parent.is_sampled);
        assert_eq!(parent.header(), VALID);
        let unsampled = TraceParent::parse(VALID.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled);
        // A later version, with more behind it and other flags.
        let later = format!("cc{}-more", VALID.get(2..).unwrap()).replace("-01", "-03");
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(parent));
    }

    #[test]
    fn header_that_is_none_is_not_believed() {
        for odd in [
            String::new(),
            VALID.replace("00-0a", "ff-0a"),
            VALID.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            VALID.replace("b7ad6b7169203331", &"0".repeat(16)),
            VALID.to_uppercase(),
            format!("{VALID}-more"),
            VALID.replace("-01", "-0"),
            VALID.replace("-b7", "b-7"),
            VALID.replace("-01", "-0g"),
        ] {
            assert_eq!(TraceParent::parse(odd.as_bytes()), None, "{odd}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(TraceParent::read(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert_eq!(TraceParent::read(&headers), None);
    }
}
