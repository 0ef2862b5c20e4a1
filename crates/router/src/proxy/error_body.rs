//! Errors as the APIs of clients have them.

use http::StatusCode;
use serde::Serialize;

use crate::proxy::route::Route;

/// What is told of an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToldError<'a> {
    pub(crate) status: StatusCode,
    pub(crate) message: &'a str,
    /// The field of the request that is at fault.
    pub(crate) param: Option<&'a str>,
    /// For programs.
    pub(crate) code: &'a str,
    /// Why no worker is available.
    pub(crate) reason: Option<&'a str>,
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

/// The fields of OpenAI's error object.
#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
    /// Not OpenAI's.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
}

/// The fields of Anthropic's error object.
#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
    /// Not Anthropic's.
    code: &'a str,
    /// Not Anthropic's.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl ToldError<'_> {
    /// The body of the answer, as clients of this endpoint expect it; OpenAI's where that is not known.
    pub(crate) fn body(self, route: Option<Route>) -> Vec<u8> {
        let Self { message, param, code, reason, .. } = self;
        let body = if route.is_some_and(Route::is_anthropics) {
            let error = AnthropicError { r#type: self.anthropic_type(), message, code, reason };
            serde_json::to_vec(&AnthropicBody { r#type: "error", error })
        } else {
            let error = OpenAiError { message, r#type: self.openai_type(), param, code, reason };
            serde_json::to_vec(&OpenAiBody { error })
        };
        // Strings only: it cannot fail.
        body.unwrap_or_default()
    }

    fn openai_type(self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// By the status, as Anthropic's API has it.
    fn anthropic_type(self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        }
    }
}
