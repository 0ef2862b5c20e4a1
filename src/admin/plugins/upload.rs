//! What a `PUT` brings: a module and settings, in one of two forms.

use axum::body::Body;
use axum::extract::Request;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use http_body_util::LengthLimitError;
use serde_json::Map;
use serde_json::Value;

use crate::admin::problem::Problem;
use crate::manage::Module;
use crate::manage::Settings;
use crate::policies::PluginError;
use crate::policies::wasm::loader::MAX_MODULE_BYTES;
use crate::types::hex;

/// Largest body that only names things, in bytes.
const MAX_JSON_BYTES: usize = 1 << 20;

/// Header that brings a module's detached signature, in hex: the body is the module and nothing else.
pub const SIGNATURE_HEADER: &str = "x-sgl-module-signature";

/// Reads a `PUT`.
///
/// A JSON body holds `file`, the name of a file in the plugin directory, and settings. Any other
/// body is the module itself; the settings are in the query then, each value as JSON.
///
/// # Errors
///
/// What cannot be read, as a problem.
///
/// # Cancel safety
///
/// Dropping the future ends the upload.
pub async fn read(request: Request) -> Result<(Module, Settings), Problem> {
    let (head, body) = request.into_parts();
    let in_query = query_settings(head.uri.query().unwrap_or_default())?;
    if !is_json(&head.headers) {
        let bytes = bytes_of(&head.headers, body, MAX_MODULE_BYTES).await?;
        if bytes.is_empty() {
            let detail = "the body is empty; send the module's bytes, or JSON that names a file";
            return Err(Problem::coded(StatusCode::BAD_REQUEST, "no_module", detail));
        }
        let signature = signature_of(&head.headers)?;
        return Ok((Module::Bytes { wasm: bytes, signature }, Settings::new(in_query)?));
    }
    let mut keys = in_query;
    keys.extend(json_object(&bytes_of(&head.headers, body, MAX_JSON_BYTES).await?)?);
    let Some(Value::String(file)) = keys.remove("file") else {
        let detail = "`file` is missing: the name of a file in the plugin directory";
        return Err(Problem::coded(StatusCode::BAD_REQUEST, "no_module", detail));
    };
    Ok((Module::File(file), Settings::new(keys)?))
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
pub async fn read_settings(request: Request) -> Result<Settings, Problem> {
    let (head, body) = request.into_parts();
    Ok(Settings::new(json_object(&bytes_of(&head.headers, body, MAX_JSON_BYTES).await?)?)?)
}

/// The detached signature in the head, if there is one.
fn signature_of(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let Some(value) = headers.get(SIGNATURE_HEADER) else { return Ok(None) };
    let bytes = value.to_str().ok().and_then(|text| hex::decode(text.trim()));
    let detail = format!("`{SIGNATURE_HEADER}` must be the content of a detached signature in hex digits");
    bytes.map(Some).ok_or_else(|| Problem::coded(StatusCode::BAD_REQUEST, "bad_signature_header", detail))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/merge-patch+json")
}

fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::coded(StatusCode::BAD_REQUEST, "bad_json", format!("not a JSON object: {error}"))
    })
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

async fn bytes_of(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced: Option<usize> =
        headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    if let Some(bytes) = announced.filter(|bytes| *bytes > limit) {
        return Err(too_large(bytes, limit));
    }
    match axum::body::to_bytes(body, limit).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if is_length_limit(&error) => Err(too_large(limit + 1, limit)),
        Err(error) => Err(Problem::coded(
            StatusCode::BAD_REQUEST,
            "body_broken_off",
            format!("the body ended early: {error}"),
        )),
    }
}

fn too_large(bytes: usize, limit: usize) -> Problem {
    if limit == MAX_MODULE_BYTES {
        return crate::manage::ManageError::from(PluginError::TooLarge { bytes, limit }).into();
    }
    let detail = format!("the body has {bytes} bytes; the limit is {limit}");
    Problem::coded(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
