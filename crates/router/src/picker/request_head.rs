//! Heads of requests and answers as Envoy tells them, and what its metadata say.

use std::collections::HashMap;

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
        headers.append(name, value);
    }
}

/// The addresses of the only workers that may be picked; `None` = all.
pub(crate) fn allowed(metadata: Option<&Metadata>) -> Option<Vec<String>> {
    let value = value(metadata, SUBSET_HINT, SUBSET)?;
    let texts: Vec<&str> = match value.kind.as_ref()? {
        Kind::ListValue(list) => list.values.iter().filter_map(text).collect(),
        Kind::StringValue(text) => text.split(',').collect(),
        _ => return None,
    };
    Some(texts.into_iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
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
    fn hint_is_a_list_or_a_text_and_an_empty_one_allows_nobody() {
        let list =
            |texts: &[&str]| Kind::ListValue(ListValue { values: texts.iter().map(|t| string(t)).collect() });
        let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            allowed(Some(&hint(list(&["10.0.0.1:80", " 10.0.0.2:80"])))),
            some(&["10.0.0.1:80", "10.0.0.2:80"])
        );
        assert_eq!(allowed(Some(&hint(Kind::StringValue("a:1, b:2".to_owned())))), some(&["a:1", "b:2"]));
        assert_eq!(allowed(Some(&hint(list(&[])))), some(&[]));
        assert_eq!(allowed(Some(&Metadata::default())), None);
        assert_eq!(allowed(None), None);
    }
}
