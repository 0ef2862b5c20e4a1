//! From an HTTP request to its answer.
//!
//! | method and path | answers |
//! |---|---|
//! | POST `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | OpenAI |
//! | POST `/v1/responses`; GET, DELETE `/v1/responses/{id}`, `…/cancel`, `…/input_items` | OpenAI |
//! | POST `/v1/messages`, `/v1/messages/count_tokens` | Anthropic |
//! | POST `/rerank`, `/score`, `/classify`, `/pooling`, `/tokenize`, `/detokenize`, `/v1/audio/transcriptions` | as vLLM |
//! | GET `/v1/models`, `/v1/models/{id}` | OpenAI |
//! | POST or PUT `/generate` | SGLang |
//! | GET `/health`, `/health_generate` | 200, or 503 while set unhealthy |
//! | GET `/get_load`, `/get_server_info`, `/server_info`, `/get_model_info`, `/model_info` | SGLang |
//! | GET or POST `/flush_cache` | SGLang |
//! | GET `/metrics` | Prometheus |
//! | GET or POST `/sim/control` | settings that may change while it runs |
//!
//! With a [`Dialect`](crate::sim::Dialect) what is reported, errors and refusals are that engine's; requests
//! are read alike.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;

use crate::sim::accelerator::Accelerator;
use crate::sim::chunks::ChunkWriter;
use crate::sim::config::SimConfig;
use crate::sim::control::ControlPatch;
use crate::sim::conversation::{read_messages, read_responses};
use crate::sim::dialect::Dialect;
use crate::sim::dialects::{llama_cpp, sglang as current_sglang, vllm};
use crate::sim::embeddings::{embeddings_answer, read_embeddings};
use crate::sim::error::ApiError;
use crate::sim::exposition::{CONTENT_TYPE, Exposition};
use crate::sim::generation::GenerationRequest;
use crate::sim::kept_responses::{KeptResponses, RESPONSES};
use crate::sim::late_stream::LateStream;
use crate::sim::openai::{read_chat, read_completion};
use crate::sim::ranks::Ranks;
use crate::sim::reply::{ROOM_HEADER, SOURCE_HEADER, SimResponse, WORKER_HEADER};
use crate::sim::run::Run;
use crate::sim::small_calls::SmallCall;
use crate::sim::stream::TokenStream;
use crate::sim::transfer_params::TransferParams;
use crate::sim::wording::Wording;
use crate::sim::{kv_transfer, reply, sglang};

/// Longest request body.
const MAX_BODY_BYTES: usize = 32 << 20;
/// Time that SGLang's health check takes at least.
const HEALTH_STEP: Duration = Duration::from_secs(1);
/// Time from vLLM's first look at its queue to its second: it makes tokens of the prompt in between.
const TOKENIZED: Duration = Duration::from_millis(2);

/// How a body becomes a request, per endpoint.
type BodyReader = fn(&[u8], &SimConfig) -> Result<GenerationRequest, ApiError>;

/// The HTTP side of one worker.
#[derive(Debug)]
pub(crate) struct Routes {
    ranks: Arc<Ranks>,
    dialect: Option<Dialect>,
    wording: Arc<Wording>,
    exposition: Exposition,
    worker: HeaderValue,
    kept: KeptResponses,
}

impl Routes {
    pub(crate) fn new(ranks: Arc<Ranks>) -> Self {
        let config = ranks.config();
        Self {
            wording: Arc::new(Wording::new(config)),
            exposition: Exposition::new(ranks.first()),
            // Checked to be visible ASCII.
            worker: HeaderValue::from_str(&config.worker_id).unwrap_or(HeaderValue::from_static("invalid")),
            dialect: config.engine,
            kept: KeptResponses::default(),
            ranks,
        }
    }

    /// Answers a request.
    ///
    /// # Cancel safety
    /// Safe: a request dropped here is counted as cancelled and holds nothing.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> SimResponse {
        let mut reply = match self.route(request).await {
            Ok(reply) => reply,
            Err(error) => {
                self.dialect.map_or_else(|| reply::error(&error), |dialect| reply::error_in(dialect, &error))
            }
        };
        reply.headers_mut().insert(WORKER_HEADER, self.worker.clone());
        reply
    }

    async fn route(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let path = request.uri().path();
        let like_sglang = matches!(self.dialect, None | Some(Dialect::Sglang));
        let reader: BodyReader = match path {
            "/v1/chat/completions" => read_chat,
            "/v1/completions" => read_completion,
            "/generate" if like_sglang => sglang::read_generate,
            "/v1/embeddings" if self.dialect == Some(Dialect::LlamaCpp) => {
                return Err(ApiError::not_supported());
            }
            "/v1/embeddings" => {
                allow(&request, &[Method::POST])?;
                return self.embed(request).await;
            }
            "/v1/messages" => read_messages,
            "/v1/responses" => {
                allow(&request, &[Method::POST])?;
                return self.respond(request).await;
            }
            "/v1/messages/count_tokens" => {
                allow(&request, &[Method::POST])?;
                let ask = read_messages(&read_body(request).await?, self.ranks.config())?;
                return Ok(reply::json(&json!({ "input_tokens": ask.prompt_tokens() })));
            }
            "/v1/audio/transcriptions" | "/v1/audio/translations" => {
                allow(&request, &[Method::POST])?;
                return heard(&read_body(request).await?);
            }
            path if path.starts_with(RESPONSES) => return self.kept.answer(&request),
            path if let Some(call) = SmallCall::at(path) => {
                allow(&request, &[Method::POST])?;
                return self.small_call(call, request).await;
            }
            "/sim/control" => {
                allow(&request, &[Method::GET, Method::POST])?;
                return self.control(request).await;
            }
            "/health_generate" if !like_sglang => return Err(ApiError::unknown_path(path)),
            "/health" | "/health_generate" => {
                allow(&request, &[Method::GET, Method::HEAD])?;
                return Ok(self.health(path == "/health_generate").await);
            }
            "/flush_cache" if like_sglang => {
                allow(&request, &[Method::GET, Method::POST])?;
                return Ok(self.flush());
            }
            // Of vLLM's development mode.
            "/reset_prefix_cache" if self.dialect == Some(Dialect::Vllm) => {
                allow(&request, &[Method::POST])?;
                return Ok(self.flush());
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
        let rank = request.headers().get(vllm::RANK_HEADER).and_then(|rank| rank.to_str().ok()?.parse().ok());
        // SGLang reads the header where it speaks OpenAI's language.
        let is_openai = request.uri().path().starts_with("/v1/");
        let body = read_body(request).await?;
        let mut ask = reader(&body, self.ranks.config())?;
        // A prompt may be long; its bytes are not needed while its answer is made.
        drop(body);
        kv_transfer::check(&ask, self.ranks.config())?;
        let room = ask.room.take();
        let source = ask.transfer.as_ref().and_then(TransferParams::source);
        let source = source.and_then(|source| HeaderValue::from_str(source).ok());
        match self.dialect {
            Some(Dialect::Vllm) => ask.rank = rank,
            Some(Dialect::Sglang) if is_openai => ask.rank = rank.or(ask.rank),
            _ => {}
        }
        let accelerator = Arc::clone(self.ranks.pick(ask.rank)?);
        let mut reply = match self.dialect {
            Some(Dialect::Vllm) => self.generate_late(accelerator, ask).await?,
            dialect => match accelerator.begin(&ask).await {
                Ok(run) => self.answer_with(run, &ask).await,
                // The head of a stream comes with the first event, and that is told in an event.
                Err(error) if dialect == Some(Dialect::Sglang) && ask.stream && error.is_overload() => {
                    reply::whole_events(current_sglang::refusal(ask.format, &error))
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(room) = room {
            reply.headers_mut().insert(ROOM_HEADER, room);
        }
        if let Some(source) = source {
            reply.headers_mut().insert(SOURCE_HEADER, source);
        }
        Ok(reply)
    }

    async fn answer_with(&self, mut run: Run, ask: &GenerationRequest) -> SimResponse {
        if ask.stream {
            return reply::events(self.stream(run, ask));
        }
        run.complete().await;
        if self.ranks.control.is_silent() {
            // For as long as its client waits.
            std::future::pending::<()>().await;
        }
        let answer = self.wording.answer(ask.format, run.generation());
        let answer = kv_transfer::told(answer, ask, run.generation(), self.ranks.config());
        run.finish();
        reply::json_bytes(answer)
    }

    fn stream(&self, run: Run, ask: &GenerationRequest) -> TokenStream {
        let wording = Arc::clone(&self.wording);
        let chunks = ChunkWriter::new(ask.format, *run.generation(), ask.include_usage, wording);
        TokenStream::new(run, chunks, self.ranks.config().stall_after, Arc::clone(&self.ranks.control))
    }

    /// As vLLM does it: it looks at its queue, sends the head of a stream, and looks again when it queues
    /// the request. Requests that come together all pass the first look.
    async fn generate_late(
        &self,
        accelerator: Arc<Accelerator>,
        ask: GenerationRequest,
    ) -> Result<SimResponse, ApiError> {
        if self.ranks.control.is_ending() {
            return Err(ApiError::ending());
        }
        if accelerator.is_full() {
            accelerator.counters().overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(ApiError::overloaded());
        }
        if !ask.stream {
            look_again(&accelerator).await;
            let run = accelerator.begin(&ask).await?;
            return Ok(self.answer_with(run, &ask).await);
        }
        let (wording, control) = (Arc::clone(&self.wording), Arc::clone(&self.ranks.control));
        Ok(reply::late_events(LateStream::new(async move {
            look_again(&accelerator).await;
            let run = accelerator.begin(&ask).await.map_err(|error| vllm::refusal(&error))?;
            let stall_after = accelerator.config().stall_after;
            let chunks = ChunkWriter::new(ask.format, *run.generation(), ask.include_usage, wording);
            Ok(TokenStream::new(run, chunks, stall_after, control))
        })))
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let (ask, keeping) = read_responses(&read_body(request).await?, self.ranks.config())?;
        self.kept.check(&keeping)?;
        let run = self.ranks.pick(ask.rank)?.begin(&ask).await?;
        self.kept.keep(&keeping, run.generation(), &self.wording);
        Ok(self.answer_with(run, &ask).await)
    }

    async fn small_call(&self, call: SmallCall, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let (ask, answer) = call.read(&read_body(request).await?, self.ranks.config())?;
        let mut run = self.ranks.pick(None)?.begin(&ask).await?;
        run.complete().await;
        run.finish();
        Ok(reply::json(&answer))
    }

    async fn embed(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        let body = read_body(request).await?;
        let config = self.ranks.config();
        let (ask, form) = read_embeddings(&body, config)?;
        let mut run = self.ranks.pick(None)?.begin(&ask).await?;
        run.complete().await;
        let answer = embeddings_answer(&ask, form, config);
        run.finish();
        Ok(reply::json(&answer))
    }

    async fn health(&self, generate: bool) -> SimResponse {
        let control = &self.ranks.control;
        let told_to_end = self.dialect == Some(Dialect::Sglang) && control.is_ending();
        if !control.is_healthy() || told_to_end {
            return reply::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.dialect == Some(Dialect::Sglang) && !self.ranks.first().is_instant() {
            // It looks once a second whether the token that it asked for has come.
            tokio::time::sleep(HEALTH_STEP).await;
        } else if generate {
            self.ranks.first().probe().await;
        }
        match self.dialect {
            Some(Dialect::LlamaCpp) => reply::json(&json!({ "status": "ok" })),
            _ => reply::empty(StatusCode::OK),
        }
    }

    fn flush(&self) -> SimResponse {
        self.ranks.iter().for_each(|rank| rank.flush_cache());
        reply::empty(StatusCode::OK)
    }

    async fn control(&self, request: Request<Incoming>) -> Result<SimResponse, ApiError> {
        if request.method() == Method::POST {
            let body = read_body(request).await?;
            let patch: ControlPatch =
                serde_json::from_slice(&body).map_err(|cause| ApiError::malformed(&cause))?;
            self.ranks.control.apply(&patch).map_err(|fault| ApiError::parameter("control", fault))?;
        }
        Ok(reply::json(&json!(self.ranks.control.state())))
    }

    /// The endpoints that report and take no body.
    fn report(&self, request: &Request<Incoming>) -> Result<SimResponse, ApiError> {
        let path = request.uri().path();
        let reply = match self.dialect {
            None => self.report_as_ever(path)?,
            Some(Dialect::Sglang) => {
                current_sglang::report(&self.ranks, path, request.uri().query().unwrap_or_default())?
                    .ok_or_else(|| ApiError::unknown_path(path))?
            }
            Some(Dialect::Vllm) => {
                vllm::report(&self.ranks, path).ok_or_else(|| ApiError::unknown_path(path))?
            }
            Some(Dialect::LlamaCpp) => {
                llama_cpp::report(&self.ranks, path).ok_or_else(|| ApiError::unknown_path(path))?
            }
        };
        allow(request, &[Method::GET])?;
        Ok(reply)
    }

    /// What a worker without a dialect says of itself.
    fn report_as_ever(&self, path: &str) -> Result<SimResponse, ApiError> {
        let (config, accelerator) = (self.ranks.config(), self.ranks.first());
        Ok(match path {
            "/v1/models" => reply::json(&json!({ "object": "list", "data": [sglang::model_card(config)] })),
            "/get_load" => reply::json(&sglang::load(&accelerator.load())),
            "/get_server_info" | "/server_info" => {
                reply::json(&sglang::server_info(config, &accelerator.load()))
            }
            "/get_model_info" | "/model_info" => reply::json(&sglang::model_info(config)),
            "/metrics" => {
                reply::typed(HeaderValue::from_static(CONTENT_TYPE), Bytes::from(self.exposition.text()))
            }
            _ => match path.strip_prefix("/v1/models/") {
                Some(model) if model == config.model => reply::json(&sglang::model_card(config)),
                Some(model) => return Err(ApiError::unknown_model(model, &config.model)),
                None => return Err(ApiError::unknown_path(path)),
            },
        })
    }
}

/// Waits for the second look; nothing else takes time where nothing does.
async fn look_again(accelerator: &Accelerator) {
    if accelerator.is_instant() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(TOKENIZED).await;
    }
}

/// What is heard in a recording: how many bytes the form has.
fn heard(form: &Bytes) -> Result<SimResponse, ApiError> {
    if form.is_empty() {
        return Err(ApiError::parameter("file", "`file` is missing"));
    }
    Ok(reply::json(&json!({ "text": format!("{} bytes", form.len()) })))
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
