//! What a client is told when its request cannot be served, in OpenAI's error form.

use http::StatusCode;
use serde::Serialize;

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

    /// A failure that was asked for.
    pub(crate) fn injected(status: StatusCode) -> Self {
        let error = Self::new(status, "server_error", "simulated failure".to_owned());
        Self { code: Some("simulated_failure"), ..error }
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
        let json: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(error.status, StatusCode::NOT_FOUND);
        assert_eq!(json["error"]["type"], "invalid_request_error");
        assert_eq!(json["error"]["param"], "model");
        assert_eq!(json["error"]["code"], "model_not_found");
        assert!(json["error"]["message"].as_str().unwrap().contains("a\"b"));
    }
}
