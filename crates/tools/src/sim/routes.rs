//! From an HTTP request to its answer.
//!
//! | method and path | answers |
//! |---|---|
//! | POST `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | OpenAI |
//! | GET `/v1/models`, `/v1/models/{id}` | OpenAI |
//! | POST or PUT `/generate` | SGLang |
//! | GET `/health`, `/health_generate` | 200, or 503 while set unhealthy |
//! | GET `/get_load`, `/get_server_info`, `/server_info`, `/get_model_info`, `/model_info` | SGLang |
//! | GET or POST `/flush_cache` | SGLang |
//! | GET `/metrics` | Prometheus |
//! | GET or POST `/sim/control` | settings that may change while it runs |

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::sim::accelerator::Accelerator;
use crate::sim::chunks::ChunkWriter;
use crate::sim::config::SimConfig;
use crate::sim::control::ControlPatch;
use crate::sim::embeddings::{embeddings_answer, read_embeddings};
use crate::sim::error::ApiError;
use crate::sim::exposition::{CONTENT_TYPE, Exposition};
use crate::sim::generation::GenerationRequest;
use crate::sim::openai::{read_chat, read_completion};
use crate::sim::reply::{ROOM_HEADER, SimResponse, WORKER_HEADER};
use crate::sim::stream::TokenStream;
use crate::sim::wording::{FIRST_CREATED, Wording};
use crate::sim::{reply, sglang};

/// Longest request body.
const MAX_BODY_BYTES: usize = 32 << 20;

/// How a body becomes a request, per endpoint.
type BodyReader = fn(&[u8], &SimConfig) -> Result<GenerationRequest, ApiError>;

/// The HTTP side of one worker.
#[derive(Debug)]
pub(crate) struct Routes {
    accelerator: Arc<Accelerator>,
    wording: Arc<Wording>,
    exposition: Exposition,
    worker: HeaderValue,
}

impl Routes {
    pub(crate) fn new(accelerator: Arc<Accelerator>) -> Self {
        let config = accelerator.config();
        Self {
            wording: Arc::new(Wording::new(config)),
            exposition: Exposition::new(&accelerator),
            // Checked to be visible ASCII.
            worker: HeaderValue::from_str(&config.worker_id).unwrap_or(HeaderValue::from_static("invalid")),
            accelerator,
        }
    }

    /// Answers a request.
    ///
    /// # Cancel safety
    /// Safe: a request dropped here is counted as cancelled and holds nothing.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> SimResponse {
        let mut reply = match self.route(request).await {
            Ok(reply) => reply,
            Err(error) => reply::error(&error),
        };
        reply.headers_mut().insert(WORKER_HEADER, self.worker.clone());
        reply
    }

    async fn route(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let path = request.uri().path();
        let reader: BodyReader = match path {
            "/v1/chat/completions" => read_chat,
            "/v1/completions" => read_completion,
            "/generate" => sglang::read_generate,
            "/v1/embeddings" => {
                allow(&request, &[Method::POST])?;
                return self.embed(request).await;
            }
            "/sim/control" => {
                allow(&request, &[Method::GET, Method::POST])?;
                return self.control(request).await;
            }
            "/health" | "/health_generate" => {
                allow(&request, &[Method::GET, Method::HEAD])?;
                return Ok(self.health(path == "/health_generate").await);
            }
            _ => return self.report(&request),
        };
        // SGLang takes PUT for /generate; it does no harm for the others.
        allow(&request, &[Method::POST, Method::PUT])?;
        self.generate(request, reader).await
    }

    async fn generate(
        &self,
        request: Request<Incoming>,
        reader: BodyReader,
    ) -> Result<SimResponse, ApiError> {
        let body = read_body(request).await?;
        let mut ask = reader(&body, self.accelerator.config())?;
        // A prompt may be long; its bytes are not needed while its answer is made.
        drop(body);
        let room = ask.room.take();
        let mut run = self.accelerator.begin(&ask).await?;
        let generation = *run.generation();
        let mut reply = if ask.stream {
            let wording = Arc::clone(&self.wording);
            let chunks = ChunkWriter::new(ask.format, generation, ask.include_usage, wording);
            reply::events(TokenStream::new(run, chunks, self.accelerator.config().stall_after))
        } else {
            run.complete().await;
            let answer = self.wording.answer(ask.format, &generation);
            run.finish();
            reply::json_bytes(answer)
        };
        if let Some(room) = room {
            reply.headers_mut().insert(ROOM_HEADER, room);
        }
        Ok(reply)
    }

    async fn embed(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let body = read_body(request).await?;
        let config = self.accelerator.config();
        let (ask, form) = read_embeddings(&body, config)?;
        let mut run = self.accelerator.begin(&ask).await?;
        run.complete().await;
        let answer = embeddings_answer(&ask, form, config);
        run.finish();
        Ok(reply::json(&answer))
    }

    async fn health(&self, generate: bool) -> SimResponse {
        if !self.accelerator.control().is_healthy() {
            return reply::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        if generate {
            self.accelerator.probe().await;
        }
        reply::empty(StatusCode::OK)
    }

    async fn control(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        if request.method() == Method::POST {
            let body = read_body(request).await?;
            let patch: ControlPatch =
                serde_json::from_slice(&body).map_err(|cause| ApiError::malformed(&cause))?;
            self.accelerator
                .control()
                .apply(&patch)
                .map_err(|fault| ApiError::parameter("control", fault))?;
        }
        Ok(reply::json(&json!(self.accelerator.control().state())))
    }

    /// The endpoints that report and take no body.
    fn report(&self, request: &Request<Incoming>) -> Result<SimResponse, ApiError> {
        let config = self.accelerator.config();
        let path = request.uri().path();
        let flush = path == "/flush_cache";
        let reply = match path {
            "/v1/models" => reply::json(&json!({ "object": "list", "data": [model_card(config)] })),
            "/get_load" => reply::json(&sglang::load(&self.accelerator.load())),
            "/get_server_info" | "/server_info" => {
                reply::json(&sglang::server_info(config, &self.accelerator.load()))
            }
            "/get_model_info" | "/model_info" => reply::json(&sglang::model_info(config)),
            "/metrics" => {
                reply::typed(HeaderValue::from_static(CONTENT_TYPE), Bytes::from(self.exposition.text()))
            }
            "/flush_cache" => reply::empty(StatusCode::OK),
            _ => match path.strip_prefix("/v1/models/") {
                Some(model) if model == config.model => reply::json(&model_card(config)),
                Some(model) => return Err(ApiError::unknown_model(model, &config.model)),
                None => return Err(ApiError::unknown_path(path)),
            },
        };
        allow(request, if flush { &[Method::GET, Method::POST] } else { &[Method::GET] })?;
        if flush {
            self.accelerator.flush_cache();
        }
        Ok(reply)
    }
}

fn allow(request: &Request<Incoming>, methods: &[Method]) -> Result<(), ApiError> {
    if methods.contains(request.method()) {
        return Ok(());
    }
    Err(ApiError::wrong_method(request.method(), request.uri().path()))
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(cause) if is_too_long(cause.as_ref()) => Err(ApiError::too_large(MAX_BODY_BYTES)),
        Err(cause) => Err(ApiError::broken_body(cause.as_ref())),
    }
}

fn is_too_long(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<LengthLimitError>()
}

fn model_card(config: &SimConfig) -> Value {
    json!({
        "id": config.model,
        "object": "model",
        "created": FIRST_CREATED,
        "owned_by": "sglang",
        "root": config.model,
        "parent": null,
        "max_model_len": config.context_tokens,
    })
}
