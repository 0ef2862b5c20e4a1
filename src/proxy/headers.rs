//! Headers on their way through.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Version;
use http::header;
use http::response;

use crate::policies::HeaderLookup;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the router's own headers begin with.
const OWN_PREFIX: &str = "x-sgl-";

/// Headers that concern one connection only (RFC 9110, section 7.6.1). `expect` is answered by
/// this side.
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// A header map, as policies look at it.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(pub &'a HeaderMap);

impl HeaderLookup for Headers<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        find(self.0, name)?.to_str().ok()
    }
}

/// The first value of a header that most requests do not have, by its lower-case name. Looking
/// through the few names there are is cheaper than hashing this one.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
}

/// Takes out what concerns the client's connection only, and adds the client's address.
pub fn prepare_request(headers: &mut HeaderMap, client: &HeaderValue) {
    remove_hop_by_hop(headers);
    let mut before = headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).peekable();
    let value = if before.peek().is_none() {
        client.clone()
    } else {
        let all: Vec<&[u8]> = before.chain(std::iter::once(client.as_bytes())).collect();
        HeaderValue::from_maybe_shared(Bytes::from(all.join(&b", "[..]))).unwrap_or_else(|_| client.clone())
    };
    headers.insert(X_FORWARDED_FOR, value);
}

/// Makes the head of a worker's answer fit for the client's connection: without what concerns the
/// worker's, and without headers in the router's name.
pub fn prepare_answer(head: &mut response::Parts) {
    remove_hop_by_hop(&mut head.headers);
    while let Some(own) = head.headers.keys().find(|name| name.as_str().starts_with(OWN_PREFIX)).cloned() {
        head.headers.remove(own);
    }
    // The version is the connection's too: a worker's HTTP/1.0 would have the client take the end
    // of the connection for the end of the answer.
    head.version = Version::HTTP_11;
}

/// Takes out what concerns one connection only. Where the coding of a body goes, so does a length
/// beside it, which says nothing then (RFC 9112, section 6.3) and may be a lie.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // First: the coding may be among the headers that `connection` names.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    // One pass over few names is cheaper than nine look-ups; most messages have one or none.
    let named: Vec<HeaderValue> =
        headers.get_all(header::CONNECTION).iter().filter(|value| names_headers(value)).cloned().collect();
    named.iter().for_each(|value| remove_named(value, headers));
    while let Some(name) = headers.keys().find_map(|name| HOP_BY_HOP.iter().find(|hop| *hop == name)) {
        headers.remove(name);
    }
}

/// True if a body of this kind can be read as it comes: compressed, it is none until it is whole.
pub fn is_readable_as(headers: &HeaderMap, kind: &[u8]) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    value.get(..kind.len()).is_some_and(|value| value.eq_ignore_ascii_case(kind))
        && headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain)
}

/// True if a value of `connection` names headers that are to be removed too.
fn names_headers(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    !value.eq_ignore_ascii_case(b"keep-alive") && !value.eq_ignore_ascii_case(b"close")
}

fn remove_named(value: &HeaderValue, headers: &mut HeaderMap) {
    let Ok(names) = value.to_str() else { return };
    for name in names.split(',').map(str::trim) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(header).collect()
    }

    #[test]
    fn headers_of_the_connection_stay_behind_and_others_go_through() {
        let mut headers = map(&[
            ("connection", "x-private, Keep-Alive"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("content-type", "application/json"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("authorization", "Bearer x"), ("content-type", "application/json")]));
    }

    #[test]
    fn length_goes_with_the_coding_that_made_it_void() {
        for connection in ["close", "transfer-encoding", "close, Transfer-Encoding"] {
            let mut headers = map(&[
                ("connection", connection),
                ("content-length", "1"),
                ("transfer-encoding", "chunked"),
                ("etag", "x"),
            ]);
            remove_hop_by_hop(&mut headers);
            assert_eq!(headers, map(&[("etag", "x")]), "{connection}");
        }
        let mut headers = map(&[("content-length", "1")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("content-length", "1")]));
    }

    #[test]
    fn compressed_body_is_not_read_as_what_it_is() {
        for (encoding, readable) in [("identity", true), ("Identity", true), ("gzip", false), ("br", false)] {
            let headers =
                map(&[("content-type", "Text/Event-Stream; charset=utf-8"), ("content-encoding", encoding)]);
            assert_eq!(is_readable_as(&headers, b"text/event-stream"), readable, "{encoding}");
            assert!(!is_readable_as(&headers, b"application/json"));
        }
        let headers = map(&[
            ("content-type", "application/json"),
            ("content-encoding", "identity"),
            ("content-encoding", "gzip"),
        ]);
        assert!(!is_readable_as(&headers, b"application/json"), "all values count");
        assert!(is_readable_as(&map(&[("content-type", "application/json")]), b"application/json"));
        assert!(!is_readable_as(&map(&[]), b"application/json"));
    }

    #[test]
    fn answer_has_no_header_in_the_routers_name_and_the_routers_version() {
        let (mut head, ()) = http::Response::builder()
            .version(Version::HTTP_10)
            .header("x-sgl-worker", "forged")
            .header("x-sgl-decision", "forged")
            .header("x-sglang", "kept")
            .body(())
            .unwrap()
            .into_parts();
        prepare_answer(&mut head);
        assert_eq!((head.version, head.headers), (Version::HTTP_11, map(&[("x-sglang", "kept")])));
    }

    #[test]
    fn address_of_the_client_is_appended_to_those_before_it() {
        let client = HeaderValue::from_static("10.0.0.1");
        let mut headers = map(&[]);
        prepare_request(&mut headers, &client);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        prepare_request(&mut headers, &client);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.1");
    }
}
