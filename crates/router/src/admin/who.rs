//! Who changes something, and the log line of it.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{StatusCode, header};
use parking_lot::Mutex;

use crate::admin::audit::{Audit, AuditScope, AuditTicket};
use crate::admin::connection::Connection;
use sgl_api::{Problem, ToldProblem};
use sgl_upstream::without_user;
use sglang_router_rs::types::shown;

/// Most log lines on refused requests in a second: whoever sends many must not fill the disk.
const MAX_REFUSALS: u32 = 20;

/// What the operators' token is called.
const TOKEN_NAME: &str = "admin";

/// Who sent a request, as far as that is known.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    peer: Option<SocketAddr>,
    has_token: bool,
    agent: String,
    /// What is written of the change, if it is one.
    ticket: Option<Arc<AuditTicket>>,
}

impl Who {
    /// The sender of the request with this head.
    fn of(head: &Parts) -> Self {
        let agent = head.headers.get(header::USER_AGENT).map(|agent| agent.as_bytes()).unwrap_or_default();
        Self {
            peer: head.extensions.get::<Connection>().map(|connection| connection.peer),
            has_token: head.headers.contains_key(header::AUTHORIZATION),
            agent: shown(&String::from_utf8_lossy(agent)),
            ticket: head.extensions.get::<Arc<AuditTicket>>().cloned(),
        }
    }
}

impl Who {
    /// Begins to write of a change that the sender asks for.
    fn begin(&self, audit: &Arc<Audit>, change: &str, path: &str) -> AuditTicket {
        let peer = self.peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        let ticket = audit.begin(peer, change.to_owned(), AuditScope::of(path));
        let agent = (!self.agent.is_empty()).then(|| self.agent.clone());
        ticket.by(self.has_token.then(|| TOKEN_NAME.to_owned()), agent)
    }

    /// Writes what the change came to, where another place than the middleware knows that.
    /// `about` is what else there is to say of it.
    pub(crate) async fn audit(&self, about: Option<&str>, refused: Option<String>) {
        if let Some(ticket) = &self.ticket {
            AuditTicket::clone(ticket).about(about).end(None, refused).await;
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{peer}")?,
            None => f.write_str("unknown")?,
        }
        f.write_str(if self.has_token { " with a token" } else { " without a token" })?;
        if self.agent.is_empty() { Ok(()) } else { write!(f, " ({})", self.agent) }
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(head))
    }
}

/// In the extensions of an answer whose log line another place writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedElsewhere;

/// In the extensions of an answer: what was changed, if the path does not say it. Fit for a log:
/// escaped, and without passwords.
#[derive(Clone, Debug)]
pub(crate) struct Changed(pub String);

/// Logs changes and refused attempts at them.
#[derive(Clone, Debug)]
pub(crate) struct ChangeLog {
    audit: Arc<Audit>,
    refusals: Arc<Mutex<Refusals>>,
}

/// Refusals of the present second.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    count: u32,
}

impl ChangeLog {
    /// Writes to the audit log too.
    pub(crate) fn new(audit: Arc<Audit>) -> Self {
        Self { audit, refusals: Arc::default() }
    }

    /// Writes the line, and gives what the audit log is told: the status, and why it was refused.
    fn write(&self, who: &Who, change: &str, response: &Response) -> Option<(u16, Option<String>)> {
        let status = response.status().as_u16();
        if response.status().is_success() {
            let what = response.extensions().get::<Changed>().map(|changed| changed.0.as_str());
            tracing::info!(%who, change, status, what, "changed");
            return Some((status, None));
        }
        let suppressed = self.refusals.lock().admit(Instant::now())?;
        if suppressed > 0 {
            tracing::warn!(suppressed, "more refused requests of operators than are logged");
        }
        let reason = response.extensions().get::<ToldProblem>().map_or("", |told| told.0.as_str());
        tracing::warn!(%who, change, status, reason, "refused");
        Some((status, Some(shown(reason))))
    }
}

impl Refusals {
    /// How many lines were left out before this one; `None` if this one is to be left out too.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let is_over = self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        let suppressed = self.count.saturating_sub(MAX_REFUSALS);
        if is_over {
            *self = Self { since: Some(now), count: 1 };
            return Some(suppressed);
        }
        self.count = self.count.saturating_add(1);
        (self.count <= MAX_REFUSALS).then_some(0)
    }
}

/// The middleware. A request that changes something runs on a task of its own: it is finished and
/// logged, whether its client waits or not.
pub(crate) async fn log_changes(State(log): State<ChangeLog>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (mut head, body) = request.into_parts();
    let who = Who::of(&head);
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    // A worker's URL may be refused just for its password, and other routers take the worker's key here.
    let is_worker = ["/workers", "/add_worker", "/remove_worker"].iter().any(|name| path.starts_with(name));
    // Also where its name is written otherwise, which is refused.
    let secret = ["key=", "token=", "secret=", "password="].iter().filter_map(|name| path.find(name)).min();
    let path = match secret {
        Some(secret) => format!("{}***", path.get(..secret).unwrap_or_default()),
        None => path.to_owned(),
    };
    let path = if is_worker || path.contains("worker=") { without_user(&path) } else { path };
    let change = shown(&format!("{} {path}", head.method));
    let ticket = who.begin(&log.audit, &change, head.uri.path());
    head.extensions.insert(Arc::new(ticket.clone()));
    let request = Request::from_parts(head, body);
    let done = tokio::spawn(async move {
        let response = next.run(request).await;
        let is_elsewhere = response.extensions().get::<LoggedElsewhere>().is_some();
        let told = if is_elsewhere { None } else { log.write(&who, &change, &response) };
        if let Some((status, refused)) = told {
            let what = response.extensions().get::<Changed>().map(|changed| changed.0.clone());
            ticket.of(what).end(Some(status), refused).await;
        }
        response
    });
    done.await.unwrap_or_else(|_| {
        let detail = "the request was given up: a fault of the router, see its log";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_above_the_limit_are_counted_and_told_in_the_next_second() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let admitted = (0..50).filter(|_| refusals.admit(now).is_some()).count();
        assert_eq!(admitted, usize::try_from(MAX_REFUSALS).unwrap());
        assert_eq!(refusals.admit(now + Duration::from_secs(1)), Some(50 - MAX_REFUSALS));
        assert_eq!(refusals.admit(now + Duration::from_secs(2)), Some(0));
    }
}
