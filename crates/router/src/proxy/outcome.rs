//! What an attempt came to, and how a client is told of it.

use std::sync::Arc;

use http::{Response, response};

use crate::proxy::answer_meter::AnswerMeter;
use crate::proxy::client_deadlines::GaveUp;
use crate::proxy::clients::Client;
use crate::proxy::headers::prepare_answer;
use crate::proxy::inbound::Inbound;
use crate::proxy::listening::{Lesson, Listening};
use crate::proxy::opening::Opening;
use crate::proxy::out_body::OutBody;
use crate::proxy::passed::Passed;
use crate::proxy::placement::Placement;
use crate::proxy::prefill_guard::PrefillGuard;
use crate::proxy::proxy_error::{ProxyError, ToldStatus};
use crate::proxy::response_reader::ResponseReader;
use crate::proxy::retry::Ending;
use crate::proxy::route::Route;
use crate::proxy::shortage::Shortage;
use crate::proxy::verdict::Verdict;
use crate::records::Draft;
use sgl_upstream::UpstreamError;
use sglang_router_rs::policies::{OutcomeNeeds, SelectWorkerInfo};

const WORKER_HEADER: &str = "x-sgl-worker";

/// What an attempt came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The beginning of an answer.
    Answered(Box<Answered>),
    /// No answer.
    Failed {
        /// What to tell the client.
        error: ProxyError,
        /// Whether another worker may be tried.
        ending: Ending,
    },
}

/// Who tells of an outcome; the later here, the more it says to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Teller {
    /// This router: there was no answer.
    Router,
    /// A proxy in front of an engine, with a 502 or 504 in the engine's stead.
    Gateway,
    /// An engine.
    Engine,
}

/// The beginning of an answer, and where it comes from.
#[derive(Debug)]
pub(crate) struct Answered {
    opening: Opening,
    placement: Placement,
    /// Whether the limit between two pieces is the client's own.
    is_hurried: bool,
}

impl Outcome {
    /// The request ends with this error.
    pub(crate) fn end(error: ProxyError) -> Self {
        Self::Failed { error, ending: Ending::Failed(None) }
    }

    /// A worker gave no answer.
    pub(crate) fn no_answer(error: &UpstreamError) -> Self {
        let told = match error {
            UpstreamError::OwnShortage(_) => ProxyError::OutOfResources,
            UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Connect(_)
            | UpstreamError::Unresolved(_)
            | UpstreamError::Tls { .. }
            | UpstreamError::Unsent(_) => ProxyError::ConnectFailed,
            UpstreamError::Switched | UpstreamError::Coded => {
                ProxyError::InvalidAnswer { reason: error.to_string() }
            }
            UpstreamError::Broken(_)
            | UpstreamError::NotHttp
            | UpstreamError::Stale
            | UpstreamError::Ended
            | UpstreamError::Empty => ProxyError::BrokenAnswer,
        };
        Self::Failed { error: told, ending: Ending::of_call(error) }
    }

    /// The answer was not waited for any longer.
    pub(crate) fn given_up(why: GaveUp) -> Self {
        let error = match why {
            GaveUp::OutOfTime | GaveUp::Silent => ProxyError::Timeout,
            GaveUp::Dead => ProxyError::BrokenAnswer,
        };
        Self::Failed { error, ending: Ending::of_waiting(why) }
    }

    /// `error` instead of an answer that says that the worker failed. It is the client's: whether
    /// there is a retry is decided by then.
    pub(crate) fn unless_failed(self, error: ProxyError) -> Self {
        match self {
            Self::Answered(answered) if answered.placement.verdict() == Verdict::Failed => Self::end(error),
            other => other,
        }
    }

    /// What a retry depends on.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Failed { ending, .. } => *ending,
            Self::Answered(answered) => {
                let opening = &answered.opening;
                Ending::Answered { status: opening.status(), is_dying: opening.is_dying() }
            }
        }
    }

    /// The status of the answer, or the router's error in its stead.
    pub(crate) fn told(&self) -> Result<u16, &ProxyError> {
        match self {
            Self::Answered(answered) => Ok(answered.opening.status()),
            Self::Failed { error, .. } => Err(error),
        }
    }

    /// Who tells of it.
    pub(crate) fn teller(&self) -> Teller {
        match self {
            Self::Failed { .. } => Teller::Router,
            Self::Answered(answered) if matches!(answered.opening.status(), 502 | 504) => Teller::Gateway,
            Self::Answered(_) => Teller::Engine,
        }
    }

    /// Why there is no worker for the request, if that is what it comes to.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Failed { error, .. } => error.shortage(),
            Self::Answered(_) => None,
        }
    }

    /// Its worker is done with the request: it counts as in flight no longer, and the connection of
    /// an answer that was read whole is free. The answer can still be passed on.
    pub(crate) fn let_go(&mut self) {
        if let Self::Answered(answered) = self {
            if let Some(connection) = answered.opening.reclaim() {
                answered.placement.target().pool().put(connection);
            }
            answered.placement.leave();
        }
    }

    /// True if a worker serves the request.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self, Self::Answered(answered) if answered.is_served())
    }

    /// The answer to the client. It keeps the prefill half of a pair going, if there is one, and
    /// takes the record along; `info` is what was known of the request.
    ///
    /// # Errors
    ///
    /// What to tell the client if there is no answer.
    pub(crate) fn into_response(
        self,
        client: &Arc<Client>,
        inbound: &Inbound,
        info: Option<&SelectWorkerInfo<'_>>,
        prefill: Option<PrefillGuard>,
        record: &mut Option<Box<Draft>>,
    ) -> Result<Response<OutBody>, ProxyError> {
        match self {
            Self::Failed { error, .. } => Err(error),
            Self::Answered(answered) => {
                let (mut head, mut passed) = answered.into_parts(client, inbound, info);
                if let Some(record) = record.take() {
                    passed.record(record, &mut head);
                }
                if let Some(prefill) = prefill {
                    passed.keep_prefill(prefill);
                }
                Ok(Response::from_parts(head, OutBody::passed(passed)))
            }
        }
    }
}

impl Answered {
    /// The beginning of an answer that the placement was told of; `is_hurried` if the limit between two
    /// pieces is the client's own.
    pub(crate) fn new(opening: Opening, placement: Placement, is_hurried: bool) -> Box<Self> {
        Box::new(Self { opening, placement, is_hurried })
    }

    /// True if its worker serves the request.
    pub(crate) fn is_served(&self) -> bool {
        self.placement.verdict() == Verdict::Served
    }

    /// The answer as it came, for who reads it here.
    pub(crate) fn into_opening(self) -> (Opening, Placement) {
        (self.opening, self.placement)
    }

    /// The head as the client gets it, and the body.
    fn into_parts(
        self,
        client: &Arc<Client>,
        inbound: &Inbound,
        info: Option<&SelectWorkerInfo<'_>>,
    ) -> (response::Parts, Box<Passed>) {
        let Self { opening, placement, is_hurried } = self;
        let told = opening.error().map(|error| ToldStatus(error.code));
        let Opening { mut head, body, events, open_end, .. } = opening;
        let ratios = client.proxy().token_ratios();
        let needs = client.proxy().outcome_needs(placement.needs());
        let needs = OutcomeNeeds { usage: needs.usage || inbound.is_told_of_tokens(), ..needs };
        let maker = placement.target().endpoint();
        let homes = client.proxy().response_homes().filter(|_| head.status.is_success());
        let reader = homes.filter(|_| inbound.route == Route::Responses);
        let reader = reader.map(|homes| |form| ResponseReader::new(form, homes, maker));
        if let Some((homes, id)) = homes.zip(inbound.route.response_id(inbound.head.uri.path())) {
            homes.found(id, maker, &inbound.head.method);
        }
        let lesson = info.and_then(Lesson::of);
        let listening = Listening::to(needs, &head, events.is_some(), lesson, ratios, reader);
        let is_measured = head.status.is_success() && (events.is_some() || needs.usage);
        let model = info.and_then(|info| info.model);
        let meter = is_measured.then(|| AnswerMeter::new(client.proxy(), model));
        prepare_answer(&mut head);
        if client.proxy().settings().worker_header {
            head.headers.insert(WORKER_HEADER, placement.target().name().clone());
        }
        if let Some(told) = told {
            head.extensions.insert(told);
        }
        let mut passed = Passed::new(body, events, placement, client, inbound.route, inbound.started);
        passed.attend(open_end, listening, meter);
        if is_hurried {
            passed.hurry();
        }
        (head, passed)
    }
}
