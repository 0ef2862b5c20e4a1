//! Settings of policies on the command line: `KEY=VALUE`.

use serde_json::Value;

/// The parts of `KEY=VALUE`: a value that is no JSON is a text. `None` without a key or the sign.
pub(crate) fn setting(text: &str) -> Option<(&str, Value)> {
    let (key, value) = text.split_once('=')?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    (!key.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_is_json_or_else_a_text() {
        for (text, expected) in [
            ("a=4", Some(("a", json!(4)))),
            ("a=[1, \"x\"]", Some(("a", json!([1, "x"])))),
            ("a=true", Some(("a", json!(true)))),
            ("a=b=c", Some(("a", json!("b=c")))),
            ("a=", Some(("a", json!("")))),
            ("a", None),
            ("=1", None),
        ] {
            assert_eq!(setting(text), expected, "{text}");
        }
    }
}
