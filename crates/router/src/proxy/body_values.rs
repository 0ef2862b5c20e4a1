//! Values of a body that are wanted by where they are in it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::requests_section::SessionSource;
use crate::proxy::json::{Broken, Json};
use sglang_router_rs::policies::{FieldLookup, WantedNames};
use sglang_router_rs::types::JsonPointer;

/// Bytes of a value that are kept: far above any key or name.
pub(crate) const MAX_VALUE_BYTES: usize = 4096;

/// Longest number, in bytes.
const MAX_NUMBER_BYTES: usize = 64;

/// Which values are wanted: those of the policy, and those that may be the key of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedFields {
    /// The policy's.
    pub names: Option<Arc<WantedNames>>,
    /// The sources of a session's key, if that is wanted.
    pub session: Option<Arc<[SessionSource]>>,
}

impl WantedFields {
    /// Where the values are: first the policy's, then the session's.
    fn pointers(&self) -> impl Iterator<Item = &JsonPointer> {
        let session = self.session.iter().flat_map(|sources| sources.iter());
        let session = session.filter_map(|source| match source {
            SessionSource::Field(pointer) => Some(pointer),
            SessionSource::Header(_) | SessionSource::Query(_) => None,
        });
        self.names.iter().flat_map(|names| &names.fields).chain(session)
    }

    /// True if nothing of the body is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.pointers().next().is_none()
    }
}

/// What was found of them.
#[derive(Debug, Default)]
pub struct BodyValues<'a> {
    wanted: WantedFields,
    /// In the order of the pointers; empty if nothing is wanted.
    values: Vec<Option<Cow<'a, str>>>,
}

impl<'a> BodyValues<'a> {
    pub(crate) fn new(wanted: WantedFields) -> Self {
        Self { values: wanted.pointers().map(|_| None).collect(), wanted }
    }

    /// Reads what is wanted of the value of a key of the body. What was found under the same key before
    /// does not count any more.
    #[inline]
    pub(crate) fn read(&mut self, key: &str, json: &Json<'a>) {
        if !self.values.is_empty() {
            self.read_some(key, json);
        }
    }

    fn read_some(&mut self, key: &str, json: &Json<'a>) {
        for (pointer, value) in self.wanted.pointers().zip(&mut self.values) {
            if let Some((first, rest)) = pointer.steps().split_first()
                && **first == *key
            {
                // What is broken here, the reader of the whole body will find broken too.
                let _ = find(&mut json.clone(), rest, value);
            }
        }
    }

    /// The value at this pointer.
    pub(crate) fn get(&self, pointer: &JsonPointer) -> Option<&str> {
        let mut found = self.wanted.pointers().zip(&self.values).filter(|(known, _)| *known == pointer);
        found.next()?.1.as_deref()
    }

    /// The same without the body.
    pub(crate) fn into_owned(self) -> BodyValues<'static> {
        let owned = |value: Option<Cow<'_, str>>| value.map(|text| Cow::Owned(text.into_owned()));
        BodyValues { values: self.values.into_iter().map(owned).collect(), wanted: self.wanted }
    }
}

impl FieldLookup for BodyValues<'_> {
    fn field(&self, pointer: &str) -> Option<&str> {
        let mut found =
            self.wanted.pointers().zip(&self.values).filter(|(known, _)| known.as_str() == pointer);
        found.next()?.1.as_deref()
    }
}

/// Finds the value to which the steps lead. As deep as the pointer, which is bounded.
fn find<'a>(json: &mut Json<'a>, steps: &[Box<str>], value: &mut Option<Cow<'a, str>>) -> Result<(), Broken> {
    *value = None;
    let Some((step, rest)) = steps.split_first() else {
        *value = scalar(json)?;
        return Ok(());
    };
    match json.peek() {
        Some(b'{') => {
            json.object(|key, json| if *key == **step { find(json, rest, value) } else { json.skip() })
        }
        Some(b'[') => {
            let (wanted, mut index) = (index_of(step), 0);
            json.list(|json| {
                let is_it = wanted == Some(index);
                index += 1;
                if is_it { find(json, rest, value) } else { json.skip() }
            })
        }
        _ => json.skip(),
    }
}

/// The step as an index: digits, without a zero before others.
fn index_of(step: &str) -> Option<usize> {
    let is_index = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|_| is_index)
}

/// A text, or a number or truth value as it is written.
fn scalar<'a>(json: &mut Json<'a>) -> Result<Option<Cow<'a, str>>, Broken> {
    match json.peek() {
        Some(b'"') => Ok(Some(json.string()?.text(MAX_VALUE_BYTES).0)),
        Some(b'{' | b'[') => json.skip().map(|()| None),
        _ => {
            let word = json.word()?;
            let is_number = word.len() <= MAX_NUMBER_BYTES
                && word.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-')
                && word.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
                && word.iter().any(u8::is_ascii_digit);
            let is_scalar = is_number || word == b"true" || word == b"false";
            Ok(std::str::from_utf8(word).ok().filter(|_| is_scalar).map(Cow::Borrowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str, pointer: &str) -> Option<String> {
        let pointer = JsonPointer::parse(pointer).unwrap();
        let names = WantedNames { fields: vec![pointer.clone()], ..WantedNames::default() };
        let mut fields = BodyValues::new(WantedFields { names: Some(Arc::new(names)), session: None });
        let _ = Json::new(body.as_bytes()).object(|key, json| {
            fields.read(key, json);
            json.skip()
        });
        fields.get(&pointer).map(str::to_owned)
    }

    #[test]
    fn scalars_are_texts_and_nothing_else_is() {
        for (body, expected) in [
            (r#"{"a": "x\n\u00e9"}"#, Some("x\n\u{e9}")),
            (r#"{"a": ""}"#, Some("")),
            (r#"{"a": -1.50e+3}"#, Some("-1.50e+3")),
            (r#"{"a": 7}"#, Some("7")),
            (r#"{"a": true, "b": 1}"#, Some("true")),
            (r#"{"a": false}"#, Some("false")),
            (r#"{"a": null}"#, None),
            (r#"{"a": NaN}"#, None),
            (r#"{"a": -Infinity}"#, None),
            (r#"{"a": -}"#, None),
            (r#"{"a": [1]}"#, None),
            (r#"{"a": {"a": 1}}"#, None),
            (r#"{"b": 1}"#, None),
            (r#"{"a": 1, "a": "last"}"#, Some("last")),
            (r#"{"a": 1, "a": null}"#, None),
            (r#"{"a": 1"#, Some("1")),
            (r#"{"a": "1"#, None),
        ] {
            assert_eq!(value(body, "/a").as_deref(), expected, "{body}");
        }
        let digits = |count: usize| format!(r#"{{"a": {}}}"#, "9".repeat(count));
        assert_eq!(value(&digits(64), "/a").map(|text| text.len()), Some(64));
        assert_eq!(value(&digits(65), "/a"), None);
        let long = format!(r#"{{"a": "{}"}}"#, "\u{e9}".repeat(MAX_VALUE_BYTES));
        assert_eq!(value(&long, "/a").map(|text| text.len()), Some(MAX_VALUE_BYTES));
    }

    #[test]
    fn steps_lead_through_objects_and_lists() {
        let body = r#"{"a": {"b": [10, {"c/d": "x", "~": "y", "": "z"}], "1": "key"}, "c": 5}"#;
        for (pointer, expected) in [
            ("/a/b/0", Some("10")),
            ("/a/b/1/c~1d", Some("x")),
            ("/a/b/1/~0", Some("y")),
            ("/a/b/1/", Some("z")),
            ("/a/1", Some("key")),
            ("/c", Some("5")),
            ("/a/b/2", None),
            ("/a/b/00", None),
            ("/a/b/-", None),
            ("/a/b/+1", None),
            ("/a/b/", None),
            ("/a/b", None),
            ("/c/0", None),
        ] {
            assert_eq!(value(body, pointer).as_deref(), expected, "{pointer}");
        }
        let deep = format!(r#"{{"a": {}1{}, "a": {{"b": 2}}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(value(&deep, "/a/b").as_deref(), Some("2"));
        assert_eq!(value(r#"{"a": {"b": 1, "b": 2}, "a": {"c": 3}}"#, "/a/b"), None, "the last one counts");
    }
}
