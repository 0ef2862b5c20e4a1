//! One attempt: a request to one worker, up to the head of its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::header;
use http::request;
use http::response;
use http_body_util::Full;

use crate::core::Worker;
use crate::proxy::clients::Client;
use crate::proxy::headers::prepare_request;
use crate::proxy::headers::remove_hop_by_hop;
use crate::proxy::measures::RetryReason;
use crate::proxy::prefill::PrefillGuard;
use crate::proxy::respond::ProxyError;
use crate::proxy::route::Route;
use crate::proxy::stream::OutBody;
use crate::proxy::stream::Passed;
use crate::proxy::target::Placement;
use crate::proxy::target::Target;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::CallError;
use crate::proxy::upstream::Outgoing;
use crate::records::Draft;

const WORKER_HEADER: &str = "x-sgl-worker";

/// The head of a request as every worker gets it, but for `host`.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers, without those of the client's connection.
    pub headers: HeaderMap,
}

impl Head {
    /// From the head as it came.
    pub fn new(head: request::Parts, client: &Client) -> Self {
        let request::Parts { method, uri, mut headers, .. } = head;
        prepare_request(&mut headers, client.forwarded_for());
        Self { method, uri: origin_form(uri), headers }
    }

    /// The request to one worker.
    pub fn outgoing(&self, target: &Target, body: &Bytes) -> Outgoing {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::HOST, target.host().clone());
        request
    }
}

/// Proxies may be sent the whole URL; workers get path and query.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default()
}

/// A request that was read.
#[derive(Debug)]
pub struct Inbound {
    /// Where it goes.
    pub route: Route,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// When its head was read.
    pub started: Instant,
}

/// What an attempt came to.
#[derive(Debug)]
pub enum Outcome {
    /// The head of an answer.
    Answered(Box<Answered>),
    /// No answer.
    Failed {
        /// What to tell the client.
        error: ProxyError,
        /// Why another worker may be tried; `None` if there is no time left.
        retry: Option<RetryReason>,
    },
}

/// The head of an answer, and where it comes from.
#[derive(Debug)]
pub struct Answered {
    answer: Answer,
    placement: Placement,
}

impl Outcome {
    /// Why another worker should be tried, if so.
    pub fn retry(&self) -> Option<RetryReason> {
        match self {
            Self::Failed { retry, .. } => *retry,
            Self::Answered(answered) => {
                let status = answered.answer.response.status();
                let retry = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE);
                retry.then_some(RetryReason::Status)
            }
        }
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
                let (mut head, mut passed) = (*answered).into_parts(client, inbound);
                if let Some(record) = record.take() {
                    passed = passed.with_record(record, &mut head);
                }
                if let Some(prefill) = prefill {
                    passed = passed.with_prefill(prefill);
                }
                Ok(Response::from_parts(head, OutBody::Passed(passed)))
            }
        }
    }
}

impl Answered {
    /// The head as the client gets it, and the body.
    fn into_parts(self, client: &Arc<Client>, inbound: &Inbound) -> (response::Parts, Passed) {
        let Self { answer, placement } = self;
        let (mut head, body) = answer.into_parts();
        remove_hop_by_hop(&mut head.headers);
        if client.proxy().settings().worker_header {
            head.headers.insert(WORKER_HEADER, placement.target().name().clone());
        }
        let passed = Passed::new(body, placement, client, inbound.route, inbound.started);
        (head, passed)
    }
}

/// Sends a request to the worker that it was placed at, and waits for the head of the answer.
///
/// # Cancel safety
///
/// Dropping the future closes the connection to the worker.
pub async fn attempt(client: &Client, head: &Head, body: &Bytes, mut placement: Placement) -> Outcome {
    let target = placement.target();
    let called = client.in_time(target.call(|| head.outgoing(target, body))).await;
    match called {
        Ok(Ok(answer)) => {
            if answer.response.status().is_server_error() {
                placement.fail();
            } else {
                placement.succeed();
            }
            Outcome::Answered(Box::new(Answered { answer, placement }))
        }
        Ok(Err(error)) => {
            tracing::debug!(worker = target.worker().url(), %error, "no answer");
            placement.fail();
            failed(&error)
        }
        Err(_) => {
            placement.fail();
            Outcome::Failed { error: ProxyError::Timeout, retry: None }
        }
    }
}

fn failed(error: &CallError) -> Outcome {
    if error.is_connect() {
        Outcome::Failed { error: ProxyError::ConnectFailed, retry: Some(RetryReason::Connect) }
    } else {
        Outcome::Failed { error: ProxyError::BrokenAnswer, retry: Some(RetryReason::Broken) }
    }
}
