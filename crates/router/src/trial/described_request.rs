//! A request as an author describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::near_names::nearest_first;

/// Keys of which a client's body has one, and a description none.
const BODY_KEYS: [&str; 4] = ["messages", "prompt", "input", "input_ids"];

/// A request by the names of the inputs, or with the body that a client sends, or both: what is given by
/// name wins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DescribedRequest {
    pub(crate) body: Option<Value>,
    pub(crate) request_text: Option<String>,
    pub(crate) request_tokens: Option<Vec<u32>>,
    pub(crate) prompt_bytes: Option<usize>,
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) prompt_tokens_exact: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: Option<bool>,
    pub(crate) route: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) prefix_hashes: Option<Vec<u64>>,
    pub(crate) arrival_rate: Option<f32>,
    pub(crate) model: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) waited_ms: u64,
    pub(crate) may_wait_ms: Option<u64>,
    pub(crate) held: u32,
    pub(crate) leg: Option<DescribedLeg>,
    pub(crate) pair: Option<bool>,
    /// Workers that were tried for it.
    pub(crate) excluded: Vec<WorkerName>,
}

/// A leg by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DescribedLeg {
    Single,
    Prefill,
    Decode,
}

/// A worker by its URL or its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum WorkerName {
    Place(usize),
    Url(String),
}

/// Reads a file of requests: one, or a list of them. Each is a description, or a body as clients send it.
///
/// # Errors
///
/// What is wrong with it: a name that is none comes with the nearest ones.
pub(crate) fn described_requests(text: &str) -> Result<Vec<DescribedRequest>, String> {
    let fault = |error: serde_json::Error| nearest_first(&error.to_string());
    if text.trim_start().starts_with('[') {
        let values: Vec<Value> = serde_json::from_str(text).map_err(fault)?;
        let one = |(index, value): (usize, Value)| {
            let is_body = is_body(&value);
            let body = |value| DescribedRequest { body: Some(value), ..DescribedRequest::default() };
            let found = if is_body { Ok(body(value)) } else { serde_json::from_value(value) };
            found.map_err(|error| format!("[{index}]: {}", fault(error)))
        };
        let requests: Vec<DescribedRequest> =
            values.into_iter().enumerate().map(one).collect::<Result<_, _>>()?;
        return if requests.is_empty() {
            Err("it is an empty list; a request is {}".to_owned())
        } else {
            Ok(requests)
        };
    }
    let value: Value = serde_json::from_str(text).map_err(fault)?;
    if is_body(&value) {
        return Ok(vec![DescribedRequest { body: Some(value), ..DescribedRequest::default() }]);
    }
    // Read anew, since a value has no lines.
    Ok(vec![serde_json::from_str(text).map_err(fault)?])
}

fn is_body(value: &Value) -> bool {
    BODY_KEYS.iter().any(|key| value.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_descriptions_or_bodies_one_or_many() {
        let one = described_requests(r#"{"request_text": "hi", "headers": {"x-user": "a"}}"#).unwrap();
        assert_eq!(one[0].request_text.as_deref(), Some("hi"));
        let many = described_requests(r#"[{}, {"messages": []}, {"excluded": [0, "http://a"]}]"#).unwrap();
        assert!(many[0] == DescribedRequest::default() && many[1].body.is_some());
        assert_eq!(many[2].excluded, [WorkerName::Place(0), WorkerName::Url("http://a".to_owned())]);
    }

    #[test]
    fn name_that_is_none_comes_with_the_nearest_first() {
        let fault = described_requests(r#"{"sesion": "a"}"#).unwrap_err();
        assert!(fault.starts_with("unknown field `sesion`, expected one of `session`, "), "{fault}");
        let fault = described_requests(r#"[{}, {"legs": "decode"}]"#).unwrap_err();
        assert!(fault.starts_with("[1]: unknown field `legs`, expected one of `leg`, "), "{fault}");
        assert!(described_requests("[]").unwrap_err().contains("empty list"));
    }
}
