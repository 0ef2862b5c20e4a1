//! What a request says of a worker, in this router's words or in those of sglang-router and smg.

use http::StatusCode;
use serde_json::{Map, Value};

use sgl_api::Problem;
use sgl_upstream::without_user;

/// Fields of other routers, and the field here that means the same.
const RENAMED: [(&str, &str); 3] = [("worker_type", "role"), ("model_id", "model"), ("runtime", "engine")];

/// The engines read text themselves.
const OF_GRPC: &str = "requests go to workers as text";
/// One setting for all workers.
const OF_ALL_WORKERS: &str = "health checks are set for all workers: [health] of the configuration";

/// Fields of other routers that have no effect here, and what there is instead.
const WITHOUT_EFFECT: [(&str, &str); 12] = [
    ("priority", "`weight` is a worker's share, where the policy looks at it"),
    ("cost", "`weight` is a worker's share, where the policy looks at it"),
    ("connection_mode", "workers are spoken to over HTTP; `http_version` says which"),
    ("tokenizer_path", OF_GRPC),
    ("reasoning_parser", OF_GRPC),
    ("tool_parser", OF_GRPC),
    ("chat_template", OF_GRPC),
    ("health_check_timeout_secs", OF_ALL_WORKERS),
    ("health_check_interval_secs", OF_ALL_WORKERS),
    ("health_success_threshold", OF_ALL_WORKERS),
    ("health_failure_threshold", OF_ALL_WORKERS),
    ("max_connection_attempts", "a worker that is not up yet joins when it is"),
];

/// What a request says of a worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkerBody {
    /// In the words of `[[workers]]` in the configuration.
    pub(crate) fields: Map<String, Value>,
    /// What of it has no effect, for people. Tells no values.
    pub(crate) warnings: Vec<String>,
}

impl WorkerBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// 400 if it is no JSON object, or says one thing in both ways and not the same.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("not a worker, which is a JSON object: {error}");
            Problem::new(StatusCode::BAD_REQUEST, without_user(&detail))
        })?;
        for (theirs, ours) in RENAMED {
            let Some(value) = fields.remove(theirs) else { continue };
            match fields.get(ours) {
                Some(other) if *other != value => {
                    let detail =
                        format!("{theirs}: found another value than in {ours}; allowed: one of the two");
                    return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
                }
                _ => drop(fields.insert(ours.to_owned(), value)),
            }
        }
        let given = WITHOUT_EFFECT.iter().filter(|(field, _)| fields.remove(*field).is_some());
        let mut warnings: Vec<String> =
            given.map(|(field, instead)| format!("{field}: accepted without effect: {instead}")).collect();
        if fields.get("labels").is_some_and(|labels| labels.get("policy").is_some_and(Value::is_string)) {
            let hint = "labels.policy: kept as a label: one policy places the requests of all models";
            warnings.push(hint.to_owned());
        }
        Ok(Self { fields, warnings })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<WorkerBody, String> {
        WorkerBody::read(body.to_string().as_bytes()).map_err(|problem| problem.detail)
    }

    #[test]
    fn words_of_other_routers_become_those_of_the_configuration() {
        let body = read(&json!({
            "url": "http://w", "worker_type": "prefill", "model_id": "m", "runtime": "vllm",
            "bootstrap_port": 9001, "priority": 10, "cost": 1.5, "labels": {"tier": "gold"},
        }));
        let WorkerBody { fields, warnings } = body.unwrap();
        let expected = json!({
            "url": "http://w", "role": "prefill", "model": "m", "engine": "vllm", "bootstrap_port": 9001,
            "labels": {"tier": "gold"},
        });
        assert_eq!(Value::Object(fields), expected);
        assert!(
            warnings.len() == 2 && warnings[0].starts_with("priority: ") && warnings[1].starts_with("cost: ")
        );
    }

    #[test]
    fn one_thing_said_twice_has_to_be_the_same() {
        assert!(read(&json!({"model": "m", "model_id": "m"})).is_ok());
        let fault = read(&json!({"model": "m", "model_id": "secret"})).unwrap_err();
        assert!(fault.starts_with("model_id: found another value than in model"), "{fault}");
        assert!(read(&json!([])).unwrap_err().starts_with("not a worker, which is a JSON object"));
    }

    #[test]
    fn hint_of_a_policy_of_one_model_is_warned_of() {
        let hinted = read(&json!({"labels": {"policy": "power_of_two", "tier": "silver"}})).unwrap();
        assert!(hinted.warnings[0].starts_with("labels.policy: "), "{:?}", hinted.warnings);
        assert_eq!(hinted.fields["labels"]["policy"], "power_of_two");
        assert!(read(&json!({"labels": {"tier": "silver"}})).unwrap().warnings.is_empty());
    }
}
