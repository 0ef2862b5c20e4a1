//! Which endpoint a path is.

use http::Method;

use crate::tokens::PromptForm;

/// An endpoint of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Route {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /generate`, SGLang's own.
    Generate,
    /// `GET /v1/models`.
    Models,
    /// `GET /health` and `GET /liveness`: the router is there.
    Liveness,
    /// `GET /readiness`: the router has workers.
    Readiness,
    /// `POST /finish_session`: a session is over.
    FinishSession,
}

impl Route {
    /// The routes that go to workers, in the order of their numbers; each has its own metrics.
    pub const MEASURED: [Self; 5] =
        [Self::Chat, Self::Completions, Self::Embeddings, Self::Generate, Self::Models];

    /// The endpoint with this path.
    #[inline]
    pub fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/embeddings" => Self::Embeddings,
            "/generate" => Self::Generate,
            "/v1/models" => Self::Models,
            "/health" | "/liveness" => Self::Liveness,
            "/readiness" => Self::Readiness,
            "/finish_session" => Self::FinishSession,
            _ => return None,
        })
    }

    /// Its path; of the two of liveness the first.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Generate => "/generate",
            Self::Models => "/v1/models",
            Self::Liveness => "/health",
            Self::Readiness => "/readiness",
            Self::FinishSession => "/finish_session",
        }
    }

    /// The method that it takes; where that is GET, HEAD is fine too.
    pub fn method(self) -> Method {
        match self {
            Self::Chat | Self::Completions | Self::Embeddings | Self::Generate | Self::FinishSession => {
                Method::POST
            }
            Self::Models | Self::Liveness | Self::Readiness => Method::GET,
        }
    }

    /// Where its prompt is in a body, if it has one.
    pub(crate) fn prompt_form(self) -> Option<PromptForm> {
        match self {
            Self::Chat => Some(PromptForm::Chat),
            Self::Completions => Some(PromptForm::Prompt),
            Self::Embeddings => Some(PromptForm::Input),
            Self::Generate => Some(PromptForm::Text),
            Self::Models | Self::Liveness | Self::Readiness | Self::FinishSession => None,
        }
    }

    /// True if tokens are generated, which prefill and decode workers can share.
    pub fn generates(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Generate)
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Generate => "generate",
            Self::Models => "models",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::FinishSession => "finish_session",
        }
    }

    /// Its place in [`MEASURED`](Self::MEASURED).
    pub fn position(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_routes_stand_at_their_positions() {
        for (position, route) in Route::MEASURED.into_iter().enumerate() {
            assert_eq!(route.position(), position);
            assert_eq!(Route::of(route.path()), Some(route));
        }
    }

    #[test]
    fn path_is_matched_exactly() {
        assert_eq!(Route::of("/v1/chat/completions"), Some(Route::Chat));
        assert_eq!(Route::of("/v1/chat/completions/"), None);
        assert_eq!(Route::of("/V1/models"), None);
    }
}
