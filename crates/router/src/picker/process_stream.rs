//! Envoy's service: a stream for each request.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessor;
use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use futures_util::stream;
use futures_util::stream::BoxStream;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::picker::guarded_answers::{GuardedAnswers, StreamStep};
use crate::picker::http_exchange::HttpExchange;
use crate::picker::stream_counts::StreamCounts;
use crate::proxy::carried::CarriedPlacer;

type AnswerStep = Result<StreamStep<ProcessingResponse>, Status>;

/// Answers Envoy.
#[derive(Debug)]
pub(crate) struct PickService {
    placer: Arc<CarriedPlacer>,
    counts: Arc<StreamCounts>,
}

/// A stream under way.
struct Conversation {
    incoming: Streaming<ProcessingRequest>,
    exchange: HttpExchange,
    /// How long a client may be silent while its body is held back.
    silence: Duration,
}

/// What comes next from Envoy.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum HeardFromEnvoy {
    Message(ProcessingRequest),
    /// Nothing for too long.
    Nothing,
    End,
    Broken(Status),
}

impl PickService {
    /// A service that picks with this placer.
    pub(crate) fn new(placer: Arc<CarriedPlacer>, counts: Arc<StreamCounts>) -> Self {
        Self { placer, counts }
    }
}

#[tonic::async_trait]
impl ExternalProcessor for PickService {
    type ProcessStream = GuardedAnswers<BoxStream<'static, AnswerStep>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let conversation = Conversation {
            incoming: request.into_inner(),
            exchange: HttpExchange::new(Arc::clone(&self.placer), self.counts.open_stream()),
            silence: self.placer.proxy().settings().body_silence,
        };
        let steps: BoxStream<'static, AnswerStep> = Box::pin(stream::unfold(conversation, next_step));
        Ok(Response::new(GuardedAnswers::new(steps)))
    }
}

/// The next answer. Envoy ends a stream as often by resetting it as in order: both are the end.
async fn next_step(mut conversation: Conversation) -> Option<(AnswerStep, Conversation)> {
    loop {
        if let Some(answer) = conversation.exchange.next_answer() {
            return Some((Ok(StreamStep::Answer(answer)), conversation));
        }
        match conversation.hear().await {
            HeardFromEnvoy::Message(message) => conversation.exchange.take(message).await,
            HeardFromEnvoy::Nothing => conversation.exchange.release().await,
            HeardFromEnvoy::End => return Some((Ok(StreamStep::Done), conversation)),
            HeardFromEnvoy::Broken(status) => return Some((Err(status), conversation)),
        }
    }
}

impl Conversation {
    async fn hear(&mut self) -> HeardFromEnvoy {
        let message = self.incoming.message();
        let heard = if self.exchange.is_holding() {
            match timeout(self.silence, message).await {
                Ok(heard) => heard,
                Err(_) => return HeardFromEnvoy::Nothing,
            }
        } else {
            message.await
        };
        match heard {
            Ok(Some(message)) => HeardFromEnvoy::Message(message),
            Ok(None) => HeardFromEnvoy::End,
            Err(status) => HeardFromEnvoy::Broken(status),
        }
    }
}
