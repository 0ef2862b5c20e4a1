//! One attempt: a request to one worker, up to the beginning of its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::response;

use crate::config::retry_on::RetryCondition;
use crate::config::retry_on::RetryOn;
use crate::core::Worker;
use crate::proxy::call_error::CallError;
use crate::proxy::clients::Client;
use crate::proxy::deadlines::GaveUp;
use crate::proxy::fullness::retry_after;
use crate::proxy::head::Head;
use crate::proxy::headers::prepare_answer;
use crate::proxy::measures::RetryReason;
use crate::proxy::opening::Opening;
use crate::proxy::patience::Limit;
use crate::proxy::patience::Patience;
use crate::proxy::payload::Payload;
use crate::proxy::placement::Placement;
use crate::proxy::prefill::PrefillGuard;
use crate::proxy::pressure::HeldBody;
use crate::proxy::respond::ProxyError;
use crate::proxy::route::Route;
use crate::proxy::second_run::SecondRun;
use crate::proxy::stream::OutBody;
use crate::proxy::stream::Passed;
use crate::proxy::verdict::Verdict;
use crate::records::Draft;

const WORKER_HEADER: &str = "x-sgl-worker";

/// A client that sends this, with anything but 0 or false, has a request that must not be worked on
/// twice.
const NO_RETRY_HEADER: &str = "x-sgl-no-retry";

/// A request that was read.
#[derive(Debug)]
pub struct Inbound {
    /// Where it goes.
    pub route: Route,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// What the body takes.
    pub held: HeldBody,
    /// When its head was read.
    pub started: Instant,
}

impl Inbound {
    /// Whether it may run a second time.
    pub fn second_run(&self) -> SecondRun {
        let asked = self.head.own(NO_RETRY_HEADER).map(HeaderValue::as_bytes);
        let forbidden = asked.is_some_and(|value| value != b"0" && !value.eq_ignore_ascii_case(b"false"));
        if forbidden { SecondRun::none() } else { SecondRun::default() }
    }
}

/// What an attempt came to.
#[derive(Debug)]
pub enum Outcome {
    /// The beginning of an answer.
    Answered(Box<Answered>),
    /// No answer.
    Failed {
        /// What to tell the client.
        error: ProxyError,
        /// Why another worker may be tried; `None` if none may.
        retry: Option<RetryReason>,
    },
}

/// Who tells of an outcome; the later here, the more it says to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Teller {
    /// This router: there was no answer.
    Router,
    /// A proxy in front of an engine, with a 502 or 504 in the engine's stead.
    Gateway,
    /// An engine.
    Engine,
}

/// The beginning of an answer, and where it comes from.
#[derive(Debug)]
pub struct Answered {
    opening: Opening,
    placement: Placement,
    /// Whether the limit between two pieces is the client's own.
    is_hurried: bool,
}

impl Outcome {
    /// There was no answer.
    pub fn no_answer(error: &CallError) -> Self {
        let (error, retry) = match error {
            // Another worker would not be reached either.
            CallError::OwnShortage(_) => {
                return Self::Failed { error: ProxyError::OutOfResources, retry: None };
            }
            CallError::ConnectTimeout { .. }
            | CallError::Connect(_)
            | CallError::Unresolved(_)
            | CallError::Unsent(_) => (ProxyError::ConnectFailed, RetryReason::Connect),
            CallError::Switched => (ProxyError::InvalidAnswer, RetryReason::Broken),
            CallError::Broken(_) | CallError::Stale | CallError::Ended | CallError::Empty => {
                (ProxyError::BrokenAnswer, RetryReason::Broken)
            }
        };
        Self::Failed { error, retry: Some(retry) }
    }

    /// Why another worker should be tried, if that is a reason of `on`.
    pub fn retry(&self, on: RetryOn) -> Option<RetryReason> {
        let (condition, reason) = match self {
            Self::Failed { retry, .. } => match (*retry)? {
                RetryReason::Connect => (RetryCondition::Connect, RetryReason::Connect),
                RetryReason::Silent => (RetryCondition::Silent, RetryReason::Silent),
                RetryReason::Status => (RetryCondition::BadGateway, RetryReason::Status),
                other => (RetryCondition::Broken, other),
            },
            Self::Answered(answered) => match answered.opening.status() {
                429 => (RetryCondition::TooManyRequests, RetryReason::Full),
                500 if answered.opening.is_dying() && on.has(RetryCondition::EngineDead) => {
                    return Some(RetryReason::Error);
                }
                500 => (RetryCondition::InternalError, RetryReason::Error),
                502 => (RetryCondition::BadGateway, RetryReason::Status),
                503 => (RetryCondition::Unavailable, RetryReason::Full),
                504 => (RetryCondition::GatewayTimeout, RetryReason::Error),
                _ => return None,
            },
        };
        on.has(condition).then_some(reason)
    }

    /// The answer was not waited for any longer.
    pub fn given_up(why: GaveUp) -> Self {
        let (error, retry) = match why {
            GaveUp::OutOfTime => (ProxyError::Timeout, None),
            GaveUp::Silent => (ProxyError::Timeout, Some(RetryReason::Silent)),
            GaveUp::Dead => (ProxyError::BrokenAnswer, Some(RetryReason::Silent)),
        };
        Self::Failed { error, retry }
    }

    /// `error` instead of an answer that says that the worker failed. It is the client's: whether
    /// there is a retry is decided by then.
    pub fn unless_failed(self, error: ProxyError) -> Self {
        match self {
            Self::Answered(answered) if answered.placement.verdict() == Verdict::Failed => {
                Self::Failed { error, retry: None }
            }
            other => other,
        }
    }

    /// Who tells of it.
    pub fn teller(&self) -> Teller {
        match self {
            Self::Failed { .. } => Teller::Router,
            Self::Answered(answered) if matches!(answered.opening.status(), 502 | 504) => Teller::Gateway,
            Self::Answered(_) => Teller::Engine,
        }
    }

    /// Its worker is done with the request: it counts as in flight no longer, and the connection of
    /// an answer that was read whole is free. The answer can still be passed on.
    pub fn let_go(&mut self) {
        if let Self::Answered(answered) = self {
            if let Some(connection) = answered.opening.reclaim() {
                answered.placement.target().pool().put(connection);
            }
            answered.placement.leave();
        }
    }

    /// True if the request may have taken the worker with it: the connection broke, or a proxy in
    /// front of the worker says so.
    pub fn broke(&self) -> bool {
        match self {
            Self::Failed { retry, .. } => *retry == Some(RetryReason::Broken),
            Self::Answered(answered) => answered.opening.status() == 502,
        }
    }

    /// True if a worker serves the request.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Answered(answered) if answered.placement.verdict() == Verdict::Served)
    }

    /// The answer to the client. It keeps the prefill half of a pair going, if there is one, and
    /// takes the record of the request along.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if there was no answer.
    pub fn into_response(
        self,
        client: &Arc<Client>,
        inbound: &Inbound,
        prefill: Option<PrefillGuard>,
        record: &mut Option<Box<Draft>>,
    ) -> Result<Response<OutBody>, ProxyError> {
        match self {
            Self::Failed { error, .. } => Err(error),
            Self::Answered(answered) => {
                let (mut head, mut passed) = answered.into_parts(client, inbound);
                if let Some(record) = record.take() {
                    passed.record(record, &mut head);
                }
                if let Some(prefill) = prefill {
                    passed.keep_prefill(prefill);
                }
                Ok(Response::from_parts(head, OutBody::Passed(passed)))
            }
        }
    }
}

impl Answered {
    /// The beginning of an answer that the placement was told of; `is_hurried` if the limit between two
    /// pieces is the client's own.
    pub fn new(opening: Opening, placement: Placement, is_hurried: bool) -> Box<Self> {
        Box::new(Self { opening, placement, is_hurried })
    }

    /// The head as the client gets it, and the body.
    fn into_parts(self, client: &Arc<Client>, inbound: &Inbound) -> (response::Parts, Box<Passed>) {
        let Self { opening, placement, is_hurried } = self;
        let told = opening.error().map(|error| ToldStatus(error.code));
        let Opening { mut head, body, events, open_end, .. } = opening;
        prepare_answer(&mut head);
        if client.proxy().settings().worker_header {
            head.headers.insert(WORKER_HEADER, placement.target().name().clone());
        }
        if let Some(told) = told {
            head.extensions.insert(told);
        }
        let mut passed = Passed::new(body, events, placement, client, inbound.route, inbound.started);
        passed.watch_end(open_end);
        if is_hurried {
            passed.hurry();
        }
        (head, passed)
    }
}

/// The code of the error that a stream began with. The client gets the stream as the worker sent
/// it, with the worker's status; in metrics and records the request counts by this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldStatus(pub u16);

/// Sends a request to the worker that it was placed at, and waits for the head of the answer, and
/// for the first event of a streamed one. `has_other` tells whether another worker could be tried.
///
/// # Cancel safety
///
/// Dropping the future closes the connection to the worker.
pub async fn attempt(
    client: &Client,
    head: &Head,
    body: &Payload,
    placement: Placement,
    second: &SecondRun,
    has_other: impl Fn() -> bool,
) -> Outcome {
    let patience = Patience::of(head, placement.target().silence());
    match ask(client, head, body, placement, patience, second, has_other).await {
        Ok(outcome) => outcome,
        Err(unanswered) => unanswered.blamed(),
    }
}

/// A request that is not waited for any longer, while it is open whose fault that is.
#[derive(Debug)]
pub struct Unanswered {
    /// Why not.
    pub why: GaveUp,
    /// The limit that ran.
    pub limit: Limit,
    placement: Placement,
}

impl Unanswered {
    /// It is the worker's fault; unless only a client in a hurry says so.
    pub fn blamed(mut self) -> Outcome {
        if self.why != GaveUp::Silent || !self.limit.is_clients {
            self.placement.fail();
        }
        Outcome::given_up(self.why)
    }
}

/// The same with this patience; leaves it open whose fault it is if the worker is silent.
///
/// # Errors
///
/// [`Unanswered`].
///
/// # Cancel safety
///
/// Dropping the future closes the connection to the worker.
pub async fn ask(
    client: &Client,
    head: &Head,
    body: &Payload,
    mut placement: Placement,
    patience: Patience,
    second: &SecondRun,
    has_other: impl Fn() -> bool,
) -> Result<Outcome, Box<Unanswered>> {
    let target = Arc::clone(placement.target());
    let deaths = target.deaths();
    let mut limit = patience.first_byte;
    client.wait_for(limit.after);
    // From its first bytes on a worker speaks, be they comments.
    let heard = || {
        limit = patience.between;
        client.wait_for(limit.after);
    };
    let target = &target;
    let opening = async {
        let answer = target.call(|| head.outgoing(target, body), second, has_other).await?;
        Opening::of(answer, heard).await
    };
    let opened = client.waiting(opening, || target.deaths() != deaths).await;
    match opened {
        Ok(Ok(opening)) => {
            client.wait_for(patience.between.after);
            placement.answered(opening.status(), || retry_after(&opening.head.headers));
            Ok(Outcome::Answered(Answered::new(opening, placement, patience.between.is_clients)))
        }
        Ok(Err(error)) => {
            tracing::debug!(worker = target.worker().url(), %error, "no answer");
            // A worker may close an idle connection whenever it likes.
            if !error.is_own() && !matches!(error, CallError::Stale) {
                placement.fail();
            }
            Ok(Outcome::no_answer(&error))
        }
        Err(why) => Err(Box::new(Unanswered { why, limit, placement })),
    }
}
