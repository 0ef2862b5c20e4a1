//! What a policy wants to hear of an answer, looked for while the answer passes through.

use bytes::Bytes;
use http::response;
use hyper::body::Frame;

use crate::proxy::headers::is_json;
use crate::proxy::response_reader::ResponseReader;
use crate::proxy::stream_tokens::events_in;
use crate::proxy::token_usage::TokenUsage;
use crate::proxy::usage::{BodyForm, UsageTail};
use sglang_router_rs::core::TokenRatios;
use sglang_router_rs::policies::{OutcomeNeeds, SelectWorkerInfo};

/// What is still to be heard. There is none for answers that nobody listens to.
#[derive(Debug)]
pub(crate) struct Listening {
    usage: Option<UsageTail>,
    /// Whether the first event is to be told of and has not come.
    awaits_event: bool,
    /// What is learnt from the count of the prompt's tokens.
    lesson: Option<Lesson>,
    /// Looks for the id of a response, as long as it has not come.
    response: Option<ResponseReader>,
    /// Events with data so far, if they are counted.
    events: Option<u64>,
}

/// A prompt whose tokens were estimated by its text.
#[derive(Debug)]
pub(crate) struct Lesson {
    model: Option<Box<str>>,
    prompt_bytes: u64,
}

impl Lesson {
    /// What can be learnt from a request; `None` if nobody wants an estimate, or it needs none. Text
    /// between token ids says nothing of either.
    pub(crate) fn of(info: &SelectWorkerInfo<'_>) -> Option<Self> {
        let estimated = info.prompt_tokens.is_some_and(|tokens| !tokens.exact) && info.tokens.is_none();
        estimated.then(|| Self { model: info.model.map(Box::from), prompt_bytes: info.whole_prompt_bytes() })
    }
}

impl Listening {
    /// What these needs are of an answer with this head, which is a stream of events that can be read or
    /// not; `None` if it has nothing to listen to: a refusal has no tokens, and a compressed body cannot
    /// be read.
    pub(crate) fn to(
        needs: OutcomeNeeds,
        head: &response::Parts,
        has_events: bool,
        lesson: Option<Lesson>,
        ratios: &TokenRatios,
        reader: Option<impl FnOnce(BodyForm) -> ResponseReader>,
    ) -> Option<Box<Self>> {
        let may_listen = needs.usage || needs.lessons || needs.first_tokens || reader.is_some();
        if !may_listen || !head.status.is_success() {
            return None;
        }
        let lesson = lesson.filter(|lesson| needs.lessons && ratios.is_due(lesson.model.as_deref()));
        let reads = needs.usage || lesson.is_some();
        let form = if has_events && (reads || needs.first_tokens || reader.is_some()) {
            BodyForm::Events
        } else if (reads || reader.is_some()) && is_json(&head.headers) {
            BodyForm::Json
        } else {
            return None;
        };
        let usage = reads.then(|| UsageTail::new(form));
        let events = (needs.usage && form == BodyForm::Events).then_some(0);
        let (awaits_event, response) = (needs.first_tokens && has_events, reader.map(|reader| reader(form)));
        Some(Box::new(Self { usage, awaits_event, lesson, response, events }))
    }

    /// The next piece of the body.
    pub(crate) fn look(&mut self, frame: &Frame<Bytes>) {
        let Some(piece) = frame.data_ref() else { return };
        if let Some(usage) = &mut self.usage {
            usage.look(piece);
        }
        self.response.take_if(|reader| reader.look(piece));
        if let Some(events) = &mut self.events {
            *events += u64::from(events_in(piece));
        }
    }

    /// How many events have come, as far as they are counted.
    pub(crate) fn events(&self) -> u64 {
        self.events.unwrap_or(0)
    }

    /// True once, when the first event has come.
    pub(crate) fn has_begun(&mut self, has_data: bool) -> bool {
        has_data && std::mem::take(&mut self.awaits_event)
    }

    /// What the whole body said of tokens. The ratios learn from it.
    pub(crate) fn usage(&self, ratios: &TokenRatios) -> TokenUsage {
        let usage = self.usage.as_ref().map(UsageTail::read).unwrap_or_default();
        if let (Some(lesson), Some(tokens)) = (&self.lesson, usage.prompt_tokens) {
            ratios.learn(lesson.model.as_deref(), lesson.prompt_bytes, u64::from(tokens));
        }
        usage
    }
}
