//! Heads of requests and answers as Envoy tells them, and what its metadata say.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap as ToldHeaders, Metadata};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request};

use crate::picker::names::{LB, SERVED, SUBSET, SUBSET_HINT};

/// A request's head. What is none of HTTP is left out: Envoy would not have let it in.
pub(crate) fn request_head(told: Option<ToldHeaders>) -> request::Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for_each(told, |name, value| match name {
        ":method" => head.method = Method::from_bytes(&value).unwrap_or_default(),
        ":path" => head.uri = Uri::from_maybe_shared(value).unwrap_or_default(),
        name => add(&mut head.headers, name, value),
    });
    head
}

/// An answer's status, and those of its headers that say something of its worker.
pub(crate) fn answer_head(told: Option<ToldHeaders>) -> (Option<u16>, HeaderMap) {
    let (mut status, mut headers) = (None, HeaderMap::new());
    for_each(told, |name, value| match name {
        ":status" => status = std::str::from_utf8(&value).ok().and_then(|value| value.parse().ok()),
        "retry-after" => add(&mut headers, name, value),
        _ => {}
    });
    (status, headers)
}

fn for_each(told: Option<ToldHeaders>, mut take: impl FnMut(&str, Bytes)) {
    for header in told.into_iter().flat_map(|told| told.headers) {
        // One of the two, by a setting of Envoy's.
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        take(&header.key, value.into());
    }
}

fn add(headers: &mut HeaderMap, name: &str, value: Bytes) {
    if name.starts_with(':') {
        return;
    }
    if let (Ok(name), Ok(value)) =
        (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
    {
        // There is a limit of names, far above what Envoy lets in: those behind it are left out.
        let _ = headers.try_append(name, value);
    }
}

/// The addresses of the only workers that may be picked; `None` = all. A hint of another form than a list or a
/// text allows nobody: to pick anybody might be to pick one outside of it.
pub(crate) fn allowed(metadata: Option<&Metadata>) -> Option<Vec<String>> {
    let texts: Vec<&str> = match &value(metadata, SUBSET_HINT, SUBSET)?.kind {
        Some(Kind::ListValue(list)) => list.values.iter().filter_map(text).collect(),
        Some(Kind::StringValue(text)) => text.split(',').collect(),
        _ => Vec::new(),
    };
    Some(texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).map(one_form).collect())
}

/// An address in the form in which workers have theirs: one of IPv6 can be written in several.
fn one_form(address: &str) -> String {
    address.parse().map_or_else(|_| address.to_owned(), |address: SocketAddr| address.to_string())
}

/// The address of the worker that has served the request.
pub(crate) fn served(metadata: Option<&Metadata>) -> Option<&str> {
    text(value(metadata, LB, SERVED)?)
}

fn value<'a>(metadata: Option<&'a Metadata>, namespace: &str, key: &str) -> Option<&'a Value> {
    let fields: &HashMap<String, Value> = {
        let Struct { fields } = metadata?.filter_metadata.get(namespace)?;
        fields
    };
    fields.get(key)
}

fn text(value: &Value) -> Option<&str> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::HeaderValue as ToldHeader;
    use envoy_types::pb::google::protobuf::ListValue;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Option<ToldHeaders> {
        let header = |(place, (key, value)): (usize, &(&str, &str))| {
            let mut header = ToldHeader { key: (*key).to_owned(), ..ToldHeader::default() };
            if place % 2 == 0 {
                header.raw_value = value.as_bytes().to_vec();
            } else {
                header.value = (*value).to_owned();
            }
            header
        };
        Some(ToldHeaders { headers: pairs.iter().enumerate().map(header).collect() })
    }

    fn hint(kind: Kind) -> Metadata {
        let fields = HashMap::from([(SUBSET.to_owned(), Value { kind: Some(kind) })]);
        let filter_metadata = HashMap::from([(SUBSET_HINT.to_owned(), Struct { fields })]);
        Metadata { filter_metadata, ..Metadata::default() }
    }

    fn string(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    #[test]
    fn head_is_that_of_the_request_without_what_is_none_of_http() {
        let head = request_head(headers(&[
            (":method", "POST"),
            (":path", "/v1/completions?a=b"),
            (":scheme", "http"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x b", "no name"),
        ]));
        assert_eq!((head.method, head.uri.to_string()), (Method::POST, "/v1/completions?a=b".to_owned()));
        let all: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(all, [("x-a", &b"1"[..]), ("x-a", b"2")]);
        let (status, told) =
            answer_head(headers(&[(":status", "429"), ("retry-after", "3"), ("x-other", "4")]));
        assert_eq!((status, told["retry-after"].as_bytes(), told.len()), (Some(429), &b"3"[..], 1));
        assert_eq!(answer_head(None).0, None);
    }

    #[test]
    fn head_with_more_names_than_a_map_can_hold_is_cut() {
        let names: Vec<String> = (0..40_000).map(|number| format!("x-{number}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let head = request_head(headers(&pairs));
        assert!(head.headers.len() > 20_000 && head.headers.contains_key("x-0"), "{}", head.headers.len());
    }

    #[test]
    fn hint_is_a_list_or_a_text_and_an_empty_one_allows_nobody() {
        let list =
            |texts: &[&str]| Kind::ListValue(ListValue { values: texts.iter().map(|t| string(t)).collect() });
        let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            allowed(Some(&hint(list(&["10.0.0.1:80", " 10.0.0.2:80"])))),
            some(&["10.0.0.1:80", "10.0.0.2:80"])
        );
        assert_eq!(allowed(Some(&hint(Kind::StringValue("a:1, b:2".to_owned())))), some(&["a:1", "b:2"]));
        assert_eq!(allowed(Some(&hint(list(&["[0:0::1]:80"])))), some(&["[::1]:80"]));
        assert_eq!(allowed(Some(&hint(list(&[])))), some(&[]));
        for odd in [Kind::NullValue(0), Kind::NumberValue(80.0), Kind::BoolValue(true)] {
            assert_eq!(allowed(Some(&hint(odd))), some(&[]), "what cannot be understood allows nobody");
        }
        assert_eq!(allowed(Some(&Metadata::default())), None);
        assert_eq!(allowed(None), None);
    }
}
