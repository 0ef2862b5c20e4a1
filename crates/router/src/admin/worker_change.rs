//! What an operator changes of a worker: a merge patch (RFC 7396) over what was said of it.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::admin::worker_id::normal;
use crate::config::check_workers::check_worker;
use crate::config::near_names::nearest_first;
use crate::config::worker_entry::WorkerEntry;
use crate::proxy::UndrainError;
use crate::proxy::worker_origin::WorkerOrigin;
use sgl_api::Problem;
use sgl_upstream::without_user;
use sglang_router_rs::config::{Fault, Faults};

/// The worker with this patch over it.
///
/// # Errors
///
/// 400 if that is no worker or another one, 409 if it is being removed.
pub(crate) fn changed(origin: &WorkerOrigin, patch: &Map<String, Value>) -> Result<WorkerEntry, Problem> {
    let url = &origin.entry.url;
    if origin.is_leaving {
        let error = UndrainError::Leaving { url: url.clone() };
        return Err(Problem::new(StatusCode::CONFLICT, error.to_string()));
    }
    let refused = |error: serde_json::Error| {
        let told = nearest_first(&without_user(&error.to_string()));
        let detail = format!("with this change it would be no worker: {told}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    };
    let mut whole = serde_json::to_value(&origin.entry).map_err(refused)?;
    merge(&mut whole, patch);
    let entry: WorkerEntry = serde_json::from_value(whole).map_err(refused)?;
    let mut faults = Vec::new();
    let entry = check_worker(&entry, "", &mut faults);
    if faults.is_empty() && entry.url != normal(url) {
        let allowed = format!("{url:?}: another URL is another worker, which is added, and this one removed");
        faults.push(Fault::value("url", format!("{:?}", entry.url), allowed));
    }
    if faults.is_empty() {
        Ok(entry)
    } else {
        Err(Problem::new(StatusCode::BAD_REQUEST, Faults(faults).to_string()))
    }
}

/// The keys that a patch names. Their values may be secrets.
pub(crate) fn keys(patch: &Map<String, Value>) -> String {
    patch.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn merge(whole: &mut Value, patch: &Map<String, Value>) {
    if !whole.is_object() {
        *whole = Value::Object(Map::new());
    }
    let Some(whole) = whole.as_object_mut() else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(whole.remove(key)),
            Value::Object(inner) => merge(whole.entry(key.clone()).or_insert(Value::Null), inner),
            other => drop(whole.insert(key.clone(), other.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_merge_as_the_rfc_says() {
        // RFC 7396, appendix A, as far as a patch is an object.
        for (before, patch, after) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut whole = before.clone();
            merge(&mut whole, patch.as_object().unwrap());
            assert_eq!(whole, after, "{before} and {patch}");
        }
    }
}
