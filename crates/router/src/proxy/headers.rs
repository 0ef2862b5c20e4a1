//! Headers on their way through.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, response};

use crate::records::Draft;
use sgl_upstream::UpstreamError;
use sglang_router_rs::policies::HeaderLookup;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the router's own headers begin with.
const OWN_PREFIX: &str = "x-sgl-";

/// What a client's request says that is not for workers.
#[derive(Debug)]
pub(crate) struct SaidByClient {
    /// What speaks to this router.
    pub(crate) own: Vec<(HeaderName, HeaderValue)>,
    /// How many proxies the request came through before its client's connection.
    pub(crate) hops: usize,
}

/// True for headers that concern one connection only (RFC 9110, section 7.6.1). `expect` is answered
/// by this side.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "transfer-encoding"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
    )
}

fn is_own(name: &str) -> bool {
    name.starts_with(OWN_PREFIX)
}

/// Tells the client how its request is recorded.
pub(crate) fn tell_record(record: &Draft, headers: &mut HeaderMap) {
    for (name, value) in record.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// What is among the names of the headers, from one pass: looking for each by its hash costs more.
#[derive(Clone, Copy, Debug, Default)]
struct SeenNames {
    has_hop_by_hop: bool,
    has_own: bool,
}

impl SeenNames {
    fn in_names(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            seen.has_hop_by_hop |= is_hop_by_hop(name);
            seen.has_own |= is_own(name);
        }
        seen
    }
}

/// A header map, as policies look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers<'a>(pub &'a HeaderMap);

impl HeaderLookup for Headers<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        find(self.0, name)?.to_str().ok()
    }
}

/// The first value of a header that most requests do not have, by its lower-case name. Looking
/// through the few names there are is cheaper than hashing this one.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
}

/// Takes out what concerns the client's connection only, and adds the client's address. Gives what
/// speaks to this router: also what `connection` names, since that is for the next hop, and so for
/// this one.
pub(crate) fn prepare_request(headers: &mut HeaderMap, client: &HeaderValue) -> SaidByClient {
    let seen = SeenNames::in_names(headers);
    // Nearly no request has any, and an empty list takes no memory.
    let own = if seen.has_own { own_of(headers) } else { Vec::new() };
    if seen.has_hop_by_hop {
        remove_hop_by_hop(headers);
    }
    let mut before = headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).peekable();
    let mut hops = 0;
    let value = if before.peek().is_none() {
        client.clone()
    } else {
        let all: Vec<&[u8]> = before.chain(std::iter::once(client.as_bytes())).collect();
        let commas = all.iter().flat_map(|value| value.iter()).filter(|byte| **byte == b',').count();
        hops = all.len() - 1 + commas;
        HeaderValue::from_maybe_shared(Bytes::from(all.join(&b", "[..]))).unwrap_or_else(|_| client.clone())
    };
    headers.insert(X_FORWARDED_FOR, value);
    SaidByClient { own, hops }
}

/// Makes one header of the several that HTTP/2 may cut `cookie` into (RFC 9113, section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..])))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// The headers that speak to this router.
pub(crate) fn own_of(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let own = headers.iter().filter(|(name, _)| is_own(name.as_str()));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Makes the head of a worker's answer fit for the client's connection: without what concerns the
/// worker's, and without headers in the router's name.
pub(crate) fn prepare_answer(head: &mut response::Parts) {
    let seen = SeenNames::in_names(&head.headers);
    if seen.has_hop_by_hop {
        remove_hop_by_hop(&mut head.headers);
    }
    if seen.has_own {
        remove_all(&mut head.headers, is_own);
    }
    // The version is the connection's too: a worker's HTTP/1.0 would have the client take the end
    // of the connection for the end of the answer.
    head.version = Version::HTTP_11;
}

/// Takes out what concerns one connection only. Where the coding of a body goes, so does a length
/// beside it, which says nothing then (RFC 9112, section 6.3) and may be a lie.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // First: the coding may be among the headers that `connection` names.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let named: Vec<HeaderValue> =
        headers.get_all(header::CONNECTION).iter().filter(|value| names_headers(value)).cloned().collect();
    named.iter().for_each(|value| remove_named(value, headers));
    remove_all(headers, is_hop_by_hop);
}

fn remove_all(headers: &mut HeaderMap, is_meant: fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_meant(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// True if a body without a length says by its coding where it ends.
///
/// # Errors
///
/// [`UpstreamError::Coded`] if it is coded in another way too. Nobody asked for that (RFC 9112, sections
/// 6.1 and 7.4: no `te` is sent), hyper undoes the chunks only, and the header is not the client's to see.
pub(crate) fn is_chunked(headers: &HeaderMap) -> Result<bool, UpstreamError> {
    let values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut is_chunked = false;
    for coding in codings.map(<[u8]>::trim_ascii) {
        match coding {
            b"" => {}
            _ if coding.eq_ignore_ascii_case(b"identity") => {}
            _ if !is_chunked && coding.eq_ignore_ascii_case(b"chunked") => is_chunked = true,
            _ => return Err(UpstreamError::Coded),
        }
    }
    Ok(is_chunked)
}

/// True if a body of this kind can be read as it comes: compressed, it is none until it is whole.
pub(crate) fn is_readable_as(headers: &HeaderMap, kind: &[u8]) -> bool {
    content_type(headers).get(..kind.len()).is_some_and(|value| value.eq_ignore_ascii_case(kind))
        && is_plain(headers)
}

/// True if a body is JSON, perhaps of a special kind (`application/problem+json`), and not compressed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    const SUFFIX: &[u8] = b"+json";
    let name = content_type(headers).split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let end = name.get(name.len().saturating_sub(SUFFIX.len())..).unwrap_or_default();
    is_readable_as(headers, b"application/json") || end.eq_ignore_ascii_case(SUFFIX) && is_plain(headers)
}

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map_or(&[], |value| value.as_bytes())
}

fn is_plain(headers: &HeaderMap) -> bool {
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain)
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
    fn coding_that_is_more_than_chunks_is_refused() {
        for (values, expected) in [
            (&[][..], Some(false)),
            (&["chunked"], Some(true)),
            (&[" Chunked ,"], Some(true)),
            (&["identity"], Some(false)),
            (&["identity, chunked"], Some(true)),
            (&["gzip, chunked"], None),
            (&["gzip", "chunked"], None),
            (&["chunked", "gzip"], None),
            (&["gzip"], None),
            (&["chunked, chunked"], None),
            (&["chunked;a=b"], None),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
            assert_eq!(is_chunked(&map(&headers)).ok(), expected, "{values:?}");
        }
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
    fn special_kinds_of_json_are_json() {
        let is = |kind: &'static str| is_json(&map(&[("content-type", kind)]));
        for kind in ["application/json", "application/problem+json", "Application/X+JSON ; charset=utf-8"] {
            assert!(is(kind), "{kind}");
        }
        for kind in ["text/plain", "json", "+jso", "text/plain; a=b+json", ""] {
            assert!(!is(kind), "{kind}");
        }
        let compressed = map(&[("content-type", "application/problem+json"), ("content-encoding", "gzip")]);
        assert!(!is_json(&compressed));
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
