//! Which headers of clients workers get.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use sglang_router_rs::config::Fault;

/// What every worker gets: what a body is, which answers the client takes, and who asked.
const ALWAYS: [&str; 5] =
    ["content-type", "content-encoding", "accept", "accept-encoding", "x-forwarded-for"];

/// Headers in which clients show their keys.
const KEYS: [&str; 2] = ["authorization", "x-api-key"];

/// Which headers workers get. There is none where they get all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The only ones, beside those that they always get; `None` = all.
    pub only: Option<Box<[HeaderName]>>,
    /// Whether the headers in which clients show this router's keys stay here.
    pub hides_keys: bool,
}

impl Forwarding {
    /// By a list of names, if there is one; `None` if workers get all. Faults have the key of the list.
    pub(crate) fn checked(
        list: Option<&[String]>,
        hides_keys: bool,
        key: &str,
        faults: &mut Vec<Fault>,
    ) -> Option<Arc<Self>> {
        let only = list.map(|list| names(list, key, faults));
        (only.is_some() || hides_keys).then(|| Arc::new(Self { only, hides_keys }))
    }

    /// Those of these headers that workers get.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderMap {
        let may = |name: &HeaderName| {
            let is_listed = self.only.as_ref().is_none_or(|only| only.contains(name));
            let is_key = self.hides_keys && KEYS.contains(&name.as_str());
            (is_listed || ALWAYS.contains(&name.as_str())) && !is_key && name != header::HOST
        };
        let kept = headers.iter().filter(|(name, _)| may(name));
        let mut forwarded = HeaderMap::with_capacity(headers.len());
        for (name, value) in kept {
            forwarded.append(name.clone(), HeaderValue::clone(value));
        }
        forwarded
    }
}

/// Names of headers.
pub(crate) fn names(list: &[String], key: &str, faults: &mut Vec<Fault>) -> Box<[HeaderName]> {
    let mut read = |(position, text): (usize, &String)| match text.parse() {
        Ok(name) => Some(name),
        Err(_) => {
            let found = format!("{text:?}");
            faults.push(Fault::value(format!("{key}[{position}]"), found, "the name of a header"));
            None
        }
    };
    list.iter().enumerate().filter_map(&mut read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
    }

    #[test]
    fn listed_headers_and_those_about_the_body_are_forwarded() {
        let list = ["X-Trace".to_owned(), "authorization".to_owned()];
        let forwarding = Forwarding::checked(Some(&list), false, "key", &mut Vec::new()).unwrap();
        let headers = map(&["x-trace", "authorization", "cookie", "content-type", "host", "x-forwarded-for"]);
        let expected = map(&["x-trace", "authorization", "content-type", "x-forwarded-for"]);
        assert_eq!(forwarding.of(&headers), expected);
        let forwarding = Forwarding::checked(None, true, "key", &mut Vec::new()).unwrap();
        let headers = map(&["authorization", "x-api-key", "cookie"]);
        assert_eq!(forwarding.of(&headers), map(&["cookie"]));
        let both = Forwarding::checked(Some(&list), true, "key", &mut Vec::new()).unwrap();
        assert_eq!(both.of(&headers), map(&[]), "a key is never forwarded");
        assert_eq!(Forwarding::checked(None, false, "key", &mut Vec::new()), None);
        let mut faults = Vec::new();
        Forwarding::checked(Some(&["a b".to_owned()]), false, "calls.forward_headers", &mut faults);
        assert_eq!(
            faults[0].to_string(),
            "calls.forward_headers[0]: found \"a b\"; allowed: the name of a header"
        );
    }
}
