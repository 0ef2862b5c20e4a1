//! What an answer adds to the numbers of its model.

use std::sync::Arc;
use std::time::Instant;

use crate::proxy::data_plane::DataPlane;
use crate::proxy::entrance::Entrance;
use crate::proxy::model_times::ModelTimes;
use crate::proxy::token_usage::TokenUsage;

/// Measures one answer: that of a stream, or one whose usage is read.
#[derive(Debug)]
pub(crate) struct AnswerMeter {
    times: Arc<ModelTimes>,
    /// When the first token came; only of streams.
    first_token: Option<Instant>,
}

impl AnswerMeter {
    /// For an answer to a request that names this model, if it names one and was read for it.
    pub(crate) fn new(proxy: &DataPlane, model: Option<&str>) -> Self {
        let snapshot = proxy.backends().snapshot();
        Self { times: proxy.measures().times(snapshot.known_model(model)), first_token: None }
    }

    /// The first event of a stream came at `now`; the request's head had come at `started`.
    pub(crate) fn first_token(&mut self, now: Instant, started: Instant) {
        self.first_token = Some(now);
        self.times.first_token.observe(now - started);
    }

    /// The whole answer came, with this usage and so many events, as far as they were looked for.
    pub(crate) fn complete(&self, usage: TokenUsage, events: u64, worker: &Entrance) {
        worker.tokens().add(&self.times.model, usage);
        let tokens = usage.completion_tokens.map_or(events, u64::from);
        let further = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(first) = self.first_token.filter(|_| further > 0) {
            self.times.per_token.observe(first.elapsed() / further);
        }
    }
}
