//! Parameters of a URL that are wanted by their names.

use std::borrow::Cow;

use crate::proxy::body_values::MAX_VALUE_BYTES;
use sglang_router_rs::policies::QueryLookup;

/// Those that were found, decoded; of several of one name the first.
#[derive(Debug, Default)]
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Looks for those that are wanted.
    pub(crate) fn read(query: Option<&'a str>, is_wanted: impl Fn(&str) -> bool) -> Self {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if is_wanted(&name) && found.parameter(&name).is_none() {
                found.0.push((name, value));
            }
        }
        found
    }
}

impl QueryLookup for Parameters<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        value.get(..value.floor_char_boundary(MAX_VALUE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_counts_and_is_decoded() {
        let found = |query| Parameters::read(Some(query), |name| name == "a b" || name == "c");
        let all = found("x=1&a+b=%C3%A9%20+y&a%20b=later&c&=&%zz");
        assert_eq!(all.parameter("a b"), Some("\u{e9}  y"));
        assert_eq!(all.parameter("c"), Some(""));
        assert_eq!(all.parameter("x"), None, "it is not wanted");
        assert_eq!(found("c=%ff%fe").parameter("c"), Some("\u{fffd}\u{fffd}"));
        let long = format!("c={}", "x".repeat(MAX_VALUE_BYTES + 1));
        assert_eq!(found(&long).parameter("c").map(str::len), Some(MAX_VALUE_BYTES));
        assert!(Parameters::read(None, |_| true).0.is_empty());
    }
}
