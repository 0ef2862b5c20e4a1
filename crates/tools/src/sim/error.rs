//! What a client is told when its request cannot be served, in OpenAI's error form.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::sim::dialect::Dialect;

/// One refusal: status and the JSON of the body.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: String) -> Self {
        Self { status, message, kind, param: None, code: None }
    }

    /// The body is not JSON, or a field has the wrong type.
    pub(crate) fn malformed(cause: &serde_json::Error) -> Self {
        let message = format!("the request body could not be read: {cause}");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A parameter is missing or out of its range.
    pub(crate) fn parameter(param: &'static str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message.into());
        Self { param: Some(param), ..error }
    }

    /// Prompt and answer together are longer than the model's context.
    pub(crate) fn context_exceeded(asked: u64, context: u32) -> Self {
        let message = format!("this model's context is {context} tokens, but prompt and answer need {asked}");
        let error = Self::parameter("max_tokens", message);
        Self { code: Some("context_length_exceeded"), ..error }
    }

    /// The request names another model than the one served.
    pub(crate) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("the model `{asked}` does not exist; this server has `{served}`");
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { param: Some("model"), code: Some("model_not_found"), ..error }
    }

    /// The response that a request names is not kept here.
    pub(crate) fn unknown_response(id: &str) -> Self {
        let message = format!("Response with id '{id}' not found.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// No such endpoint.
    pub(crate) fn unknown_path(path: &str) -> Self {
        let message = format!("there is no endpoint `{path}`");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// The endpoint exists, but not for this method.
    pub(crate) fn wrong_method(method: &http::Method, path: &str) -> Self {
        let message = format!("`{path}` does not take {method}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// The body is longer than what is read.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request body is larger than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    /// The client stopped sending in the middle of the body.
    pub(crate) fn broken_body(cause: &dyn std::error::Error) -> Self {
        let message = format!("the request body ended early: {cause}");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// Batch and queue are full.
    pub(crate) fn overloaded() -> Self {
        let message = "the waiting queue is full, try again later".to_owned();
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { code: Some("queue_full"), ..error }
    }

    /// vLLM's engine was told to end.
    pub(crate) fn ending() -> Self {
        let message = "cannot schedule new futures after shutdown".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The endpoint is there, but this server was not started for it.
    pub(crate) fn not_supported() -> Self {
        let message = "This server does not support embeddings. Start it with `--embeddings`".to_owned();
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_supported_error", message)
    }

    /// Whether it is for want of room.
    pub(crate) fn is_overload(&self) -> bool {
        self.code == Some("queue_full")
    }

    /// A failure that was asked for.
    pub(crate) fn injected(status: StatusCode) -> Self {
        let error = Self::new(status, "server_error", "simulated failure".to_owned());
        Self { code: Some("simulated_failure"), ..error }
    }

    /// The body of the answer as an engine writes it.
    pub(crate) fn in_dialect(&self, dialect: Dialect) -> Value {
        let (code, message) = (self.status.as_u16(), self.message_in(dialect));
        let lost = matches!(code, 404 | 405) && self.code.is_none();
        match dialect {
            Dialect::Sglang | Dialect::Vllm if lost => {
                json!({ "detail": if code == 404 { "Not Found" } else { "Method Not Allowed" } })
            }
            Dialect::Vllm => {
                let fields = json!({ "message": message, "type": self.kind_in(dialect), "param": self.param, "code": code });
                json!({ "error": fields })
            }
            Dialect::Sglang => json!({
                "object": "error",
                "message": message,
                "type": self.kind_in(dialect),
                "param": self.param,
                "code": code,
            }),
            // Wrong methods are lost there too.
            Dialect::LlamaCpp if lost => {
                json!({ "error": { "message": "File Not Found", "type": "not_found_error", "code": 404 } })
            }
            Dialect::LlamaCpp => {
                json!({ "error": { "code": code, "message": message, "type": self.kind_in(dialect) } })
            }
        }
    }

    fn message_in(&self, dialect: Dialect) -> &str {
        match dialect {
            Dialect::Vllm if self.is_overload() => {
                "The engine is currently busy and cannot accept new requests. Please try again later or on a \
                 different instance."
            }
            Dialect::Sglang if self.is_overload() => "The request queue is full.",
            _ => &self.message,
        }
    }

    fn kind_in(&self, dialect: Dialect) -> &str {
        match (dialect, self.status.as_u16()) {
            (Dialect::LlamaCpp, _) => self.kind,
            (_, 404) => "NotFoundError",
            (_, 400..500) => "BadRequestError",
            (Dialect::Vllm, 503) => "Service Unavailable",
            (Dialect::Sglang, 503) => "503",
            _ => "InternalServerError",
        }
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let body = Body {
            error: Fields { message: &self.message, r#type: self.kind, param: self.param, code: self.code },
        };
        // Strings only: this cannot fail, and an empty body is better than a panic if it did.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_has_the_openai_form_and_escapes_what_clients_sent() {
        let error = ApiError::unknown_model("a\"b", "sim");
        let json: Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(error.status, StatusCode::NOT_FOUND);
        assert_eq!(json["error"]["type"], "invalid_request_error");
        assert_eq!(json["error"]["param"], "model");
        assert_eq!(json["error"]["code"], "model_not_found");
        assert!(json["error"]["message"].as_str().unwrap().contains("a\"b"));
    }
}
