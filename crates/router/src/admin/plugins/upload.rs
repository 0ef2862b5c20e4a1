//! What a `PUT` brings: a module and settings, in one of two forms.

use std::fmt;

use axum::extract::Request;
use http::{HeaderMap, StatusCode};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::admin::body::{BodyKind, MAX_JSON_BYTES, bytes_of};
use crate::admin::connection::{UploadPermit, room_for_upload};
use crate::manage::{Module, Settings};
use sgl_api::{Problem, SIGNATURE_HEADER};
use sglang_router_rs::policies::MAX_MODULE_BYTES;
use sglang_router_rs::types::{hex, shown};

/// What a `PUT` brings.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The module.
    pub module: Module,
    /// The settings to change.
    pub settings: Settings,
    /// The right to have the module in memory; keep it until the load has ended.
    pub permit: UploadPermit,
}

/// Reads a `PUT`.
///
/// A JSON body holds `file`, the name of a file in the plugin directory, `embedded:NAME` or `oci://…`, and settings. Otherwise the
/// body is the module itself; the settings are in the query then, each value as JSON.
///
/// # Errors
///
/// What cannot be read, as a problem.
///
/// # Cancel safety
///
/// Dropping the future ends the upload.
pub(crate) async fn read(request: Request) -> Result<Upload, Problem> {
    let (head, body) = request.into_parts();
    let kind = BodyKind::of(&head.headers, &[BodyKind::Module, BodyKind::Json])?;
    let permit = room_for_upload(&head.extensions)?;
    let in_query = query_settings(head.uri.query().unwrap_or_default())?;
    if kind == BodyKind::Module {
        let bytes = bytes_of(&head, body, MAX_MODULE_BYTES).await?;
        if bytes.is_empty() {
            let detail = "the body is empty; send the module's bytes, or JSON that names a file";
            return Err(Problem::coded(StatusCode::BAD_REQUEST, "no_module", detail));
        }
        let signature = signature_of(&head.headers)?;
        let module = Module::Bytes { wasm: bytes, signature };
        return Ok(Upload { module, settings: Settings::new(in_query)?, permit });
    }
    let mut keys = in_query;
    keys.extend(json_object(&bytes_of(&head, body, MAX_JSON_BYTES).await?)?);
    let Some(Value::String(file)) = keys.remove("file") else {
        let detail = "`file` is missing: the name of a file in the plugin directory, embedded:NAME, or oci://HOST/REPOSITORY:TAG";
        return Err(Problem::coded(StatusCode::BAD_REQUEST, "no_module", detail));
    };
    Ok(Upload { module: Module::File(file), settings: Settings::new(keys)?, permit })
}

/// Reads the settings of a `PATCH`.
///
/// # Errors
///
/// As [`read`].
///
/// # Cancel safety
///
/// As [`read`].
pub(crate) async fn read_settings(request: Request) -> Result<Settings, Problem> {
    let (head, body) = request.into_parts();
    BodyKind::of(&head.headers, &[BodyKind::Json])?;
    Ok(Settings::new(json_object(&bytes_of(&head, body, MAX_JSON_BYTES).await?)?)?)
}

/// The detached signature in the head, if there is one.
fn signature_of(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let Some(value) = headers.get(SIGNATURE_HEADER) else { return Ok(None) };
    let bytes = value.to_str().ok().and_then(|text| hex::decode(text.trim()));
    let detail = format!("`{SIGNATURE_HEADER}` must be the content of a detached signature in hex digits");
    bytes.map(Some).ok_or_else(|| Problem::coded(StatusCode::BAD_REQUEST, "bad_signature_header", detail))
}

fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let read = serde_json::from_slice(bytes).map(|SettingPairs(keys)| keys);
    read.map_err(|error| {
        let detail = format!("cannot be read as a JSON object: {error}");
        Problem::coded(StatusCode::BAD_REQUEST, "bad_json", detail)
    })
}

/// A JSON object that has each key once; a fault of a value says whose it is.
struct SettingPairs(Map<String, Value>);

impl<'de> Deserialize<'de> for SettingPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingPairsVisitor)
    }
}

struct SettingPairsVisitor;

impl<'de> Visitor<'de> for SettingPairsVisitor {
    type Value = SettingPairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SettingPairs, A::Error> {
        let mut keys = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let named = |fault: &str| A::Error::custom(format!("`{}` {fault}", shown(&key)));
            let value = map.next_value().map_err(|error| named(&format!("has a fault: {error}")))?;
            if keys.contains_key(&key) {
                return Err(named("is given twice"));
            }
            keys.insert(key, value);
        }
        Ok(SettingPairs(keys))
    }
}

fn query_settings(query: &str) -> Result<Map<String, Value>, Problem> {
    let bad = |detail: String| Problem::coded(StatusCode::BAD_REQUEST, "bad_query", detail);
    let pairs: Vec<(String, String)> =
        serde_urlencoded(query).ok_or_else(|| bad("the query is not URL-encoded UTF-8".to_owned()))?;
    let mut keys = Map::new();
    for (key, text) in pairs {
        let value = serde_json::from_str(&text)
            .map_err(|error| bad(format!("`{key}` is {text:?}, which is not JSON: {error}")))?;
        if keys.insert(key.clone(), value).is_some() {
            return Err(bad(format!("`{key}` is given twice")));
        }
    }
    Ok(keys)
}

/// The pairs of a query; `None` if they are not URL-encoded UTF-8.
fn serde_urlencoded(query: &str) -> Option<Vec<(String, String)>> {
    let uri = format!("/?{query}").parse().ok()?;
    axum::extract::Query::try_from_uri(&uri).ok().map(|axum::extract::Query(pairs)| pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_out_of_range_and_a_key_given_twice_are_named() {
        let fault = |text: &str| json_object(text.as_bytes()).unwrap_err().detail;
        let wrong = fault(r#"{"k": 1, "slots": 1e400}"#);
        assert!(wrong.contains("`slots` has a fault: number out of range"), "{wrong}");
        let twice = fault(r#"{"slots": 1, "k": 2, "slots": 3}"#);
        assert!(twice.contains("`slots` is given twice"), "{twice}");
        assert!(fault("[1]").contains("expected an object"), "{}", fault("[1]"));
        assert_eq!(json_object(br#"{"slots": 1e4}"#).unwrap()["slots"], 1e4);
    }
}
