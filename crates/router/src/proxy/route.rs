//! Which endpoint a path is.

use http::Method;

use crate::tokens::PromptForm;

static GET: [Method; 1] = [Method::GET];
static POST: [Method; 1] = [Method::POST];
static GET_OR_DELETE: [Method; 2] = [Method::GET, Method::DELETE];
static ANY: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What stands before the id of a response.
const RESPONSES: &str = "/v1/responses/";

/// What stands before the name of a model.
const MODELS: &str = "/v1/models/";

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
    /// `GET /v1/models/{id}`.
    Model,
    /// `POST /v1/responses`.
    Responses,
    /// `GET` and `DELETE /v1/responses/{id}`.
    StoredResponse,
    /// `POST /v1/responses/{id}/cancel`.
    CancelResponse,
    /// `GET /v1/responses/{id}/input_items`.
    ResponseItems,
    /// `POST /v1/messages`, Anthropic's.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/rerank` and `/rerank`.
    Rerank,
    /// `POST /v1/score` and `/score`.
    Score,
    /// `POST /v1/classify` and `/classify`.
    Classify,
    /// `POST /pooling`.
    Pooling,
    /// `POST /tokenize`.
    Tokenize,
    /// `POST /detokenize`.
    Detokenize,
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// `POST /v1/audio/speech`.
    Speech,
    /// `GET /version`.
    Version,
    /// `GET /get_model_info` and `/model_info`.
    ModelInfo,
    /// `GET /get_server_info` and `/server_info`.
    ServerInfo,
    /// `GET /health_generate`, SGLang's check that generates a token.
    HealthGenerate,
    /// What the operator has listed (`calls.forward_paths`).
    Listed,
    /// `GET /health` and `GET /liveness`: the router is there.
    Liveness,
    /// `GET /readiness`: the router has workers.
    Readiness,
    /// `POST /finish_session`: a session is over.
    FinishSession,
}

impl Route {
    /// The routes that go to workers, in the order of their numbers; each has its own metrics.
    pub const MEASURED: [Self; 26] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Generate,
        Self::Models,
        Self::Model,
        Self::Responses,
        Self::StoredResponse,
        Self::CancelResponse,
        Self::ResponseItems,
        Self::Messages,
        Self::CountTokens,
        Self::Rerank,
        Self::Score,
        Self::Classify,
        Self::Pooling,
        Self::Tokenize,
        Self::Detokenize,
        Self::Transcriptions,
        Self::Translations,
        Self::Speech,
        Self::Version,
        Self::ModelInfo,
        Self::ServerInfo,
        Self::HealthGenerate,
        Self::Listed,
    ];

    /// The endpoint with this path; never [`Listed`](Self::Listed), which is the operator's to say.
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
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/rerank" | "/rerank" => Self::Rerank,
            "/v1/score" | "/score" => Self::Score,
            "/v1/classify" | "/classify" => Self::Classify,
            "/pooling" => Self::Pooling,
            "/tokenize" => Self::Tokenize,
            "/detokenize" => Self::Detokenize,
            "/v1/audio/transcriptions" => Self::Transcriptions,
            "/v1/audio/translations" => Self::Translations,
            "/v1/audio/speech" => Self::Speech,
            "/version" => Self::Version,
            "/get_model_info" | "/model_info" => Self::ModelInfo,
            "/get_server_info" | "/server_info" => Self::ServerInfo,
            "/health_generate" => Self::HealthGenerate,
            _ => return Self::of_one(path),
        })
    }

    /// The endpoint of one thing, whose name is in the path.
    fn of_one(path: &str) -> Option<Self> {
        if let Some(model) = path.strip_prefix(MODELS) {
            // Names of models have slashes of their own.
            return (!model.is_empty()).then_some(Self::Model);
        }
        let (id, rest) = id_and_rest(path)?;
        match rest {
            _ if id.is_empty() => None,
            "" => Some(Self::StoredResponse),
            "/cancel" => Some(Self::CancelResponse),
            "/input_items" => Some(Self::ResponseItems),
            _ => None,
        }
    }

    /// The id of the response that a path is about, as it is written there.
    pub(crate) fn response_id(self, path: &str) -> Option<&str> {
        match self {
            Self::StoredResponse | Self::CancelResponse | Self::ResponseItems => {
                id_and_rest(path).map(|(id, _)| id)
            }
            _ => None,
        }
    }

    /// The name of the model that a path is about, as it is written there.
    pub(crate) fn model_in(path: &str) -> &str {
        path.strip_prefix(MODELS).unwrap_or_default()
    }

    /// Its path; of several the first. That of [`Listed`](Self::Listed) is the request's own.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Generate => "/generate",
            Self::Models => "/v1/models",
            Self::Model => "/v1/models/{id}",
            Self::Responses => "/v1/responses",
            Self::StoredResponse => "/v1/responses/{id}",
            Self::CancelResponse => "/v1/responses/{id}/cancel",
            Self::ResponseItems => "/v1/responses/{id}/input_items",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Rerank => "/v1/rerank",
            Self::Score => "/v1/score",
            Self::Classify => "/v1/classify",
            Self::Pooling => "/pooling",
            Self::Tokenize => "/tokenize",
            Self::Detokenize => "/detokenize",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
            Self::Speech => "/v1/audio/speech",
            Self::Version => "/version",
            Self::ModelInfo => "/get_model_info",
            Self::ServerInfo => "/get_server_info",
            Self::HealthGenerate => "/health_generate",
            Self::Listed => "",
            Self::Liveness => "/health",
            Self::Readiness => "/readiness",
            Self::FinishSession => "/finish_session",
        }
    }

    /// The methods that it takes; where GET is one, HEAD is fine too.
    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::Models
            | Self::Model
            | Self::ResponseItems
            | Self::Version
            | Self::ModelInfo
            | Self::ServerInfo
            | Self::HealthGenerate
            | Self::Liveness
            | Self::Readiness => &GET,
            Self::StoredResponse => &GET_OR_DELETE,
            Self::Listed => &ANY,
            _ => &POST,
        }
    }

    /// Where its prompt is in a body, if it has one that can be tokenized.
    pub(crate) fn prompt_form(self) -> Option<PromptForm> {
        match self {
            Self::Chat => Some(PromptForm::Chat),
            Self::Completions => Some(PromptForm::Prompt),
            Self::Embeddings | Self::Classify | Self::Pooling => Some(PromptForm::Input),
            Self::Generate => Some(PromptForm::Text),
            _ => None,
        }
    }

    /// True if a prefill and a decode worker can share its requests: engines take what couples them in
    /// these bodies only.
    pub fn may_pair(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Generate)
    }

    /// True if tokens are generated, and may be streamed.
    pub fn generates(self) -> bool {
        self.may_pair() || matches!(self, Self::Responses | Self::Messages)
    }

    /// True if a prefill or a decode worker can answer it too: what an engine is, and what its tokens are, does
    /// not depend on its role.
    pub(crate) fn suits_any_role(self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::ModelInfo
                | Self::ServerInfo
                | Self::HealthGenerate
                | Self::Tokenize
                | Self::Detokenize
                | Self::CountTokens
        )
    }

    /// True if its body may be a form with fields and files instead of JSON.
    pub(crate) fn takes_form(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations | Self::Listed)
    }

    /// True if what comes first in its prompt has a key of its own, beside the turns of a conversation.
    pub(crate) fn is_dialogue(self) -> bool {
        matches!(self, Self::Responses | Self::Messages | Self::CountTokens)
    }

    /// True if it is one of Anthropic's API.
    pub(crate) fn is_anthropics(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Generate => "generate",
            Self::Models => "models",
            Self::Model => "model",
            Self::Responses => "responses",
            Self::StoredResponse => "stored_response",
            Self::CancelResponse => "cancel_response",
            Self::ResponseItems => "response_items",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Rerank => "rerank",
            Self::Score => "score",
            Self::Classify => "classify",
            Self::Pooling => "pooling",
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Speech => "speech",
            Self::Version => "version",
            Self::ModelInfo => "model_info",
            Self::ServerInfo => "server_info",
            Self::HealthGenerate => "health_generate",
            Self::Listed => "listed",
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

/// The id of a response in a path, and what follows it; `None` for an id that is none. What stands before an
/// engine may decode steps and go up by them, to calls that are no client's.
fn id_and_rest(path: &str) -> Option<(&str, &str)> {
    let after = path.strip_prefix(RESPONSES)?;
    let (id, rest) = after.split_at(after.find('/').unwrap_or(after.len()));
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (!id.starts_with('.') && id.bytes().all(is_id)).then_some((id, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_routes_stand_at_their_positions() {
        for (position, route) in Route::MEASURED.into_iter().enumerate() {
            assert_eq!(route.position(), position);
            if route != Route::Listed {
                assert_eq!(Route::of(&route.path().replace(['{', '}'], "")), Some(route));
            }
        }
    }

    #[test]
    fn path_is_matched_exactly() {
        assert_eq!(Route::of("/v1/chat/completions"), Some(Route::Chat));
        assert_eq!(Route::of("/v1/chat/completions/"), None);
        assert_eq!(Route::of("/V1/models"), None);
        assert_eq!(Route::of("/flush_cache"), None);
    }

    #[test]
    fn one_thing_is_named_by_its_path() {
        for (path, route, id) in [
            ("/v1/responses/resp_1", Some(Route::StoredResponse), Some("resp_1")),
            ("/v1/responses/resp_1/cancel", Some(Route::CancelResponse), Some("resp_1")),
            ("/v1/responses/resp_1/input_items", Some(Route::ResponseItems), Some("resp_1")),
            ("/v1/responses/", None, None),
            ("/v1/responses//cancel", None, None),
            ("/v1/responses/resp_1/", None, None),
            ("/v1/responses/resp_1/other", None, None),
            ("/v1/responses/..", None, None),
            ("/v1/responses/../cancel", None, None),
            ("/v1/responses/..%2f..%2fflush_cache", None, None),
            ("/v1/responses/..%2f..%2fslots%2f0/cancel", None, None),
            ("/v1/responses/resp%0a", None, None),
            ("/v1/responses/resp;a=b/input_items", None, None),
            ("/v1/responses/resp-1.a:2", Some(Route::StoredResponse), Some("resp-1.a:2")),
            ("/v1/models/a/b", Some(Route::Model), None),
            ("/v1/models/", None, None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
            assert_eq!(route.and_then(|route| route.response_id(path)), id, "{path}");
        }
        assert_eq!(Route::model_in("/v1/models/a/b"), "a/b");
    }
}
