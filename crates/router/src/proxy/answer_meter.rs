//! What an answer adds to the numbers of its model.

use std::sync::Arc;
use std::time::Instant;

use crate::proxy::data_plane::DataPlane;
use crate::proxy::listening::Listening;
use crate::proxy::model_times::ModelTimes;
use crate::proxy::placement::{AnswerForm, Placement};

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

    /// The model.
    pub(crate) fn model(&self) -> &Arc<str> {
        &self.times.model
    }

    /// The first byte of an answer in this form came at `now`; of a stream, its first event. The request's
    /// head had come at `started`.
    pub(crate) fn first_byte(&mut self, form: AnswerForm, now: Instant, started: Instant) {
        if form == AnswerForm::Events {
            self.first_token = Some(now);
            self.times.first_token.observe(now - started);
        }
    }

    /// The whole answer came, of whose tokens `listening` and `placement` know what was looked for.
    pub(crate) fn complete(&self, listening: Option<&Listening>, placement: &Placement) {
        let usage = placement.usage();
        placement.target().tokens().add(&self.times.model, usage);
        let events = listening.map_or(0, Listening::events);
        let tokens = usage.completion_tokens.map_or(events, u64::from);
        let further = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(first) = self.first_token.filter(|_| further > 0) {
            self.times.per_token.observe(first.elapsed() / further);
        }
    }
}
