//! `KEY=VALUE` of workers as JSON.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::plugin::CommandError;
use crate::cli::setting::setting;
use sglang_router_rs::types::{file, shown_path};

/// Largest file of a key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// The settings, and the key of the file, as the body of a request.
///
/// # Errors
///
/// [`CommandError::Usage`] if one of them is none, or the file cannot be read.
pub(crate) fn body_of(settings: &[String], key: Option<&Path>) -> Result<Map<String, Value>, CommandError> {
    let mut body = Map::new();
    for text in settings {
        let (key, value) = setting(text).ok_or_else(|| {
            CommandError::Usage(format!(
                "found {text:?}; allowed: KEY=VALUE, such as weight=2 or labels.zone=a"
            ))
        })?;
        match key.split_once('.') {
            None => {
                drop(body.insert(key.to_owned(), if key == "model" { as_text(text, value) } else { value }))
            }
            Some((table, key)) => {
                let table = body.entry(table).or_insert_with(|| Value::Object(Map::new()));
                if let Some(table) = table.as_object_mut() {
                    table.insert(key.to_owned(), as_text(text, value));
                }
            }
        }
    }
    if let Some(path) = key {
        let unreadable =
            |error| CommandError::Usage(format!("--api-key-file: {}: {error}", shown_path(path)));
        let key = file::read_text(path, MAX_KEY_BYTES).map_err(unreadable)?;
        body.insert("api_key".to_owned(), Value::from(key.trim()));
    }
    Ok(body)
}

/// Of what is text by its kind: as it was typed, also where it reads as a number.
fn as_text(setting: &str, value: Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value,
        _ => Value::from(setting.split_once('=').map_or("", |(_, text)| text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_models_stay_text_and_null_takes_away() {
        let typed = ["weight=2", "model=7", "labels.zone=1", "labels.rack=null", "role=prefill"];
        let body = body_of(&typed.map(str::to_owned), None).unwrap();
        let expected =
            json!({"weight": 2, "model": "7", "labels": {"zone": "1", "rack": null}, "role": "prefill"});
        assert_eq!(Value::Object(body), expected);
        let refused = body_of(&["weight".to_owned()], None).unwrap_err().to_string();
        assert!(refused.contains("found \"weight\"; allowed: KEY=VALUE"), "{refused}");
    }
}
